"""Following a run: what changed since one looked last, and its log as it is printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from trainyard.remote.following import LOGGING, LogFollower, OpenLog
from trainyard.remote.view import ENDED, Story

if TYPE_CHECKING:
    from demo.console import Console

JsonObject = Mapping[str, Any]

MARK: Final = "  | "


def follow(objects: Iterable[JsonObject], *, console: Console, open_log: OpenLog) -> JsonObject:
    """Tell of a run until it has ended, and return it as it is then.

    Parameters
    ----------
    objects
        The TrainingJob again and again, whenever it changes.
    """
    story = Story()
    log = LogFollower(open_log=open_log, write=lambda line: console.write(MARK + line))
    for job in objects:
        status = job.get("status") or {}
        if status.get("podName") and status.get("phase") in LOGGING:
            log.follow(status["podName"])
        ended = status.get("phase") in ENDED
        if ended:
            log.finish()
        for line in story.tell(status):
            console.say(line)
        if ended:
            return job
    raise AssertionError("a watch goes on until it is no longer asked")
