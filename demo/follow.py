"""Following a run: what changed since one looked last, and its log as it is printed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

from trainyard.contract import MetricValue, decode_metric

if TYPE_CHECKING:
    from demo.console import Console

JsonObject = Mapping[str, Any]
# Returns the lines of a pod's log from the first one on, until the container or the connection ends.
OpenLog = Callable[[str], Iterable[bytes]]

ENDED: Final = frozenset({"Completed", "Failed", "Canceled"})
LOGGING: Final = frozenset({"Running", "Finalizing"}) | ENDED
RECONNECT_SECONDS: Final = 1.0
# How often and how long the last lines of a run that has ended are asked for.
LAST_TRIES: Final = 3
LAST_LINES_SECONDS: Final = 10.0


class Story:
    """Turns one status after another into the sentences that are new in each."""

    def __init__(self) -> None:
        self._stand: tuple[str, str] = ("", "")
        self._metrics: dict[str, MetricValue] = {}
        self._progress: dict[str, Any] = {}

    def tell(self, status: JsonObject) -> list[str]:
        """Return what is new in `status`."""
        lines: list[str] = []
        phase = str(status.get("phase", ""))
        ready: JsonObject = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), {})
        stand = (phase, str(ready.get("reason", "")))
        if phase and stand != self._stand:
            self._stand = stand
            lines.append(f"{phase}: {ready.get('message', '')}".removesuffix(": "))
        for name, value in (status.get("metrics") or {}).items():
            if self._metrics.get(name) != value:
                self._metrics[name] = value
                lines.append(f"metric {name} = {decode_metric(value):g}")
        lines += self._tell_progress(status.get("progress") or {})
        return lines

    def _tell_progress(self, progress: JsonObject) -> list[str]:
        told = {name: value for name, value in progress.items() if name != "updatedTime"}
        if not told or told == self._progress:
            return []
        self._progress = told
        words = [f"{told['percent']} %"] if "percent" in told else []
        words += [f"{told['etaSeconds']:g} s left"] if "etaSeconds" in told else []
        words += [told["message"]] if "message" in told else []
        return [f"progress {', '.join(words)}"]


class LogFollower:
    """Prints the log of the run's newest pod in a thread of its own, each line once, over lost connections.

    Parameters
    ----------
    open_log
        Begins the log of the named pod anew.
    console
        Where the lines go.
    """

    def __init__(self, *, open_log: OpenLog, console: Console) -> None:
        self._open_log = open_log
        self._console = console
        self._pod = ""
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def follow(self, pod: str) -> None:
        """Begin with the log of `pod`, unless that is what is being followed; a retried run has a new one."""
        if pod == self._pod:
            return
        self.finish()
        self._pod, self._over = pod, threading.Event()
        self._thread = threading.Thread(target=self._print, args=(pod, self._over), daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait, for a while, for the last lines of a pod that has ended."""
        if self._thread is not None:
            self._over.set()
            self._thread.join(timeout=LAST_LINES_SECONDS)
            self._thread = None

    def _print(self, pod: str, over: threading.Event) -> None:
        printed = failures = 0
        while True:
            ended = over.is_set()
            try:
                for number, line in enumerate(self._open_log(pod)):
                    # The log was begun anew: what was printed before is skipped.
                    if number >= printed:
                        self._console.write("  | " + line.decode(errors="replace").rstrip("\r\n"))
                        printed += 1
            except ApiException:
                pass  # The container has not started, and perhaps never will.
            except (HTTPError, OSError):
                failures += ended
                if 0 < failures < LAST_TRIES:
                    time.sleep(RECONNECT_SECONDS)
                    continue
            if ended:
                return
            over.wait(RECONNECT_SECONDS)


def follow(objects: Iterable[JsonObject], *, console: Console, open_log: OpenLog) -> JsonObject:
    """Tell of a run until it has ended, and return it as it is then.

    Parameters
    ----------
    objects
        The TrainingJob again and again, whenever it changes.
    """
    story = Story()
    log = LogFollower(open_log=open_log, console=console)
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
