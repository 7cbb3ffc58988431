"""Patience with servers that are away: exponential back-off with full jitter, for as long as a `Retry` says."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

# How long an outage of the gateway or of the store is waited out before work is given up.
PATIENCE_SECONDS = 6 * 3600.0


class Transient(Exception):  # noqa: N818 - never leaves the package; it names a condition, not an error
    """A failure that another try may mend."""


class TransferError(Exception):
    """Something could not be fetched, saved or told."""


class Unavailable(TransferError):  # noqa: N818 - reads as what happened
    """A server stayed away for longer than the patience there was."""


@dataclass(frozen=True)
class Retry:
    """How patient a client is: up to `limit` seconds; its waits begin below `first` seconds and stay below `most`."""

    limit: float = PATIENCE_SECONDS
    first: float = 0.25
    most: float = 15.0

    def wait(self, attempt: int) -> float:
        """Return the seconds to wait after failure number `attempt`, counted from 0."""
        return random.uniform(0, min(self.most, self.first * 2.0 ** min(attempt, 30)))  # noqa: S311 - no secret


def persistently(
    call: Callable[[], Result], *, retry: Retry, on_trouble: Callable[[str], None] | None = None
) -> Result:
    """Return what `call` returns, calling it again after each `Transient` until the patience of `retry` is at its end.

    Raises
    ------
    Unavailable
        Once it is.
    """
    began, attempt = time.monotonic(), 0
    while True:
        try:
            return call()
        except Transient as trouble:
            wait = retry.wait(attempt)
            if time.monotonic() + wait - began > retry.limit:
                raise Unavailable(str(trouble)) from trouble
            if on_trouble:
                on_trouble(str(trouble))
        time.sleep(wait)
        attempt += 1
