"""How fast this machine is just now, so that a bound on time is one for the code alone."""

from __future__ import annotations

import time

# What `_work` takes where the bounds were written down, in seconds of the processor.
NOMINAL_SECONDS = 0.025
_CHUNK = (b"y" * 99 + b"\n") * 655


def slowness() -> float:
    """Return how many times as long the processor takes here and now for the same work, and no less than 1."""
    began = time.process_time()
    _work()
    return max(1.0, (time.process_time() - began) / NOMINAL_SECONDS)


def _work() -> None:
    found: dict[str, int] = {}
    for number in range(60_000):
        name = f"m{number % 100}"
        found[name] = found.get(name, 0) + number
    for _ in range(150):
        _CHUNK.count(b"%|")
        _CHUNK.rfind(b"\r")
