"""A version's folder against its manifest: every difference is found, and named."""

from __future__ import annotations

import hashlib

import pytest

from tests.unit.storage.builders import NAMESPACE, entry, saved_run
from tests.unit.storage.memory import MemoryStore
from trainyard_operator.storage.errors import ObjectNotFound, StoreUnavailable
from trainyard_operator.storage.model_verification import MOST, look_at_version
from trainyard_operator.storage.models import copy_version
from trainyard_operator.storage.signatures import Signature

MODEL = "m"
ROOT = f"models/{NAMESPACE}/{MODEL}/"
FILES = {"outputs/model/a": b"aaa", "outputs/model/deep/b": b"bb"}


async def sealed(files=FILES, *, checksums=True):
    store = MemoryStore(saved_run(files), keeps_checksums=checksums)
    await copy_version(store, NAMESPACE, MODEL, 1, entry("outputs/model"))
    sha256 = hashlib.sha256(store.objects[f"{ROOT}1.manifest.json"]).hexdigest()
    # What a version lives beside: a number that begins like it, and a model that is called like it.
    for neighbour in (f"{ROOT}10/x", f"models/{NAMESPACE}/{MODEL}-b/1/x", f"models/{NAMESPACE}/m/1.x"):
        store.objects[neighbour] = b"x"
    store.calls = []
    return store, sha256


async def look(store, sha256, *, thorough=True):
    return await look_at_version(
        store, namespace=NAMESPACE, model_name=MODEL, version=1, manifest_sha256=sha256, thorough=thorough
    )


def put(name, body):
    return lambda objects: objects.update({f"{ROOT}{name}": body})


def remove(name):
    return lambda objects: objects.pop(f"{ROOT}{name}")


def rename(old, new):
    return lambda objects: objects.update({f"{ROOT}{new}": objects.pop(f"{ROOT}{old}")})


CHANGES = [
    pytest.param(lambda objects: None, "", id="untouched"),
    pytest.param(put("1/a", b"longer"), "a has 6 bytes and not 3", id="overwritten"),
    pytest.param(put("1/a", b"AAA"), "a has other bytes", id="overwritten-with-the-same-size"),
    pytest.param(put("1/deep/b", b"b"), "deep/b has 1 bytes and not 2", id="truncated"),
    pytest.param(put("1/a", b""), "a has 0 bytes and not 3", id="emptied"),
    pytest.param(remove("1/a"), "a is missing", id="deleted"),
    pytest.param(put("1/c", b""), "c is not in the manifest", id="added"),
    pytest.param(put("1/.github/x", b"x"), ".github/x is not in the manifest", id="added-under-a-dot"),
    pytest.param(put("1/deep/", b""), "deep/ is not in the manifest", id="a-folders-mark-added"),
    pytest.param(rename("1/a", "1/c"), "c is not in the manifest, a is missing", id="renamed"),
    pytest.param(rename("1/a", "1/A"), "A is not in the manifest, a is missing", id="renamed-in-case-only"),
    pytest.param(put("1.manifest.json", b"{}"), "its manifest 1.manifest.json was changed", id="manifest-changed"),
    pytest.param(remove("1.manifest.json"), "its manifest 1.manifest.json is missing", id="manifest-deleted"),
    pytest.param(
        lambda objects: objects.pop(f"{ROOT}1/a") and objects.pop(f"{ROOT}1/deep/b"),
        "a is missing, deep/b is missing",
        id="all-deleted",
    ),
]


@pytest.mark.parametrize("thorough", [True, False], ids=["thorough", "by-checksums"])
@pytest.mark.parametrize("checksums", [True, False], ids=["server-with-checksums", "server-without"])
@pytest.mark.parametrize(("change", "wrong"), CHANGES)
async def test_every_difference_is_found_with_its_file(change, wrong, checksums, thorough):
    store, sha256 = await sealed(checksums=checksums)
    change(store.objects)
    assert await look(store, sha256, thorough=thorough) == wrong
    assert {call for call, _ in store.calls} <= {"get", "list", "digest", "reread"}


@pytest.mark.parametrize(("thorough", "call"), [(True, "reread"), (False, "digest")])
async def test_bytes_are_read_where_it_is_to_be_thorough(thorough, call):
    store, sha256 = await sealed()
    await look(store, sha256, thorough=thorough)
    assert [name for name, _ in store.calls] == ["get", "list", call, call]
    assert ("list", f"{ROOT}1/") in store.calls


async def test_long_listings_are_paged_and_messages_are_short():
    files = {f"outputs/model/{n:04}": b"x" for n in range(2500)}
    store, sha256 = await sealed(files)
    assert await look(store, sha256, thorough=False) == ""
    for n in range(1200, 1300):
        del store.objects[f"{ROOT}1/{n:04}"]
    wrong = await look(store, sha256, thorough=False)
    assert wrong.startswith("1200 is missing, 1201 is missing")
    assert wrong.endswith(" and 95 more")


async def test_a_folder_that_was_flooded_is_not_listed_to_its_end():
    store, sha256 = await sealed()
    store.objects |= {f"{ROOT}1/{'x' * 200}{n:05}": b"" for n in range(3 * MOST)}
    wrong = await look(store, sha256, thorough=False)
    assert " and at least 1993 more" in wrong
    assert len(wrong) < 1000
    assert len([call for call, _ in store.calls if call == "list"]) == 2


class FakeSigner:
    async def sign(self, *, name, files):
        return Signature(bundle=b"{}", key_sha256="c" * 64)


async def test_a_signature_that_was_removed_is_missed():
    store, _ = await sealed()
    del store.objects[f"{ROOT}1.manifest.json"]
    await copy_version(store, NAMESPACE, MODEL, 1, entry("outputs/model"), signer=FakeSigner())
    sha256 = hashlib.sha256(store.objects[f"{ROOT}1.manifest.json"]).hexdigest()
    assert await look(store, sha256) == ""
    del store.objects[f"{ROOT}1.sig"]
    assert await look(store, sha256) == "its signature 1.sig is missing"


async def test_a_file_that_goes_between_the_listing_and_the_reading_is_missing():
    store, sha256 = await sealed()

    async def gone(key):
        raise ObjectNotFound(key)

    store.reread = gone
    assert await look(store, sha256) == "a is missing, deep/b is missing"


@pytest.mark.parametrize("call", ["get", "list", "digest", "reread"])
async def test_a_store_that_does_not_answer_proves_nothing(call):
    store, sha256 = await sealed()
    store.breaks_at = lambda name, _: name == call
    with pytest.raises(StoreUnavailable):
        await look(store, sha256, thorough=call != "digest")


async def test_a_manifest_that_has_grown_beyond_all_bounds_was_changed(monkeypatch):
    store, sha256 = await sealed()
    monkeypatch.setattr("trainyard_operator.storage.model_verification.MAX_MANIFEST_BYTES", 1)
    assert await look(store, sha256) == "its manifest 1.manifest.json was changed"
