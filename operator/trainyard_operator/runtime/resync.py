"""The sweep that makes up for what watches miss.

A watch that was cut and begun anew by a listing never says what was deleted in between, and a process has bugs. So
from time to time, and soon after each such listing, the names and versions of all objects are listed, without their
contents, and compared: ghosts are removed, and what is missing or behind is fetched. Where nothing was missed no object
is looked at. So an object that went between this process's own listing and the watch's is not waited for until the
next round.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from trainyard_operator.api.names import Kind
from trainyard_operator.kube.client import Client, find_one
from trainyard_operator.kube.errors import ApiError
from trainyard_operator.runtime.informer import Informer
from trainyard_operator.runtime.store import ObjectKey, Store, key_of
from trainyard_operator.runtime.watched import Watched

JsonObject = dict[str, Any]

# How long a watch may be behind before the sweep steps in.
GRACE_SECONDS = 3.0
# How long after a listing a kind is swept: the objects of a listing come one by one.
LISTED_SECONDS = 5.0
TICK_SECONDS = 1.0
# Above so many, one listing of everything is less work than asking one by one.
_FETCH_ONE_BY_ONE = 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What a sweep had to mend."""

    ghosts: int = 0
    behind: int = 0

    def __bool__(self) -> bool:
        return bool(self.ghosts or self.behind)


class Resync:
    """Compares the store with the cluster."""

    def __init__(
        self,
        *,
        client: Client,
        store: Store,
        informer: Informer,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._due: dict[str, float] = {}
        self._client = client
        self._store = store
        self._informer = informer
        self._sleep = sleep

    def listed(self, kind: Kind) -> None:
        """Have `kind` swept soon: its watch was begun by a listing, which says nothing of what went before it."""
        self._due[kind.plural] = min(self._due.get(kind.plural, math.inf), self._clock() + LISTED_SECONDS)

    async def run(self, *, watched: tuple[Watched, ...], seconds: float, swept: Callable[[Kind, Drift], None]) -> None:
        """Sweep each kind once every `seconds`, and soon after each listing; tell `swept` what was mended."""
        for entry in watched:
            self.listed(entry.kind)
        while True:
            now = self._clock()
            for entry in watched:
                if self._due[entry.kind.plural] > now:
                    continue
                self._due[entry.kind.plural] = now + seconds
                try:
                    drift = await self.sweep(entry)
                except ApiError as error:
                    log.warning("the sweep of %s failed: %s", entry.kind.plural, error)
                    continue
                if drift:
                    log.warning("the watch of %s had missed: %s", entry.kind.plural, drift)
                swept(entry.kind, drift)
            await self._sleep(TICK_SECONDS)

    async def sweep(self, entry: Watched) -> Drift:
        """Mend what the store has wrong of one kind.

        Raises
        ------
        ApiError
            If the listing fails; nothing is removed then.
        """
        before = {key_of(obj): obj for obj in self._store.list(entry.kind)}
        listed, version = await self._versions(entry)
        unlisted = [
            obj for key, obj in before.items() if key not in listed and not _written_after(obj["metadata"], version)
        ]
        ghosts = [obj for obj in unlisted if _is_followed(entry, obj) or not await self._is_there(entry, obj)]
        for ghost in ghosts:
            self._informer.drop(entry.kind, ghost)
        behind = self._behind(entry.kind, listed)
        if behind:
            await self._sleep(GRACE_SECONDS)
            behind &= self._behind(entry.kind, listed)
        await self._fetch(entry, behind)
        return Drift(ghosts=len(ghosts), behind=len(behind))

    async def _is_there(self, entry: Watched, obj: JsonObject) -> bool:
        namespace, name = key_of(obj)
        found = await find_one(self._client, entry.kind, name, namespace=namespace)
        if found is not None:
            self._informer.take(entry.kind, found)
        return found is not None

    async def _versions(self, entry: Watched) -> tuple[dict[ObjectKey, str], str]:
        listed: dict[ObjectKey, str] = {}
        version = ""
        pages = self._client.pages(entry.kind, label_selector=entry.label_selector, metadata_only=True)
        async for page in pages:
            version = page.resource_version
            for obj in page.items:
                listed[key_of(obj)] = obj["metadata"].get("resourceVersion", "")
        return listed, version

    def _behind(self, kind: Kind, listed: dict[ObjectKey, str]) -> set[ObjectKey]:
        found = set()
        for key, version in listed.items():
            known = self._store.get(kind, *key)
            if known is None or _written_after({"resourceVersion": version}, known["metadata"]["resourceVersion"]):
                found.add(key)
        return found

    async def _fetch(self, entry: Watched, keys: set[ObjectKey]) -> None:
        if len(keys) > _FETCH_ONE_BY_ONE:
            async for page in self._client.pages(entry.kind, label_selector=entry.label_selector):
                for obj in page.items:
                    self._informer.take(entry.kind, obj)
            return
        for namespace, name in keys:
            found = await find_one(self._client, entry.kind, name, namespace=namespace)
            if found is not None:
                self._informer.take(entry.kind, found)


def _is_followed(entry: Watched, obj: JsonObject) -> bool:
    """Return whether the listing would have `obj`; somebody else's object is known by having its name refused to us."""
    return not entry.label_selector or entry.label_selector in (obj["metadata"].get("labels") or {})


def _written_after(metadata: JsonObject, version: str) -> bool:
    """Return whether an object is newer than `version`; opaque versions only tell equal from different."""
    own = metadata.get("resourceVersion", "")
    try:
        return int(own) > int(version)
    except ValueError:
        return bool(own != version)
