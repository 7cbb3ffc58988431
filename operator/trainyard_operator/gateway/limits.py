"""How often one caller may come, so that a script in a loop cannot keep the others from being served."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_REMEMBERED = 10_000


@dataclass
class _Bucket:
    tokens: float
    filled: float


class RateLimit:
    """A token bucket for each key: `burst` at once, then `per_second` on the average."""

    def __init__(self, *, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_for(self, key: str) -> float:
        """Take a turn for `key` and return 0, or return how many seconds are left until there is one."""
        now = self._clock()
        bucket = self._buckets.setdefault(key, _Bucket(tokens=self._burst, filled=now))
        self._buckets.move_to_end(key)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled) * self._per_second)
        bucket.filled = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self._per_second
        bucket.tokens -= 1
        return 0.0
