"""Deleting a version's files: a tombstone before, all of the folder, and nothing beside it."""

from __future__ import annotations

import json

import pytest

from tests.unit.domain.builders import version
from tests.unit.storage.memory import MemoryStore
from trainyard_operator.storage.errors import StoreUnavailable
from trainyard_operator.storage.model_clearing import clear_version, held, is_cleared

ROOT = "models/team/m/"
NEIGHBOURS = {f"{ROOT}1.manifest.json": b"{}", f"{ROOT}10/x": b"", "models/team/m-b/1/x": b"", f"{ROOT}archive/x": b""}
TOMBSTONE = version(1, name="m", state="Deleted", deletedBy="argocd")


async def clear(store):
    await clear_version(store, "team", "m", 1, TOMBSTONE)


async def test_all_files_go_the_manifest_stays_and_a_tombstone_says_what_was_there():
    store = MemoryStore({f"{ROOT}1/{n}": b"" for n in range(2500)} | NEIGHBOURS)
    await clear(store)
    tombstone = store.objects.pop(f"{ROOT}1.deleted.json")
    assert store.objects == NEIGHBOURS
    schema = {"schema": "trainyard.dev/model-tombstone/v1", "namespace": "team", "model": "m"}
    assert json.loads(tombstone) == {**schema, **TOMBSTONE}


async def test_clearing_twice_changes_nothing_more():
    store = MemoryStore({f"{ROOT}1/a": b""} | NEIGHBOURS)
    assert not await is_cleared(store, "team", "m", 1)
    await clear(store)
    assert await is_cleared(store, "team", "m", 1)
    before = dict(store.objects)
    await clear_version(store, "team", "m", 1, {**TOMBSTONE, "deletedBy": "somebody else"})
    assert store.objects == before


@pytest.mark.parametrize("step", range(4))
async def test_clearing_cut_short_at_any_step_is_finished_by_the_next(step):
    store = MemoryStore({f"{ROOT}1/{n}": b"" for n in range(1200)} | NEIGHBOURS)
    store.breaks_at = lambda call, _key: len(store.calls) >= step or (step == 3 and call == "delete")
    with pytest.raises(StoreUnavailable):
        await clear(store)
    assert (f"{ROOT}1.deleted.json" in store.objects) == (step > 0)
    store.breaks_at = lambda *_: False
    assert not await is_cleared(store, "team", "m", 1)
    await clear(store)
    assert await is_cleared(store, "team", "m", 1)


async def test_a_store_without_locks_is_asked_once():
    store = MemoryStore({f"{ROOT}1/{n}": b"" for n in range(5)})
    assert await held(store, "team", "m", 1) == ""
    assert len(store.calls) == 1


async def test_one_locked_file_holds_the_whole_version_until_the_last_lock_ends():
    store = MemoryStore({f"{ROOT}1/{n:04}": b"" for n in range(1100)} | {f"{ROOT}10/x": b""})
    store.retained = {
        f"{ROOT}1/0001": "retained until 2027-01-01T00:00:00Z",
        f"{ROOT}1/1099": "retained until 2028-01-01T00:00:00Z",
        f"{ROOT}10/x": "retained until 2029-01-01T00:00:00Z",
    }
    assert await held(store, "team", "m", 1) == "retained until 2028-01-01T00:00:00Z"
    assert await held(store, "team", "m", 2) == ""
