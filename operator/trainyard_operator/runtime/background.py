"""Long work that no worker waits for.

A worker that held a key for as long as gigabytes are copied would be missing for all other objects. So it waits for a
moment, in which most work is done, and goes on; the end of longer work has the object looked at again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable

from trainyard_operator.runtime.queues import Key

PATIENCE_SECONDS = 0.5


class Background:
    """Does some pieces of work at a time, each known by a name; `wake` has an object looked at."""

    def __init__(self, *, at_once: int, wake: Callable[[Key], None], patience: float = PATIENCE_SECONDS) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._patience = patience
        self._wake = wake
        self._running: dict[Hashable, asyncio.Task[None]] = {}
        self._failed: dict[Hashable, Exception] = {}

    async def do(self, name: Hashable, work: Callable[[], Awaitable[None]], *, key: Key) -> bool:
        """Begin `work` for the object `key`, unless that of this name goes on; return whether it is done.

        Raises
        ------
        Exception
            What the work has failed with, now or since it was asked for the last time. Asking again begins anew.
        """
        if name in self._failed:
            raise self._failed.pop(name)
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = asyncio.create_task(self._work(work), name=f"background {name}")
        done, _ = await asyncio.wait({task}, timeout=self._patience)
        if done:
            self._running.pop(name, None)
            self._failed.pop(name, None)  # told here and now
            task.result()
            return True
        task.add_done_callback(lambda ended: self._end(name, ended, key))
        return False

    async def _work(self, work: Callable[[], Awaitable[None]]) -> None:
        async with self._free:
            await work()

    def _end(self, name: Hashable, task: asyncio.Task[None], key: Key) -> None:
        # Whoever waited for it at its end, or an earlier call of this, has seen to it.
        if self._running.pop(name, None) is None or task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception):
            self._failed[name] = error
        self._wake(key)
