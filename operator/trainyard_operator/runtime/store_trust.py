"""The probe of the object store at the operator's start: once, as soon as the store answers."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable

from trainyard_operator.runtime.memory import Memory
from trainyard_operator.storage.bucket import RETRY_SECONDS
from trainyard_operator.storage.errors import StoreError
from trainyard_operator.storage.probe import probe
from trainyard_operator.storage.store import ObjectStore
from trainyard_operator.telemetry.inventory import Gauge

log = logging.getLogger(__name__)


async def find_trust(*, objects: ObjectStore, memory: Memory, changed: Callable[[], None]) -> None:
    """Probe the store until it answers, keep what was found, and call `changed`.

    Whatever is found, the operator goes on: version numbers are given by the cluster, not by the store.
    """
    for attempt in itertools.count():
        try:
            trust = await probe(objects)
        except StoreError as error:
            seconds = RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]
            log.info("the object store could not be probed yet, trying again in %.0f s: %s", seconds, error)
            await asyncio.sleep(seconds)
            continue
        memory.trust = trust
        log.log(logging.INFO if trust.good else logging.WARNING, "%s", trust.message)
        changed()
        return


def trust_gauge(memory: Memory) -> Gauge:
    """Return the gauge of what was found; it has no sample before that."""
    return Gauge(
        name="trainyard_store_conditional_writes",
        text="1 where the object store keeps manifests from being written twice, 0 where it does not",
        labels=(),
        samples=lambda: {} if memory.trust is None else {(): float(memory.trust.good)},
    )
