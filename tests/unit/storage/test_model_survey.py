"""What of models is in the object store: found whole, found cheaply, and told apart from what is no version."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.unit.storage.builders import NAMESPACE, UID, entry, saved_run
from tests.unit.storage.memory import MemoryStore
from trainyard_operator.domain.model_restore import Found
from trainyard_operator.domain.registry import Beyond
from trainyard_operator.storage.model_clearing import clear_version
from trainyard_operator.storage.model_survey import find_model, folders, look_beyond, survey
from trainyard_operator.storage.models import copy_version

MODEL = "m"
ROOT = f"models/{NAMESPACE}/{MODEL}/"
NEIGHBOURS = [f"models/{NAMESPACE}/{MODEL}-b/99.manifest.json", f"models/{NAMESPACE}/{MODEL}b/98/x"]


class Counting(MemoryStore):
    def __init__(self):
        super().__init__()
        self.looks = []

    async def list(self, prefix, **how):
        self.looks.append(prefix.removeprefix(ROOT))
        page = await super().list(prefix, **how)
        assert len(page.objects) + len(page.folders) <= how.get("limit", 1000)
        return page


async def filled(*names):
    store = Counting()
    for key in [*NEIGHBOURS, *(ROOT + name for name in names)]:
        await store.put(key, b"{}")
    return store


async def with_versions(*numbers, **over):
    store = Counting()
    for key, body in saved_run({"outputs/m.pkl": b"model"}).items():
        await store.put(key, body)
    for number in numbers:
        wish = entry("outputs/m.pkl", version=number, id=f"m:{number}", key=f"{UID}/m/{number}", **over)
        await copy_version(store, NAMESPACE, MODEL, number, wish)
    return store


def whole(*numbers):
    return [name for number in numbers for name in (f"{number}.manifest.json", f"{number}/model.pkl")]


@pytest.mark.parametrize(
    ("names", "sealed", "deleted", "others"),
    [
        pytest.param([], set(), set(), set(), id="nothing"),
        pytest.param(whole(*range(1, 12)), set(range(1, 12)), set(), set(), id="by-number-not-by-name"),
        pytest.param(["7/half-copied"], set(), set(), {7}, id="a-folder-without-its-manifest"),
        pytest.param(["3.deleted.json", *whole(4)], {4}, {3}, set(), id="a-tombstone"),
        pytest.param(["notes.txt", "x/1", "archive/7.json", "01/x", "٣/x"], set(), set(), set(), id="no-version"),
        pytest.param(["2.signature.json"], set(), set(), {2}, id="a-neighbour-that-nobody-knows"),
    ],
)
async def test_numbers_are_those_of_anything_that_was_left(names, sealed, deleted, others):
    numbers = await survey(await filled(*names), NAMESPACE, MODEL)
    assert (numbers.sealed, numbers.deleted, numbers.others - numbers.sealed) == (sealed, deleted, others)


@pytest.mark.parametrize("known", [1, 8, 9, 10, 99, 123, 989, 1234])
async def test_for_a_status_that_is_right_the_answer_costs_two_short_listings_at_most(known):
    store = await filled(*whole(*range(1, known + 1)), "archive/x.json")
    assert await look_beyond(store, NAMESPACE, MODEL, known) == Beyond()
    assert 1 <= len(store.looks) <= 2


@pytest.mark.parametrize("known", [1, 5, 9, 10, 95, 99, 100, 123, 989, 995])
@pytest.mark.parametrize("further", [1, 4, 10])
async def test_a_number_of_the_next_ten_is_seen_whatever_is_missing_before_it(known, further):
    store = await filled(*whole(*range(1, known + 1)), f"{known + further}/file")
    assert (await look_beyond(store, NAMESPACE, MODEL, known)).used == known + further


async def test_of_a_model_whose_object_is_new_everything_is_listed():
    store = await filled(*whole(*range(1, 1300)))
    assert (await look_beyond(store, NAMESPACE, MODEL, 0)).used == 1299


async def test_versions_beyond_the_status_come_with_their_entries():
    store = await with_versions(1, 2, 3)
    beyond = await look_beyond(store, NAMESPACE, MODEL, 1)
    assert beyond.used == 3
    assert [(e["version"], e["key"], e["state"]) for e in beyond.entries] == [
        (2, f"{UID}/m/2", "Ready"),
        (3, f"{UID}/m/3", "Ready"),
    ]


async def test_all_that_the_status_says_of_a_version_comes_back():
    store = await with_versions(1, description="a fine model", runManifestSha256=None)
    (found,) = (await find_model(store, NAMESPACE, MODEL)).entries
    wish = entry("outputs/m.pkl", id="m:1", key=f"{UID}/m/1", description="a fine model")
    manifest = store.objects[ROOT + "1.manifest.json"]
    assert found == wish | {
        "state": "Ready",
        "uri": store.uri(ROOT + "1/"),
        "manifestSha256": hashlib.sha256(manifest).hexdigest(),
        "files": 1,
        "bytes": 5,
    }


async def test_a_manifest_without_a_path_has_it_in_its_key():
    store = await with_versions(1)
    document = json.loads(store.objects[ROOT + "1.manifest.json"])
    document |= {"key": f"{UID}/m/outputs/m.pkl"}
    del document["path"]
    store.objects[ROOT + "1.manifest.json"] = json.dumps(document).encode()
    (found,) = (await find_model(store, NAMESPACE, MODEL)).entries
    assert found["path"] == "outputs/m.pkl"


async def test_what_cannot_be_read_is_told_and_its_number_stays_used():
    store = await with_versions(1, 2)
    store.objects[ROOT + "3.manifest.json"] = store.objects[ROOT + "2.manifest.json"]
    store.objects[ROOT + "4.manifest.json"] = b'{"schema": "other"}'
    store.objects[ROOT + "5.manifest.json"] = store.objects[ROOT + "1.manifest.json"].replace(b'"files"', b'"felis"')
    store.objects[ROOT + "6/x"] = b""
    store.objects[ROOT + "7.deleted.json"] = b"{}"
    found = await find_model(store, NAMESPACE, MODEL)
    assert [e["version"] for e in found.entries] == [1, 2]
    assert (found.unsealed, found.deleted, found.highest) == ([6], {}, 7)
    assert sorted(found.broken) == [3, 4, 5, 7]
    assert "another version" in found.broken[3]


async def test_a_version_that_was_deleted_comes_back_as_its_tombstone_says():
    store = await with_versions(1, 2)
    gone = {"version": 2, "id": "m:2", "key": "k", "state": "Deleted", "deletedBy": "retention"}
    await clear_version(store, NAMESPACE, MODEL, 2, gone)
    found = await find_model(store, NAMESPACE, MODEL)
    assert ([e["version"] for e in found.entries], found.deleted, found.broken) == ([1], {2: gone}, {})
    beyond = await look_beyond(store, NAMESPACE, MODEL, 1)
    assert (beyond.used, beyond.entries) == (2, (gone,))


async def test_a_number_that_a_sweep_has_cleared_stays_used_and_is_no_version():
    store = await with_versions(1)
    await clear_version(store, NAMESPACE, MODEL, 2, {"version": 2, "id": "m:2", "state": "Deleted"})
    found = await find_model(store, NAMESPACE, MODEL)
    assert (found.deleted, found.highest) == ({}, 2)
    assert "a sweep" in found.broken[2]
    assert await look_beyond(store, NAMESPACE, MODEL, 1) == Beyond(used=2)


async def test_folders_are_the_names_of_namespaces_and_models():
    store = await filled(*whole(1))
    assert await folders(store, "models/") == [NAMESPACE]
    assert sorted(await folders(store, f"models/{NAMESPACE}/")) == [MODEL, f"{MODEL}-b", f"{MODEL}b"]


def test_nothing_found_has_no_number():
    assert Found().highest == 0
