"""Printing a run while it goes: why it waits, its log line by line, and what came of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from trainyard.contract import TRAIN_LOG
from trainyard.errors import TrainyardError, Unreachable
from trainyard.remote.api import Api
from trainyard.remote.objects import lines_of
from trainyard.remote.view import Story, failure_of, has_ended, reason_of

JsonObject = Mapping[str, Any]
# Returns the lines of a pod's log from the first one on, until the container or the connection ends.
OpenLog = Callable[[str], Iterable[bytes]]
Write = Callable[[str], None]

LOGGING: Final = frozenset({"Running", "Finalizing", "Completed", "Failed", "Canceled"})
CONTAINER: Final = "train"
RECONNECT_SECONDS: Final = 1.0
# How often and how long the last lines of a run that has ended are asked for.
LAST_TRIES: Final = 3
LAST_LINES_SECONDS: Final = 10.0
# A log may say nothing for hours.
SILENCE_SECONDS: Final = 24 * 3600.0


class PodThread:
    """Reads the log of a run's newest pod in a thread of its own, over lost connections.

    Parameters
    ----------
    read
        Reads the log of the named pod until its container or the connection ends. It is called again until the pod
        has ended, so it has to skip what it knows.
    name
        What the thread is called.
    """

    def __init__(self, read: Callable[[str], None], *, name: str) -> None:
        self._read = read
        self._name = name
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.stopped = False

    def begin(self, pod: str) -> None:
        """Begin with the log of `pod`."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_reading, args=(pod, self._over), name=self._name, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait, for a while, for the last lines of a pod that has ended."""
        if self._thread is not None:
            self._over.set()
            self._thread.join(timeout=LAST_LINES_SECONDS)
            self._thread = None

    def stop(self) -> None:
        """Do not begin to read again."""
        self.stopped = True
        self._over.set()

    def _keep_reading(self, pod: str, over: threading.Event) -> None:
        failures = 0
        while not self.stopped:
            ended = over.is_set()
            try:
                self._read(pod)
            except Unreachable:
                failures += ended
                if 0 < failures < LAST_TRIES:
                    time.sleep(RECONNECT_SECONDS)
                    continue
            except TrainyardError:
                pass  # The container has not started, and perhaps never will.
            if ended:
                return
            over.wait(RECONNECT_SECONDS)


class LogFollower:
    """Gives the log of the run's newest pod to `write`, each line once.

    Parameters
    ----------
    open_log
        Begins the log of the named pod anew.
    write
        Gets each line, without its end.
    """

    def __init__(self, *, open_log: OpenLog, write: Write) -> None:
        self._open_log = open_log
        self._write = write
        self._pod = ""
        self._thread = PodThread(self._print, name="log")
        self.printed = 0

    def follow(self, pod: str) -> None:
        """Begin with the log of `pod`, unless that is what is being followed; a retried run has a new one."""
        if pod == self._pod:
            return
        self.finish()
        self._pod, self.printed = pod, 0
        self._thread.begin(pod)

    def finish(self) -> None:
        """Wait, for a while, for the last lines of a pod that has ended."""
        self._thread.finish()

    def _print(self, pod: str) -> None:
        for number, line in enumerate(self._open_log(pod)):
            # The log was begun anew: what was printed before is skipped.
            if number >= self.printed:
                self._write(line.decode(errors="replace").rstrip("\r\n"))
                self.printed += 1


class Printer:
    """Prints one run in the order of Azure ML's streams, from its id to its summary.

    Parameters
    ----------
    run_id
        The id of the run.
    open_log
        Begins the log of the named pod anew.
    stored_log
        Returns the log that the run has saved, for when its pod could not be asked.
    write
        Gets each line; several threads call it.
    """

    def __init__(self, run_id: str, *, open_log: OpenLog, stored_log: Callable[[], str], write: Write = print) -> None:
        self._run_id = run_id
        self._stored_log = stored_log
        self._lock = threading.Lock()
        self._write = write
        self._story = Story()
        self._headed = False
        self._log = LogFollower(open_log=open_log, write=self._line)

    def begin(self) -> None:
        """Print whose log follows."""
        self._say(f"RunId: {self._run_id}", "")

    def show(self, job: JsonObject) -> None:
        """Print what is new of a run."""
        status = job.get("status") or {}
        if status.get("podName") and status.get("phase") in LOGGING:
            self._log.follow(status["podName"])
        # Once there is a log, what the script says comes first.
        if not self._headed and not has_ended(job):
            self._say(*self._story.tell(status))

    def end(self, job: JsonObject) -> None:
        """Print what is left of the log, and what came of the run."""
        self._log.finish()
        if not self._log.printed:
            for line in self._stored_log().splitlines():
                self._line(line)
        title = "Execution Summary"
        words = reason_of(job) if (job.get("status") or {}).get("phase") == "Completed" else failure_of(job)
        self._say("", title, "=" * len(title), f"RunId: {self._run_id}", words, "")

    def _line(self, line: str) -> None:
        if not self._headed:
            self._headed = True
            head = f"Streaming {TRAIN_LOG}"
            self._say("", head, "=" * len(head), "")
        self._say(line)

    def _say(self, *lines: str) -> None:
        with self._lock:
            for line in lines:
                self._write(line)


def pod_log(api: Api, *, namespace: str, pod: str) -> Iterator[bytes]:
    """Yield the lines of the log of a run's script from the first on, until its container or the connection ends."""
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
    query = {"container": CONTAINER, "follow": "true"}
    with api.stream("GET", path, query=query, seconds=SILENCE_SECONDS) as response:
        yield from lines_of(response)
