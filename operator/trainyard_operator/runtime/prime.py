"""Filling the store before anything is decided.

kopf does not say when its first listing of a kind is through, and a TrainingJob that is planned before its Job is
known would be taken for new. So each kind is listed once, children before parents, before any worker starts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from trainyard_operator.kube.client import Client
from trainyard_operator.kube.errors import ApiError, Expired, NotFound
from trainyard_operator.runtime.informer import Informer
from trainyard_operator.runtime.watched import Watched

RETRY_SECONDS = 2.0

log = logging.getLogger(__name__)


async def prime(*, client: Client, informer: Informer, watched: Iterable[Watched]) -> None:
    """List every watched kind into the store; wait for what is not there yet, such as a definition of a kind.

    Raises
    ------
    NotFound
        If another program's kind was removed since it was found: the next process will do without.
    """
    for entry in watched:
        while True:
            try:
                count = await _list(client, informer, entry)
                # kopf asks discovery once, and never watches what is not named there yet.
                served = await client.serves(entry.kind)
            except Expired:
                continue
            except NotFound:
                if entry.removable:
                    raise
                log.warning("the cluster does not know %s yet: apply the definitions in crds/", entry.kind.plural)
            except ApiError as error:
                log.warning("listing %s failed, trying again: %s", entry.kind.plural, error)
            else:
                log.info("listed %d %s", count, entry.kind.plural)
                if served:
                    break
            await asyncio.sleep(RETRY_SECONDS)


async def _list(client: Client, informer: Informer, entry: Watched) -> int:
    count = 0
    async for page in client.pages(entry.kind, label_selector=entry.label_selector):
        for obj in page.items:
            informer.take(entry.kind, obj)
        count += len(page.items)
    return count
