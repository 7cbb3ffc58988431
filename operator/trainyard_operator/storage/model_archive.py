"""Entries of older versions beside the manifests, so that a model with ten thousand versions is still a small object.

A version's entry has one place: the page of its number, a hundred numbers each. Writing it there again replaces it, so
an entry may come back into the status and leave it once more. Beside the pages each archived entry's key has a small
object with its number: that the same request gives the same version for ever costs one read, however many there are.
Whatever is written here is written before the status forgets it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from trainyard.contract import canonical_json
from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import ObjectTooLarge, StoreRefused
from trainyard_operator.storage.paging import pages
from trainyard_operator.storage.store import ObjectStore

PAGE_ENTRIES = 100
SCHEMA = "trainyard.dev/model-archive/v1"

_MAX_PAGE_BYTES = 16 << 20
_MAX_INDEX_BYTES = 1 << 16
_PARALLEL = 8

JsonObject = dict[str, Any]
Page = dict[int, JsonObject]


def page_of(version: int) -> int:
    """Return the first number of the page that `version` belongs to."""
    return (version - 1) // PAGE_ENTRIES * PAGE_ENTRIES + 1


async def file_entries(
    store: ObjectStore, namespace: str, model_name: str, entries: Sequence[Mapping[str, Any]]
) -> dict[int, Page]:
    """Write entries into the archive; return the pages as they are now, by their first numbers.

    Done twice, or cut short and done again, it changes nothing more.
    """
    slots = asyncio.Semaphore(_PARALLEL)

    async def note(entry: Mapping[str, Any]) -> None:
        async with slots:
            body = canonical_json({"key": entry["key"], "version": entry["version"]})
            await store.put(_index_key(namespace, model_name, entry["key"]), body)

    await asyncio.gather(*(note(entry) for entry in entries))
    pages = {}
    ordered = sorted(entries, key=lambda entry: int(entry["version"]))
    for first, new in groupby(ordered, key=lambda entry: page_of(entry["version"])):
        page = await read_page(store, namespace, model_name, first)
        page |= {entry["version"]: dict(entry) for entry in new}
        pages[first] = page
        document = {
            "schema": SCHEMA,
            "namespace": namespace,
            "model": model_name,
            "entries": [page[number] for number in sorted(page)],
        }
        await store.put(_page_key(namespace, model_name, first), canonical_json(document))
    return pages


async def find_entry(store: ObjectStore, namespace: str, model_name: str, key: str) -> JsonObject | None:
    """Return the archived entry of the version that was made from `key`, None where there is none."""
    body = await store.get(_index_key(namespace, model_name, key), limit=_MAX_INDEX_BYTES)
    if body is None:
        return None
    found = _parsed(body, f"the index of the archive of {model_name}")
    number = found.get("version")
    if not isinstance(number, int):
        raise StoreRefused(f"the index of the archive of {model_name} names no version for {key}: it was changed")
    entry = (await read_page(store, namespace, model_name, page_of(number))).get(number)
    return entry if entry is not None and entry.get("key") == key else None


async def read_entries(store: ObjectStore, namespace: str, model_name: str, numbers: Iterable[int]) -> Page:
    """Return the archived entries of these versions, without those that are not archived."""
    found: Page = {}
    for first, group in groupby(sorted(set(numbers)), key=page_of):
        page = await read_page(store, namespace, model_name, first)
        found |= {number: page[number] for number in group if number in page}
    return found


async def list_pages(store: ObjectStore, namespace: str, model_name: str) -> list[int]:
    """Return the first numbers of all pages, in order."""
    prefix = layout.archive_prefix(namespace, model_name)
    keys = [info.key async for page in pages(store, prefix, delimiter="/") for info in page.objects]
    names = (key.removeprefix(prefix).partition("-")[0] for key in keys)
    return sorted(int(name) for name in names if name.isdecimal())


async def read_page(store: ObjectStore, namespace: str, model_name: str, first: int) -> Page:
    """Return the entries of a page by their numbers; one that is not there has none.

    Raises
    ------
    StoreRefused
        If what is there is no page: it must be mended or moved away, since nothing may be written over it.
    """
    key = _page_key(namespace, model_name, first)
    try:
        body = await store.get(key, limit=_MAX_PAGE_BYTES)
    except ObjectTooLarge as error:
        raise StoreRefused(f"{key} is no page of an archive: {error}") from error
    if body is None:
        return {}
    document = await asyncio.to_thread(_parsed, body, key)
    entries = document.get("entries")
    if document.get("schema") != SCHEMA or not isinstance(entries, list):
        raise StoreRefused(f"{key} is no page of an archive: it has not the schema {SCHEMA!r}")
    return {entry["version"]: entry for entry in entries}


def _parsed(body: bytes, what: str) -> JsonObject:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise StoreRefused(f"{what} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise StoreRefused(f"{what} is no JSON object")
    return document


def _page_key(namespace: str, model_name: str, first: int) -> str:
    return layout.archive_page_key(namespace, model_name, first, first + PAGE_ENTRIES - 1)


def _index_key(namespace: str, model_name: str, key: str) -> str:
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()
    return layout.archive_index_key(namespace, model_name, digest)
