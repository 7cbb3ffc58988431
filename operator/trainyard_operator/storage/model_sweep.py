"""Folders of versions that belong to nothing: half copied for a RegisteredModel that was deleted, or half deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from trainyard_operator.storage import layout
from trainyard_operator.storage.model_archive import read_entries
from trainyard_operator.storage.model_survey import folders, survey
from trainyard_operator.storage.paging import pages
from trainyard_operator.storage.store import ObjectStore

# Whoever copies or restores at this moment is left alone.
MIN_AGE = timedelta(hours=1)

# Namespace and model name: the versions that the RegisteredModel's status has.
KnownVersions = Callable[[str, str], Awaitable[Collection[int]]]


@dataclass(frozen=True, kw_only=True)
class Orphan:
    """A version's folder without an owner, and what is in it."""

    namespace: str
    model: str
    version: int
    files: int = 0
    bytes: int = 0
    newest: datetime | None = None

    @property
    def prefix(self) -> str:
        """Where its files are."""
        return layout.version_prefix(self.namespace, self.model, self.version)


async def find_orphans(
    store: ObjectStore, *, known: KnownVersions, now: datetime, namespace: str = ""
) -> AsyncIterator[Orphan]:
    """Yield the folders of versions that have no manifest, or a tombstone, and no entry; the young are left out.

    Parameters
    ----------
    namespace
        Where to look; everywhere if it is empty.
    """
    spaces = [namespace] if namespace else await folders(store, layout.MODELS)
    for space in spaces:
        for model in await folders(store, layout.models_prefix(space)):
            for version in await _ownerless(store, space, model, known):
                orphan = await _measure(store, Orphan(namespace=space, model=model, version=version))
                if orphan.newest is not None and now - orphan.newest >= MIN_AGE:
                    yield orphan


async def _ownerless(store: ObjectStore, namespace: str, model: str, known: KnownVersions) -> list[int]:
    numbers = await survey(store, namespace, model)
    loose = numbers.folders - (numbers.sealed - numbers.deleted)
    if not loose:
        return []
    # Looked up after the listing: what has taken its number since then is not among these folders.
    loose -= set(await known(namespace, model))
    return sorted(loose - (await read_entries(store, namespace, model, loose)).keys())


async def _measure(store: ObjectStore, orphan: Orphan) -> Orphan:
    async for page in pages(store, orphan.prefix):
        times = [info.modified for info in page.objects if info.modified is not None]
        orphan = replace(
            orphan,
            files=orphan.files + len(page.objects),
            bytes=orphan.bytes + sum(info.bytes for info in page.objects),
            newest=max([*times, *([orphan.newest] if orphan.newest else [])], default=None),
        )
    return orphan
