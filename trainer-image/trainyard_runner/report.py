"""Telling the gateway how a run is: soon after something changed, and now and then when nothing did."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

from trainyard.patience import TransferError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainyard.contract import Report
    from trainyard.transfer import GatewayClient

LOOK_SECONDS = 0.25
SPACING_SECONDS = 2.0
HEARTBEAT_SECONDS = 15.0
LAST_WORD_SECONDS = 5.0


class Reporter(threading.Thread):
    """Reports what `snapshot` returns: at most every 2 s, at least every 15 s.

    A report that fails is not repeated but followed by the next one, since each tells the whole state.
    """

    def __init__(self, *, gateway: GatewayClient, snapshot: Callable[[], Report]) -> None:
        super().__init__(name="reporter", daemon=True)
        self._gateway = gateway
        self._snapshot = snapshot
        self._stopping = threading.Event()

    def run(self) -> None:
        """Report until `finish`."""
        told: Report | None = None
        next_change = next_heartbeat = time.monotonic()
        failures = 0
        stopping = False
        while not stopping:
            report = self._snapshot()
            if time.monotonic() >= (next_heartbeat if report == told else next_change):
                done = self._tell(report)
                told, failures = (report, 0) if done else (None, failures + 1)
                next_change = time.monotonic() + _spacing(failures)
                next_heartbeat = time.monotonic() + HEARTBEAT_SECONDS
            stopping = self._stopping.wait(LOOK_SECONDS)
        last = self._snapshot()
        if last != told:
            self._tell(last)

    def finish(self) -> None:
        """Report a last time, but wait for that only so long: the termination message says all of it again."""
        self._stopping.set()
        self.join(LAST_WORD_SECONDS)

    def _tell(self, report: Report) -> bool:
        try:
            self._gateway.report(report)
        except TransferError:
            return False
        return True


def _spacing(failures: int) -> float:
    if failures == 0:
        return SPACING_SECONDS
    # A gateway that comes back must not meet all runs at the same moment.
    most = min(HEARTBEAT_SECONDS, SPACING_SECONDS * 2.0 ** min(failures, 10))
    return random.uniform(SPACING_SECONDS, most)  # noqa: S311 - no secret
