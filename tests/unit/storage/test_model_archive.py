"""Entries beside the manifests: one place for each, found by number and by key, whatever was cut short."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from tests.unit.domain.builders import version
from tests.unit.storage.memory import MemoryStore
from trainyard.contract import canonical_json
from trainyard_operator.storage.errors import StoreRefused, StoreUnavailable
from trainyard_operator.storage.model_archive import file_entries, find_entry, list_pages, page_of, read_entries
from trainyard_operator.storage.model_survey import survey

ROOT = "models/team/m/archive/"


def entries(*numbers, **over):
    return [version(number, key=f"run-{number}", name="m", **over) for number in numbers]


def pages(store):
    return sorted(key.removeprefix(ROOT) for key in store.objects if "/keys/" not in key)


@pytest.mark.parametrize(("number", "first"), [(1, 1), (100, 1), (101, 101), (12345, 12301)])
def test_a_number_has_one_page(number, first):
    assert page_of(number) == first


async def test_entries_are_found_by_number_and_by_what_they_were_made_from():
    store = MemoryStore()
    await file_entries(store, "team", "m", entries(99, 100, 101))
    assert pages(store) == ["1-100.json", "101-200.json"]
    assert await list_pages(store, "team", "m") == [1, 101]
    assert await read_entries(store, "team", "m", [99, 101, 102]) == {99: entries(99)[0], 101: entries(101)[0]}
    store.calls.clear()
    assert await find_entry(store, "team", "m", "run-100") == entries(100)[0]
    assert len(store.calls) == 2
    assert await find_entry(store, "team", "m", "run-7") is None
    assert await find_entry(store, "team", "other", "run-100") is None


async def test_an_entry_that_is_filed_again_replaces_the_one_before_and_no_other():
    store = MemoryStore()
    await file_entries(store, "team", "m", entries(1, 3))
    await file_entries(store, "team", "m", entries(2, 3, state="Deleted"))
    found = await read_entries(store, "team", "m", [1, 2, 3])
    assert [(number, found[number]["state"]) for number in found] == [(1, "Ready"), (2, "Deleted"), (3, "Deleted")]


@pytest.mark.parametrize("step", range(10))
async def test_filing_cut_short_at_any_step_is_finished_by_the_next(step):
    whole, store = MemoryStore(), MemoryStore()
    for each in (whole, store):
        await file_entries(each, "team", "m", entries(1))
    await file_entries(whole, "team", "m", entries(2, 150))
    done = len(store.calls)
    store.breaks_at = lambda *_: len(store.calls) >= done + step
    with pytest.raises(StoreUnavailable) if step < 6 else nullcontext():
        await file_entries(store, "team", "m", entries(2, 150))
    store.breaks_at = lambda *_: False
    await file_entries(store, "team", "m", entries(2, 150))
    assert store.objects == whole.objects


async def test_what_is_in_the_archive_is_no_version():
    store = MemoryStore({"models/team/m/2.deleted.json": b"{}", "models/team/m/1.manifest.json": b"{}"})
    await file_entries(store, "team", "m", entries(1, 150))
    numbers = await survey(store, "team", "m")
    assert (numbers.sealed, numbers.deleted, numbers.all) == ({1}, {2}, {1, 2})


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"schema":"other","entries":[]}', b'{"schema":1}'])
async def test_what_is_no_page_is_neither_read_nor_written_over(body):
    store = MemoryStore({f"{ROOT}1-100.json": body})
    with pytest.raises(StoreRefused):
        await read_entries(store, "team", "m", [1])
    with pytest.raises(StoreRefused):
        await file_entries(store, "team", "m", entries(1))
    assert store.objects[f"{ROOT}1-100.json"] == body


async def test_pages_are_canonical_json():
    store = MemoryStore()
    await file_entries(store, "team", "m", entries(2, 1))
    body = store.objects[f"{ROOT}1-100.json"]
    assert body == canonical_json(
        {"schema": "trainyard.dev/model-archive/v1", "namespace": "team", "model": "m", "entries": entries(1, 2)}
    )
