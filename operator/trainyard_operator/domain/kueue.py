"""Runs whose gate is Kueue's: which they are, what their Jobs carry for it, and what it says of them.

A run that has Kueue's own label is queued by Kueue. Whether it starts is the `suspend` of its Job, and that is
Kueue's to write from then on; the operator reads it, and stops a run by telling Kueue to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard_operator.api.fields import OBJECT_NAME, SpecError
from trainyard_operator.api.names import (
    JOB,
    KUEUE_PRIORITY_LABEL,
    KUEUE_QUEUE_LABEL,
    MAX_LABEL_VALUE,
    WORKLOAD,
)
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.domain.admission import Gate
from trainyard_operator.domain.conditions import find, is_true, shorten
from trainyard_operator.domain.plan import Patch

JsonObject = dict[str, Any]

# Why nobody can be asked about a run's Workload, and what to do about it.
SWITCHED_OFF = "the operator does not follow Kueue: set the chart's value kueue.enabled"
NOT_INSTALLED = (
    f"this cluster does not serve {WORKLOAD.plural} of {WORKLOAD.api_version}: install Kueue, in version 0.15 or newer"
)
_CARRIED = (KUEUE_QUEUE_LABEL, KUEUE_PRIORITY_LABEL)
_WORDS = 512


def is_kueues(run: Mapping[str, Any], job: Mapping[str, Any] | None) -> bool:
    """Return whether Kueue decides when a run starts: what its Job carries counts, once there is one."""
    return KUEUE_QUEUE_LABEL in _labels(run) if job is None else is_kueues_job(job)


def is_kueues_job(job: Mapping[str, Any]) -> bool:
    """Return whether Kueue decides when a Job starts; an empty name of a queue is none, as Kueue has it."""
    return bool(_labels(job).get(KUEUE_QUEUE_LABEL))


def carried_labels(run: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels that a run hands to Kueue with its Job, none where it has its own queue or none.

    Raises
    ------
    SpecError
        If a label names nothing that Kueue could have.
    """
    labels = _labels(run)
    if KUEUE_QUEUE_LABEL not in labels:
        return {}
    found = {name: labels[name] for name in _CARRIED if name in labels}
    for name, value in found.items():
        if not isinstance(value, str) or len(value) > MAX_LABEL_VALUE or not OBJECT_NAME.fullmatch(value):
            what = "LocalQueue of the namespace" if name == KUEUE_QUEUE_LABEL else "WorkloadPriorityClass"
            raise SpecError(
                f"metadata.labels[{name}]",
                f"is {value!r}, which is no name of an object",
                f"create the run again with the name of a {what} there (a-z, 0-9, - and .), or without the label",
            )
    return found


def missing(no_kueue: str) -> str:
    """Return what a run is told that asks for Kueue where there is none."""
    return f"the label {KUEUE_QUEUE_LABEL} gives the run to Kueue, but {no_kueue}, or create the run without the label"


def gate_of(
    *, run: Mapping[str, Any], job: Mapping[str, Any] | None, workload: Mapping[str, Any] | None, no_kueue: str
) -> Gate:
    """Return what keeps a run that Kueue has not let in, in Kueue's own words where it has said any."""
    if no_kueue:
        return Gate(open=False, reason=Reason.KUEUE_NOT_FOUND, message=missing(no_kueue))
    queue = _labels(run if job is None else job).get(KUEUE_QUEUE_LABEL)
    words = _said(workload) if workload is not None else _silent(job)
    message = f"in Kueue's queue {queue}: {shorten(words, _WORDS)}"
    return Gate(open=False, reason=Reason.WAITING_FOR_KUEUE, message=message)


def _silent(job: Mapping[str, Any] | None) -> str:
    if job is None:
        return "its Job is on its way"
    name = job["metadata"]["name"]
    return f"its Job is not taken up yet; if that stays, see whether Kueue runs, and `kubectl describe job {name}`"


def _said(workload: Mapping[str, Any]) -> str:
    status = workload.get("status") or {}
    evicted = find(status, "Evicted") or {}
    if not _is_active(workload):
        hint = f"set spec.active of the Workload {workload['metadata']['name']} to start it, or cancel the run"
        return f"{evicted.get('message') or 'its Workload is not active'}; {hint}"
    reserved = find(status, "QuotaReserved") or {}
    if reserved.get("status") == "False":
        return reserved.get("message") or "it waits for quota"
    if is_true(status, "Evicted"):
        return evicted.get("message") or "it is being taken off its nodes"
    if is_true(status, "Admitted"):
        return "it is let in, its Job is about to start"
    checks = [c for c in status.get("admissionChecks") or () if c.get("state") != "Ready"]
    if reserved and checks:
        return "; ".join(f"{c.get('name')}: {c.get('message') or c.get('state')}" for c in checks)
    return reserved.get("message") or "it waits for its turn"


def stop(job: Mapping[str, Any], workload: Mapping[str, Any] | None) -> Patch | None:
    """Return what stops a run for good, or None where Kueue has been told.

    Kueue starts an admitted Job again that somebody else has suspended, so it is told by its own switch, on the
    Workload. A Job that it has no Workload of is taken away from it: else it would start when Kueue came back.
    """
    meta = job["metadata"]
    if workload is None:
        body: JsonObject = {"metadata": {"labels": {KUEUE_QUEUE_LABEL: None}}, "spec": {"suspend": True}}
        return Patch(kind=JOB, namespace=meta["namespace"], name=meta["name"], body=body)
    if not _is_active(workload) or is_true(workload.get("status") or {}, "Finished"):
        return None
    name = workload["metadata"]["name"]
    return Patch(kind=WORKLOAD, namespace=meta["namespace"], name=name, body={"spec": {"active": False}})


def may_start(workload: Mapping[str, Any] | None) -> bool:
    """Return whether Kueue could still start what it has been told to stop: it has not given its quota back yet."""
    status = (workload or {}).get("status") or {}
    return is_true(status, "QuotaReserved") and not is_true(status, "Finished")


def _is_active(workload: Mapping[str, Any]) -> bool:
    return (workload.get("spec") or {}).get("active") is not False


def _labels(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    return obj["metadata"].get("labels") or {}
