"""What of models is in the object store, whatever any RegisteredModel says.

Numbers are not padded, so no listing has them in order: 10 stands before 2. What asks for a registration therefore
lists the numbers' own decades first, which shows the next ten numbers in one or two pages that hold little else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from trainyard_operator.domain.model_restore import Found, JsonObject, entry_of_manifest
from trainyard_operator.domain.registry import MAX_ENTRIES, Beyond
from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import ManifestInvalid, ObjectTooLarge
from trainyard_operator.storage.model_archive import list_pages, read_page
from trainyard_operator.storage.model_clearing import SCHEMA as TOMBSTONE_SCHEMA
from trainyard_operator.storage.model_manifest import read_model_manifest
from trainyard_operator.storage.paging import pages
from trainyard_operator.storage.store import ObjectStore, Page

# Of a decade and what begins like it: more than its numbers can have left above the one that is known.
_LOOK = 200
_AT_ONCE = 8
_MAX_TOMBSTONE_BYTES = 1 << 20
_MANIFEST, _TOMBSTONE = "manifest.json", "deleted.json"

Reader = Callable[[ObjectStore, str, str, int], Awaitable[JsonObject | str]]


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """The version numbers of a model that have left anything, by what they have left."""

    sealed: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)
    others: set[int] = field(default_factory=set)
    folders: set[int] = field(default_factory=set)  # with files, whatever else there is of the number

    @property
    def all(self) -> set[int]:
        """Every number that is used."""
        return self.sealed | self.deleted | self.others

    def add(self, name: str) -> None:
        """Take in a name of a model's folder; what belongs to no number is somebody else's."""
        number, _, rest = name.removesuffix("/").partition(".")
        if not (number.isascii() and number.isdecimal()) or number.startswith("0"):
            return
        kind = {_MANIFEST: self.sealed, _TOMBSTONE: self.deleted}.get(rest, self.others)
        kind.add(int(number))
        if name.endswith("/"):
            self.folders.add(int(number))


async def look_beyond(store: ObjectStore, namespace: str, model_name: str, known: int) -> Beyond:
    """Return what the store holds of a model above the number `known`: for a status that is right, nothing.

    One or two short listings say so. Only where they show more is everything listed, and are manifests read.
    """
    if known and not await _continues(store, namespace, model_name, known):
        return Beyond()
    numbers = await survey(store, namespace, model_name)
    unknown = [number for number in numbers.all if number > known]
    if not unknown:
        return Beyond()
    whole = sorted(numbers.sealed.intersection(unknown) - numbers.deleted)[-MAX_ENTRIES:]
    found = await _read(store, namespace, model_name, whole, _entry)
    found |= await _read(store, namespace, model_name, numbers.deleted.intersection(unknown), _tombstone)
    return Beyond(used=max(unknown), entries=tuple(entry for entry in found.values() if not isinstance(entry, str)))


async def find_model(store: ObjectStore, namespace: str, model_name: str) -> Found:
    """Return all that the store holds of a model."""
    numbers = await survey(store, namespace, model_name)
    found = await _read(store, namespace, model_name, sorted(numbers.sealed - numbers.deleted), _entry)
    tombstones = await _read(store, namespace, model_name, sorted(numbers.deleted), _tombstone)
    firsts = await list_pages(store, namespace, model_name)
    pages = [await read_page(store, namespace, model_name, first) for first in firsts]
    return Found(
        archived=sorted(number for page in pages for number in page),
        archive_uri=store.uri(layout.archive_prefix(namespace, model_name)),
        entries=[entry for entry in found.values() if not isinstance(entry, str)],
        deleted={number: entry for number, entry in tombstones.items() if not isinstance(entry, str)},
        broken={number: why for number, why in (found | tombstones).items() if isinstance(why, str)},
        unsealed=sorted(numbers.others - numbers.sealed - numbers.deleted),
    )


async def survey(store: ObjectStore, namespace: str, model_name: str) -> Numbers:
    """Return every version number that has left anything."""
    prefix, numbers = layout.model_prefix(namespace, model_name), Numbers()
    async for page in pages(store, prefix, delimiter="/"):
        _take(numbers, page, prefix)
    return numbers


async def folders(store: ObjectStore, prefix: str) -> list[str]:
    """Return the names of the folders below `prefix`: namespaces below `models/`, models below a namespace's."""
    return [
        folder.removeprefix(prefix).removesuffix("/")
        async for page in pages(store, prefix, delimiter="/")
        for folder in page.folders
    ]


async def _continues(store: ObjectStore, namespace: str, model_name: str, known: int) -> bool:
    prefix, numbers = layout.model_prefix(namespace, model_name), Numbers()
    decades = {str(known + 1)[:-1], str(known + 11)[:-1]}
    if "" in decades:  # below ten there is no decade to name: what is there is listed, in the order 1, 10, 11, 2
        decades = {""}
    looks = (store.list(prefix + decade, delimiter="/", limit=_LOOK) for decade in decades)
    for page in await asyncio.gather(*looks):
        _take(numbers, page, prefix)
    return any(number > known for number in numbers.all)


def _take(numbers: Numbers, page: Page, prefix: str) -> None:
    for name in (*page.folders, *(info.key for info in page.objects)):
        numbers.add(name.removeprefix(prefix))


async def _read(
    store: ObjectStore, namespace: str, model_name: str, numbers: Collection[int], find: Reader
) -> dict[int, JsonObject | str]:
    """Return the entries of versions by number, or why there is none."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def read(number: int) -> JsonObject | str:
        async with free:
            return await find(store, namespace, model_name, number)

    return dict(zip(numbers, await asyncio.gather(*map(read, numbers)), strict=True))


async def _entry(store: ObjectStore, namespace: str, model_name: str, number: int) -> JsonObject | str:
    key = layout.model_manifest_key(namespace, model_name, number)
    try:
        found = await read_model_manifest(store, namespace, model_name, number)
        if found is None:
            return f"{key} is not there any more"
        manifest, sha256 = found
        if (manifest.get("namespace"), manifest.get("model"), manifest.get("version")) != (
            namespace,
            model_name,
            number,
        ):
            return f"{key} is the manifest of another version, {manifest.get('namespace')}/{manifest.get('id')}"
        uri = store.uri(layout.version_prefix(namespace, model_name, number))
        return entry_of_manifest(manifest, sha256=sha256, uri=uri)
    except ManifestInvalid as error:
        return str(error)
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        return f"{key} has not the fields of a model manifest ({type(error).__name__}: {error})"


async def _tombstone(store: ObjectStore, namespace: str, model_name: str, number: int) -> JsonObject | str:
    key = layout.tombstone_key(namespace, model_name, number)
    try:
        body = await store.get(key, limit=_MAX_TOMBSTONE_BYTES)
        document = None if body is None else json.loads(body)
    except (ObjectTooLarge, ValueError, RecursionError) as error:
        return f"{key} is no tombstone: {error}"
    # Who tells of it wrote the whole entry down; the rest says whose it is.
    told = {"schema": TOMBSTONE_SCHEMA, "namespace": namespace, "model": model_name, "version": number}
    if not isinstance(document, dict) or any(document.get(name) != value for name, value in told.items()):
        return f"{key} is no tombstone of this version"
    if "key" not in document:
        return "a sweep has deleted its files, which belonged to no version"
    return {name: value for name, value in document.items() if name not in {"schema", "namespace", "model"}}
