"""Having a bucket: the operator starts without it, and makes it as soon as it can."""

from __future__ import annotations

import asyncio
import itertools
import logging

from trainyard_operator.storage.errors import StoreError
from trainyard_operator.storage.store import S3Store

RETRY_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0)

log = logging.getLogger(__name__)


async def make_bucket(objects: S3Store) -> None:
    """Create the bucket where it is missing; the operator starts without it, runs wait for it."""
    for attempt in itertools.count():
        try:
            await objects.ensure_bucket()
        except StoreError as error:
            log.warning("the bucket is not usable yet: %s: %s", type(error).__name__, error)
            await asyncio.sleep(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
        else:
            return
