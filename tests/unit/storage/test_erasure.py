"""Deleting a prefix: all of it, nothing beside it, and to the end of every page."""

from __future__ import annotations

import pytest

from tests.unit.storage.memory import MemoryStore
from trainyard_operator.storage.erasure import is_empty
from trainyard_operator.storage.errors import StoreUnavailable
from trainyard_operator.storage.runs import erase_run
from trainyard_operator.storage.store import PAGE

NEIGHBOURS = {"runs/team/uid-2/manifest.json": b"", "runs/other/uid-1/x": b"", "models/team/m/1/x": b""}


@pytest.mark.parametrize("number", [0, 1, PAGE, PAGE + 1, 2 * PAGE + 1])
async def test_all_of_a_run_goes_and_nothing_else(number):
    store = MemoryStore({f"runs/team/uid-1/attempts/1/outputs/{n}": b"" for n in range(number)} | NEIGHBOURS)
    await erase_run(store, "team", "uid-1")
    assert store.objects == NEIGHBOURS
    await erase_run(store, "team", "uid-1")
    assert await is_empty(store, "runs/team/uid-1/")
    assert not await is_empty(store, "runs/team/uid-2/")


async def test_what_was_cut_short_is_finished_by_doing_it_again():
    store = MemoryStore({f"runs/team/uid-1/{n}": b"" for n in range(5)} | NEIGHBOURS)
    store.breaks_at = lambda call, key: call == "delete" and key.endswith("/3")
    with pytest.raises(StoreUnavailable):
        await erase_run(store, "team", "uid-1")
    store.breaks_at = lambda _call, _key: False
    await erase_run(store, "team", "uid-1")
    assert store.objects == NEIGHBOURS
