"""Which kinds of other programs the cluster has: they may be installed later than the operator."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from trainyard_operator.api.names import Kind
from trainyard_operator.kube.client import Client
from trainyard_operator.kube.errors import ApiError, NotFound

RETRY_SECONDS = 1.0
LOOK_SECONDS = 10.0

log = logging.getLogger(__name__)


async def serves(client: Client, kind: Kind) -> bool:
    """Return whether the cluster knows `kind`; a cluster that does not answer is asked again."""
    while True:
        try:
            return await client.serves(kind)
        except NotFound:
            return False
        except ApiError as error:
            log.warning("asking for the kind %s failed, trying again: %s", kind.kind, error)
            await asyncio.sleep(RETRY_SECONDS)


async def appears(client: Client, kinds: Iterable[Kind]) -> Kind:
    """Return the first of `kinds` that the cluster knows, as soon as it knows one."""
    wanted = tuple(kinds)
    while True:
        for kind in wanted:
            if await serves(client, kind):
                return kind
        # There is nobody who would tell.
        await asyncio.sleep(LOOK_SECONDS)
