"""Hearing of a run of a cluster: from the API server, from the log of its pod, and from its saved files."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from trainyard.contract import LOG_PARTS, METRICS_HISTORY, TRAIN_LOG, FileGrant
from trainyard.errors import NotFound, Timeout, TrainyardError
from trainyard.remote.api import Api
from trainyard.remote.files import RunFiles, entries_of, names_of
from trainyard.remote.following import CONTAINER, LOGGING, SILENCE_SECONDS, PodThread
from trainyard.remote.objects import TRAINING_JOBS, lines_of
from trainyard.remote.view import has_begun, has_ended
from trainyard.widgets.feed import LOG_LINES
from trainyard.widgets.hub import Hub

if TYPE_CHECKING:
    from trainyard.remote.submitted import SubmittedRun

JsonObject = Mapping[str, Any]

# How soon it is noticed that nobody looks any more.
WATCH_SECONDS: Final = 20.0
RECONNECT_SECONDS: Final = 1.0
LAST_TRIES: Final = 5
FILES_SECONDS: Final = 20.0
# What is fetched of a saved log at most: its last lines are in there.
LOG_BYTES: Final = 4_000_000
HISTORY_BYTES: Final = 100_000_000


class ClusterSource:
    """A run that was submitted to a cluster.

    Parameters
    ----------
    run
        The run.
    """

    def __init__(self, run: SubmittedRun) -> None:
        self._name = run.id
        self._uid = run.uid
        self._objects = run.experiment.workspace.objects
        self._gateway = run.experiment.workspace.gateway
        # A kubelet knows when each line was printed; a file of this machine does not.
        self._stamped = not run.experiment.workspace.is_local
        self._first: JsonObject = run._job  # noqa: SLF001 - what it knows already
        self._looked: tuple[Any, ...] = ()
        # Held from asking for the files to telling of them: an answer that took long must not replace a newer one.
        self._listing = threading.Lock()

    @property
    def key(self) -> Hashable:
        """The uid of the TrainingJob, and the API server that has it."""
        return self._objects.api.address, self._uid

    @property
    def first(self) -> JsonObject:
        """The TrainingJob when it was last looked at."""
        return self._first

    def look(self) -> JsonObject:
        """Return the TrainingJob as it is now."""
        return self._objects.get(TRAINING_JOBS, self._name)

    def follow(self, hub: Hub, stop: threading.Event) -> None:
        """Tell `hub` what happens until the run has ended or `stop` is set."""
        log = PodLog(self._objects.api, namespace=self._objects.namespace, hub=hub, stamped=self._stamped)
        wanted = threading.Event()
        files = threading.Thread(target=self._keep_files, args=(hub, stop, wanted), name="run-details-files")
        files.daemon = True
        files.start()
        last: JsonObject = self._first
        try:
            for job in self._jobs(hub, stop):
                last = job
                self._follow_log(job, log)
                self._look_at_files(job, wanted)
            if has_ended(last):
                log.finish()
                self._finish(hub, log, last, stop)
        finally:
            log.stop()
            stop.set()
            wanted.set()

    def _jobs(self, hub: Hub, stop: threading.Event) -> Iterator[JsonObject]:
        while not stop.is_set():
            try:
                for job in self._objects.watch(TRAINING_JOBS, self._name, timeout=WATCH_SECONDS):
                    hub.job(job)
                    hub.note("watch", "")
                    yield job
                    if has_ended(job) or stop.is_set():
                        return
            except Timeout:
                continue
            except NotFound:
                hub.note("watch", "The run was deleted. This is the last that was heard of it.")
                return
            except TrainyardError as error:
                hub.note("watch", str(error))
                stop.wait(RECONNECT_SECONDS)

    def _follow_log(self, job: JsonObject, log: PodLog) -> None:
        status = job.get("status") or {}
        # Of a run that had ended when somebody looked first, the whole log is saved.
        if status.get("podName") and status.get("phase") in LOGGING and (log.followed or not has_ended(job)):
            log.follow(status["podName"])

    def _look_at_files(self, job: JsonObject, wanted: threading.Event) -> None:
        status = job.get("status") or {}
        looked = (status.get("jobName"), status.get("attempt", 1), status.get("phase"))
        if looked[0] and looked != self._looked:
            self._looked = looked
            wanted.set()

    def _files(self, attempt: int) -> RunFiles:
        return RunFiles(self._gateway, uid=self._uid, attempt=attempt)

    def _keep_files(self, hub: Hub, stop: threading.Event, wanted: threading.Event) -> None:
        wanted.wait()
        while not stop.is_set():
            wanted.clear()
            self._list(hub, self._looked[1])
            wanted.wait(FILES_SECONDS)

    def _list(self, hub: Hub, attempt: int) -> None:
        try:
            self._tell_files(hub, attempt)
        except TrainyardError as error:
            hub.note("files", str(error))
        else:
            hub.note("files", "")

    def _tell_files(self, hub: Hub, attempt: int) -> dict[str, FileGrant]:
        with self._listing:
            found = self._files(attempt).listed()
            hub.files({path: found[path]["bytes"] for path in names_of(found)})
        return found

    def _finish(self, hub: Hub, log: PodLog, job: JsonObject, stop: threading.Event) -> None:
        """Fetch what an ended run has saved; a gateway that is away for a moment is asked again."""
        if not has_begun(job):
            return
        status = job["status"]
        for _ in range(LAST_TRIES):
            try:
                found = self._tell_files(hub, status.get("attempt", 1))
                if not log.lines:
                    self._saved_log(hub, log, found, str(status.get("podName", "")))
                history = found.get(METRICS_HISTORY)
                if history is not None and history["bytes"] <= HISTORY_BYTES:
                    hub.history(entries_of(self._gateway.read(history)))
            except TrainyardError as error:
                hub.note("files", str(error))
                if stop.wait(RECONNECT_SECONDS):
                    return
            else:
                hub.note("files", "")
                return

    def _saved_log(self, hub: Hub, log: PodLog, found: Mapping[str, FileGrant], pod: str) -> None:
        whole = found.get(TRAIN_LOG)
        parts = [found[path] for path in sorted(found) if path.startswith(LOG_PARTS)]
        if whole is not None and whole["bytes"] <= LOG_BYTES:
            parts = [whole]
        elif whole is not None:
            log.follow(pod)
            log.finish()
            if not log.lines:
                hub.note("log", f"The log has {whole['bytes']} bytes: run.download_file('{TRAIN_LOG}')")
            return
        wanted: list[FileGrant] = []
        size = 0
        for part in reversed(parts):
            size += part["bytes"]
            if size > LOG_BYTES:
                break
            wanted.insert(0, part)
        text = b"".join(self._gateway.read(part) for part in wanted).decode(errors="replace")
        hub.lines(text.splitlines())


class PodLog:
    """Gives the last lines of the log of the run's newest pod to a hub, and all that follow, over lost connections.

    Parameters
    ----------
    api
        The API server.
    namespace
        The namespace of the pods.
    hub
        Who is told of the lines.
    stamped
        Whether lines can be asked for from a moment on; otherwise all of them come whenever they are asked for.
    """

    def __init__(self, api: Api, *, namespace: str, hub: Hub, stamped: bool = True) -> None:
        self._api = api
        self._namespace = namespace
        self._hub = hub
        self._stamped = stamped
        self._thread = PodThread(self._read, name="run-details-log")
        self._response: Any = None
        self._last = ""
        self.followed = ""
        self.lines = 0

    def follow(self, pod: str) -> None:
        """Begin with the log of `pod`, unless that is what is being followed; a retried run has a new one."""
        if not pod or pod == self.followed:
            return
        if self.followed:
            self.finish()
            self._hub.new_log()
        self.followed, self._last, self.lines = pod, "", 0
        self._thread.begin(pod)

    def finish(self) -> None:
        """Wait, for a while, for the last lines of a pod that has ended."""
        self._thread.finish()

    def stop(self) -> None:
        """Read no more."""
        self._thread.stop()
        response = self._response
        if response is not None:
            try:
                # Wakes the thread that waits for the next line.
                response.shutdown()
            except (ValueError, OSError, AttributeError):
                return

    def _read(self, pod: str) -> None:
        for stamp, line in self._lines_of(pod, since=self._last):
            self._last = stamp
            self.lines += 1
            self._hub.lines([line])
            if self._thread.stopped:
                return

    def _lines_of(self, pod: str, *, since: str) -> Iterator[tuple[str, str]]:
        path = f"/api/v1/namespaces/{self._namespace}/pods/{pod}/log"
        if not self._stamped:
            yield from self._lines_after(path, self.lines)
            return
        begin: dict[str, Any] = {"sinceTime": since} if since else {"tailLines": LOG_LINES}
        query = {"container": CONTAINER, "follow": "true", "timestamps": "true", **begin}
        with self._api.stream("GET", path, query=query, seconds=SILENCE_SECONDS) as response:
            self._response = response
            try:
                for line in lines_of(response):
                    stamp, _, text = line.decode(errors="replace").partition(" ")
                    # `sinceTime` is taken by the second: what was read before comes again.
                    if stamp > since:
                        yield stamp, text.rstrip("\r\n")
            finally:
                self._response = None

    def _lines_after(self, path: str, number: int) -> Iterator[tuple[str, str]]:
        with self._api.stream("GET", path) as response:
            for line in islice(lines_of(response), number, None):
                yield "", line.decode(errors="replace").rstrip("\r\n")
