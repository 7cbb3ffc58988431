"""Hearing of any run that can be asked, such as one on this machine: it is asked once a second."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Final, Protocol, runtime_checkable

from trainyard.errors import TrainyardError
from trainyard.remote.view import ENDED
from trainyard.widgets.hub import Hub

JsonObject = Mapping[str, Any]

POLL_SECONDS: Final = 1.0


@runtime_checkable
class Askable(Protocol):
    """What a run has to answer to be shown."""

    @property
    def id(self) -> str:
        """Its id."""

    def get_details(self) -> dict[str, Any]:
        """Return what it is, in Azure ML's words: see `trainyard.SubmittedRun.get_details`."""

    def get_metrics(self) -> dict[str, Any]:
        """Return what it has logged: a value, or a list of values, by name."""

    def get_logs(self) -> str:
        """Return what it has printed."""

    def get_file_names(self) -> list[str]:
        """Return the paths of its files."""


class PolledSource:
    """A run that is asked again and again.

    Parameters
    ----------
    run
        The run.
    """

    def __init__(self, run: Askable) -> None:
        self._run = run
        self._printed = 0
        self._logged: dict[str, Any] = {}

    @property
    def key(self) -> Hashable:
        """The run itself."""
        return id(self._run)

    @property
    def first(self) -> JsonObject:
        """The run as it is now: it is near."""
        return job_of(self._run.get_details())

    def look(self) -> JsonObject:
        """Return the run as it is now."""
        return self.first

    def follow(self, hub: Hub, stop: threading.Event) -> None:
        """Tell `hub` what happens until the run has ended or `stop` is set."""
        while not stop.is_set():
            try:
                # What it is comes first: what an ended run has logged is whole.
                job = job_of(self._run.get_details())
                self._rest(hub)
                hub.job(job)
                hub.note("watch", "")
                if job["status"]["phase"] in ENDED:
                    return
            except TrainyardError as error:
                hub.note("watch", str(error))
            stop.wait(POLL_SECONDS)

    def _rest(self, hub: Hub) -> None:
        lines = self._run.get_logs().splitlines()
        if len(lines) > self._printed:
            hub.lines(lines[self._printed :])
            self._printed = len(lines)
        logged = self._run.get_metrics()
        if logged != self._logged:
            self._logged = logged
            hub.history(list(_entries(logged)))
        hub.files(dict.fromkeys(self._run.get_file_names(), -1))


def job_of(details: JsonObject) -> dict[str, Any]:
    """Return what `get_details` says as a TrainingJob says it."""
    definition = details.get("runDefinition") or {}
    phase = {"NotStarted": "Pending", "Starting": "Pending", "CancelRequested": "Running"}.get(
        str(details.get("status")), str(details.get("status"))
    )
    error = (details.get("error") or {}).get("error")
    ready = {"type": "Ready", "message": str(details.get("reason") or "")}
    status: dict[str, Any] = {"phase": phase, "conditions": [ready], "startTime": details.get("startTimeUtc")}
    if details.get("endTimeUtc"):
        status["completionTime"] = details["endTimeUtc"]
    if details.get("startTimeUtc"):
        status["phases"] = [
            {"name": "Running", "startTime": details["startTimeUtc"], "endTime": details.get("endTimeUtc")}
        ]
    if error:
        status["failure"] = {"reason": error.get("code"), "message": error.get("message")}
    spec = {
        "entryScript": definition.get("script"),
        "parameters": definition.get("parameters"),
        "arguments": definition.get("arguments"),
        "experiment": details.get("experiment") or "local",
    }
    return {"metadata": {"name": details.get("runId"), "namespace": "this machine"}, "spec": spec, "status": status}


def _entries(logged: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for name, value in logged.items():
        if isinstance(value, Mapping):
            columns = {key: held if isinstance(held, list) else [held] for key, held in value.items()}
            yield {"table": name, "columns": columns}
        else:
            yield {"list": name, "values": value if isinstance(value, list) else [value]}
