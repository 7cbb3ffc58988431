"""Keys that wait to be looked at.

A key is in the queue once however often it is added, is held by one worker at a time, and comes back if it was added
while it was held. Later wishes wait on one timer: of several for a key the earliest counts, and a worker that takes
the key settles them all, since it sees the state that they were made for.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_DELAY = 0.25
LONGEST_DELAY = 30.0
_MOST_DOUBLINGS = 16


class Timer(Protocol):
    """What a clock hands out for a callback to come."""

    def cancel(self) -> None:
        """Do not call back."""
        ...


class Clock(Protocol):
    """A time and a way to be called at one: every event loop is a clock, and tests bring their own."""

    def time(self) -> float:
        """Return the seconds of a clock that never goes back."""
        ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` once it is `when`."""
        ...


class QueueClosed(Exception):  # noqa: N818 - the end of a queue is no error
    """There is nothing more to take."""


class WorkQueue(Generic[K]):
    """A queue of keys; `spread` returns numbers from 0 to 1, for the jitter of back-off."""

    def __init__(self, *, clock: Clock, spread: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._spread = spread
        self._ready: deque[K] = deque()
        self._waiting: set[K] = set()  # in _ready, or to go there once its worker is done
        self._held: set[K] = set()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = 0
        self._timer: tuple[float, Timer] | None = None
        self._failures: dict[K, int] = {}
        self._takers: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: K) -> None:
        """Have `key` looked at as soon as a worker is free."""
        if self._closed or key in self._waiting:
            return
        self._waiting.add(key)
        if key not in self._held:
            self._ready.append(key)
            self._wake()

    def add_after(self, key: K, seconds: float) -> None:
        """Have `key` looked at after `seconds`, or earlier if something asked for that."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.time() + seconds
        if self._closed or self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        self._order += 1
        heapq.heappush(self._heap, (due, self._order, key))
        self._set_timer()

    def retry(self, key: K, *, at_least: float = 0.0) -> float:
        """Have `key` looked at again after a failure, each time later; return the seconds until then."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        longest = min(LONGEST_DELAY, FIRST_DELAY * float(2 ** min(failures, _MOST_DOUBLINGS)))
        # Half of the delay is spread, so that what failed together does not come back together.
        delay = max(at_least, longest * (0.5 + 0.5 * self._spread()))
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """Start the back-off of `key` anew: it succeeded, or is gone."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Return the next key and hold it until `done`.

        Raises
        ------
        QueueClosed
            Once the queue is closed.
        """
        while not self._closed:
            if self._ready:
                key = self._ready.popleft()
                self._waiting.discard(key)
                self._held.add(key)
                self._due.pop(key, None)
                return key
            taker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            try:
                await taker
            except asyncio.CancelledError:
                # The wake-up that came with the cancellation belongs to another worker.
                if taker.done() and not taker.cancelled():
                    self._wake()
                raise
        raise QueueClosed

    def done(self, key: K) -> None:
        """Let go of `key`; it is next in line again if it was added in the meantime."""
        self._held.discard(key)
        if key in self._waiting:
            self._ready.append(key)
            self._wake()

    def close(self) -> None:
        """Give out no more keys, and let those who wait for one know."""
        self._closed = True
        if self._timer:
            self._timer[1].cancel()
            self._timer = None
        while self._takers:
            self._wake()

    def _wake(self) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                return

    def _set_timer(self) -> None:
        # Entries that a worker settled or that an earlier wish replaced are left in the heap until their time.
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        if not self._heap or self._closed:
            return
        due = self._heap[0][0]
        if self._timer:
            if self._timer[0] <= due:
                return
            self._timer[1].cancel()
        self._timer = (due, self._clock.call_at(due, self._ripen))

    def _ripen(self) -> None:
        self._timer = None
        now = self._clock.time()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
        self._set_timer()
