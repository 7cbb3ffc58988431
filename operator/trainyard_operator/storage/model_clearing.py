"""Deleting the bytes of a model version: a tombstone first, then every object of its folder. The manifest stays.

Whoever is cut short is followed by somebody who does it again: the status says `Deleting` until the tombstone is there
and the folder is empty, and nothing ever makes of that a version which can be used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from trainyard.contract import canonical_json
from trainyard_operator.storage import layout
from trainyard_operator.storage.erasure import erase, is_empty
from trainyard_operator.storage.paging import pages
from trainyard_operator.storage.store import ObjectInfo, ObjectStore

SCHEMA = "trainyard.dev/model-tombstone/v1"


async def clear_version(
    store: ObjectStore, namespace: str, model_name: str, version: int, tombstone: Mapping[str, Any]
) -> None:
    """Delete all files of a version; done twice, it changes nothing more.

    Parameters
    ----------
    tombstone
        The version's entry as its RegisteredModel keeps it for ever.
    """
    body = canonical_json({"schema": SCHEMA, "namespace": namespace, "model": model_name, **tombstone})
    await store.put(layout.tombstone_key(namespace, model_name, version), body, only_if_absent=True)
    await erase(store, layout.version_prefix(namespace, model_name, version))


async def is_cleared(store: ObjectStore, namespace: str, model_name: str, version: int) -> bool:
    """Return whether nothing is left to do of `clear_version`."""
    if await store.head(layout.tombstone_key(namespace, model_name, version)) is None:
        return False
    return await is_empty(store, layout.version_prefix(namespace, model_name, version))


async def held(store: ObjectStore, namespace: str, model_name: str, version: int) -> str:
    """Return why the store would not let a version be deleted, in words; the empty string where nothing is in the way.

    Every file is asked, since half a version would be worse than a whole one; a bucket without locks is asked once.
    """
    if not await store.may_retain():
        return ""
    words = []
    async for page in pages(store, layout.version_prefix(namespace, model_name, version)):
        # The store has a few threads, and lets no more than that through at once.
        found = await asyncio.gather(*(_head(store, info) for info in page.objects))
        words += [info.retained for info in found if info.retained]
    return max(words, default="")


async def _head(store: ObjectStore, info: ObjectInfo) -> ObjectInfo:
    return await store.head(info.key) or info
