"""The end of the process, which comes even if something in it does not end.

A watch that cannot go on, such as that of a kind that was removed, is the end of kopf. But kopf cannot always stop the
watches beside it, and waits for them for ever: the Lease would be held by a process that hears nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

EXIT_STUCK = 70
# How long what was begun may go on, when the process is to end.
FINISHING_SECONDS = 5.0
# How long a process may take for that and for cleaning up behind it.
ENDING_SECONDS = 15.0

log = logging.getLogger(__name__)


def end_at_once() -> None:
    """End the process, whatever it waits for."""
    log.critical("not through with ending after %.0f s: ending at once", ENDING_SECONDS)
    os._exit(EXIT_STUCK)


async def see_to_the_end(
    tasks: Iterable[asyncio.Task[Any]],
    *,
    stop: asyncio.Event,
    end: Callable[[], None] = end_at_once,
    seconds: float = ENDING_SECONDS,
) -> None:
    """Wait until one of `tasks` has ended or `stop` is set; set it then, and call `end` if that does not do in time."""
    told = asyncio.create_task(stop.wait(), name="told")
    try:
        await asyncio.wait({*tasks, told}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()
        # Of a thread: a loop that is stuck calls nobody.
        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
    stop.set()
