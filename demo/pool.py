"""Following the run's ComputeCluster: how its nodes come and go beside the run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from trainyard.errors import TrainyardError

if TYPE_CHECKING:
    from demo.console import Console

JsonObject = Mapping[str, Any]

# Beyond the cluster's own idle time, for the last node to be taken down.
GRACE_SECONDS: Final = 90.0
# For the first word of a cluster that is there.
FIRST_SECONDS: Final = 10.0


class PoolStory:
    """Turns one status of a cluster after another into the sentences that are new in each."""

    def __init__(self) -> None:
        self._told = ""

    def tell(self, status: JsonObject) -> list[str]:
        """Return what is new in `status`."""
        counts: JsonObject = status.get("nodeStateCounts") or {}
        states = [f"{number} {state}" for state, number in counts.items() if number]
        words = f"pool: {', '.join(states) or 'no nodes'}"
        if not counts or words == self._told:
            return []
        self._told = words
        return [words]


class PoolFollower(threading.Thread):
    """Tells of a cluster in a thread of its own, and knows when its last node has gone.

    Parameters
    ----------
    objects
        The ComputeCluster again and again, whenever it changes.
    console
        Where the lines go.
    """

    def __init__(self, objects: Iterable[JsonObject], *, console: Console) -> None:
        super().__init__(name="pool", daemon=True)
        self._objects = objects
        self._console = console
        self._changed = threading.Condition()
        self._status: JsonObject = {}
        self._over = False

    def run(self) -> None:
        """Follow for as long as the process lives, or the cluster does."""
        with contextlib.suppress(TrainyardError):
            self._follow()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _follow(self) -> None:
        story = PoolStory()
        for cluster in self._objects:
            status = cluster.get("status") or {}
            for line in story.tell(status):
                self._console.say(line)
            with self._changed:
                self._status = status
                self._changed.notify_all()

    def scales(self) -> bool:
        """Return whether the cluster adds and removes its nodes by itself."""
        with self._changed:
            self._changed.wait_for(lambda: self._status or self._over, timeout=FIRST_SECONDS)
        conditions = self._status.get("conditions") or ()
        return any(c["type"] == "Managed" and c["status"] == "True" for c in conditions)

    def await_empty(self, *, clock: Callable[[], float] = time.monotonic) -> float | None:
        """Return the seconds until the last node has gone; None where that takes too long."""
        begin = clock()
        with self._changed:
            empty = self._changed.wait_for(
                lambda: not any((self._status.get("nodeStateCounts") or {"": 1}).values()), timeout=GRACE_SECONDS
            )
        return clock() - begin if empty else None
