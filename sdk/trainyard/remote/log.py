"""The log of a run: what there is of it now, or line by line until the run has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainyard.errors import NotFound, Timeout, TrainyardError
from trainyard.remote.api import JsonObject
from trainyard.remote.files import files_of
from trainyard.remote.following import CONTAINER, LOGGING, LogFollower, pod_log
from trainyard.remote.objects import TRAINING_JOBS, lines_of
from trainyard.remote.view import Story, has_begun, has_ended, status_of

if TYPE_CHECKING:
    from trainyard.remote.workspace import Workspace

Write = Callable[[str], object]


def lines_now(workspace: Workspace, job: Mapping[str, Any]) -> list[str]:
    """Return what a run has printed so far: from its pod while it runs, otherwise what it has saved."""
    if not has_ended(job):
        try:
            return _of_pod(workspace, job)
        except TrainyardError:
            # The container has not started, or has gone: what is saved is all there is.
            pass
    return files_of(workspace, job).log().splitlines() if has_begun(job) else []


def follow(  # noqa: PLR0913 - all but the first two by name
    workspace: Workspace,
    name: str,
    *,
    write: Write | None,
    note: Write,
    tail: int | None = None,
    timeout: float | None = None,
) -> JsonObject:
    """Watch a run until it has ended, and return it as it is then.

    Parameters
    ----------
    write
        Gets each line of the log; None where the log is not wanted.
    note
        Gets a sentence on what happens, until there is a log.
    tail
        How many lines of what is there already to begin with; all of them by default.
    timeout
        How many seconds to wait at most.

    Raises
    ------
    NotFound
        If the run is not there, or somebody deletes it.
    Timeout
        If it takes longer; the run goes on.
    """
    job = workspace.objects.get(TRAINING_JOBS, name)
    lines = _Lines(write, skip=0)
    if write is not None and tail is not None and not has_ended(job):
        lines.skip = max(0, len(lines_now(workspace, job)) - tail)

    def opened(pod: str) -> Iterator[bytes]:
        return pod_log(workspace.objects.api, namespace=workspace.name, pod=pod)

    follower = LogFollower(open_log=opened, write=lines)
    story = Story()
    streams = write is not None and not has_ended(job)
    try:
        for job in workspace.objects.watch(TRAINING_JOBS, name, timeout=timeout):
            status = job.get("status") or {}
            if streams and status.get("podName") and status.get("phase") in LOGGING:
                follower.follow(status["podName"])
            if has_ended(job):
                break
            if not lines.told:
                _tell(story.tell(status), note)
    except Timeout:
        raise Timeout(f"run {name} is {status_of(job)} after {timeout:g} s; it goes on") from None
    follower.finish()
    if write is not None and not lines.told:
        _tell(last(lines_now(workspace, job), tail), write)
    return job


def last(lines: Sequence[str], count: int | None) -> Sequence[str]:
    """Return the last so many lines, or all."""
    return lines if count is None else lines[max(0, len(lines) - count) :]


def _tell(lines: Iterable[str], write: Write) -> None:
    for line in lines:
        write(line)


class _Lines:
    """Passes lines on, but for the first ones."""

    def __init__(self, write: Write | None, *, skip: int) -> None:
        self._write = write
        self.skip = skip
        self.told = 0

    def __call__(self, line: str) -> None:
        self.told += 1
        if self._write is not None and self.told > self.skip:
            self._write(line)


def _of_pod(workspace: Workspace, job: Mapping[str, Any]) -> list[str]:
    pod = (job.get("status") or {}).get("podName")
    if not pod:
        raise NotFound("the run has no pod")
    path = f"/api/v1/namespaces/{workspace.name}/pods/{pod}/log"
    with workspace.objects.api.stream("GET", path, query={"container": CONTAINER}) as response:
        return [line.decode(errors="replace") for line in lines_of(response)]
