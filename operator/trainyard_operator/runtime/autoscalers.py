"""Reading Cluster Autoscaler's status no more often than it is of use, however many clusters ask."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from trainyard_operator.api.compute_cluster import AutoscalerSettings
from trainyard_operator.api.names import CONFIG_MAP
from trainyard_operator.kube.client import Client
from trainyard_operator.kube.errors import ApiError, Forbidden, NotFound
from trainyard_operator.providers.autoscaler import AutoscalerStatus, absent, read_status

FORGET_SECONDS = 3600.0

log = logging.getLogger(__name__)


@dataclass
class _Entry:
    status: AutoscalerStatus | None = None
    version: str = ""
    read: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Autoscalers:
    """The statuses of all ConfigMaps that clusters name, remembered for some seconds."""

    def __init__(self, client: Client, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._entries: dict[tuple[str, str], _Entry] = {}

    async def look(self, settings: AutoscalerSettings, *, max_age: float) -> AutoscalerStatus:
        """Return what the ConfigMap that a cluster names said at most `max_age` seconds ago."""
        key = (settings.namespace, settings.config_map)
        for old in [k for k, e in self._entries.items() if self._clock() - e.read > FORGET_SECONDS and k != key]:
            del self._entries[old]
        entry = self._entries.setdefault(key, _Entry(read=self._clock()))
        async with entry.lock:
            if entry.status is None or self._clock() - entry.read >= max_age:
                entry.status = await self._read(key, entry)
                entry.read = self._clock()
            return entry.status

    async def _read(self, key: tuple[str, str], entry: _Entry) -> AutoscalerStatus:
        namespace, name = key
        where = f"{namespace}/{name}"
        try:
            found = await self._client.get(CONFIG_MAP, name, namespace=namespace)
        except (NotFound, Forbidden):
            entry.version = ""
            return AutoscalerStatus(words=absent(where))
        except ApiError as error:
            log.warning("the ConfigMap %s cannot be read, looking again later: %s", where, error)
            # What was known ages by itself.
            return entry.status or AutoscalerStatus(words=f"the ConfigMap {where} cannot be read now")
        version = found["metadata"].get("resourceVersion", "")
        if entry.status is not None and version and version == entry.version:
            return entry.status
        entry.version = version
        return await asyncio.to_thread(read_status, found, where=where)
