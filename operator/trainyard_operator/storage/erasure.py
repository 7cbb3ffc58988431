"""Deleting all that lies below a prefix; done twice, or cut short and done again, it changes nothing more."""

from __future__ import annotations

from trainyard_operator.storage.paging import pages
from trainyard_operator.storage.store import ObjectStore


async def is_empty(store: ObjectStore, prefix: str) -> bool:
    """Return whether nothing lies below `prefix`."""
    return not (await store.list(prefix, limit=1)).objects


async def erase(store: ObjectStore, prefix: str) -> None:
    """Delete every object below `prefix`, which ends in a slash, a page at a time."""
    async for page in pages(store, prefix):
        if page.objects:
            await store.delete([info.key for info in page.objects])
