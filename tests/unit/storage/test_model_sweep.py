"""Which folders belong to nothing, and that nobody else's go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.domain.builders import version
from tests.unit.storage.memory import MemoryStore
from trainyard_operator.storage.model_archive import file_entries
from trainyard_operator.storage.model_sweep import find_orphans

NOW = datetime(2026, 11, 26, tzinfo=UTC)
OLD = NOW - timedelta(hours=1)
ROOT = "models/team/m/"


async def orphans(store, *known, namespace=""):
    async def of(space, model):
        return known if (space, model) == ("team", "m") else ()

    found = find_orphans(store, known=of, now=NOW, namespace=namespace)
    return [(o.namespace, o.model, o.version, o.files, o.bytes) async for o in found]


def stored(*keys, modified=OLD):
    store = MemoryStore(dict.fromkeys(keys, b"xx"))
    store.modified = dict.fromkeys(keys, modified)
    return store


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        pytest.param([f"{ROOT}7/a", f"{ROOT}7/deep/b"], [("team", "m", 7, 2, 4)], id="half copied"),
        pytest.param([f"{ROOT}7/a", f"{ROOT}7.manifest.json"], [], id="whole"),
        pytest.param(
            [f"{ROOT}7/a", f"{ROOT}7.manifest.json", f"{ROOT}7.deleted.json"],
            [("team", "m", 7, 1, 2)],
            id="half deleted",
        ),
        pytest.param([f"{ROOT}7.deleted.json", f"{ROOT}7.manifest.json"], [], id="deleted"),
        pytest.param([f"{ROOT}archive/1-100.json", f"{ROOT}notes/a", f"{ROOT}07/a"], [], id="what is no version"),
        pytest.param(["runs/team/uid/7/a", "envs/team/7/a", "data/team/m/7/a"], [], id="what is no model"),
        pytest.param(
            [f"{ROOT}7/a", "models/other/m-b/1/a"], [("other", "m-b", 1, 1, 2), ("team", "m", 7, 1, 2)], id="everywhere"
        ),
    ],
)
async def test_folders_without_an_owner_are_found(keys, found):
    assert await orphans(stored(*keys)) == found


async def test_only_the_namespace_that_was_named_is_looked_at():
    store = stored(f"{ROOT}7/a", "models/team-b/m/1/a")
    assert await orphans(store, namespace="team") == [("team", "m", 7, 1, 2)]


async def test_what_has_an_entry_in_the_status_or_in_the_archive_has_an_owner():
    store = stored(f"{ROOT}7/a", f"{ROOT}8/a", f"{ROOT}9/a")
    await file_entries(store, "team", "m", [version(8, name="m", state="Failed")])
    assert await orphans(store, 7) == [("team", "m", 9, 1, 2)]


@pytest.mark.parametrize("newest", [NOW, NOW - timedelta(minutes=59)])
async def test_what_somebody_may_be_writing_is_left_alone(newest):
    store = stored(f"{ROOT}7/a", f"{ROOT}7/b")
    store.modified[f"{ROOT}7/b"] = newest
    assert await orphans(store) == []


async def test_large_folders_are_counted_to_their_end():
    assert await orphans(stored(*(f"{ROOT}7/{n}" for n in range(2500)))) == [("team", "m", 7, 2500, 5000)]
