"""The attempts of a run: one Job each, and a record of them that stays small however many there were.

An attempt is over when its Job is, and is written down as ended before the next one is made. So the highest number
among Jobs and status is the attempt that counts, whenever the operator was killed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from trainyard_operator.api.names import ATTEMPT_LABEL, STOPPED_ANNOTATION
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.domain.conditions import is_true, parse_timestamp, shorten, timestamp
from trainyard_operator.domain.pod import PodFacts, read_pod

JsonObject = dict[str, Any]

# The first attempt tells how it began, the last ones how it goes; those between them are only counted.
FIRST_KEPT = 1
LAST_KEPT = 4
_MESSAGE_CHARS = 160
# A pod that is still there so long after its grace period is on a node that does not answer.
STUCK_SECONDS = 30
_REASONS: Mapping[str | None, Reason] = {reason.value: reason for reason in Reason}


def attempt_of(job: Mapping[str, Any]) -> int:
    """Return the number of the attempt that a Job is for, 0 where it is for none."""
    text = (job["metadata"].get("labels") or {}).get(ATTEMPT_LABEL, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def newest_job(jobs: Iterable[JsonObject]) -> JsonObject | None:
    """Return the Job of the latest attempt among a run's Jobs."""
    return max((job for job in jobs if attempt_of(job)), key=attempt_of, default=None)


def attempt_in(status: Mapping[str, Any]) -> int:
    """Return the number of the latest attempt that a status knows of, 0 before the first."""
    return int(status.get("attempt") or 0)


def latest_attempt(status: Mapping[str, Any], job: Mapping[str, Any] | None) -> int:
    """Return the number of the latest attempt that there is any trace of, 0 before the first."""
    return max(attempt_in(status), attempt_of(job) if job is not None else 0)


def has_ended(status: Mapping[str, Any], attempt: int) -> bool:
    """Return whether a status says that an attempt is over."""
    if attempt < attempt_in(status):
        return True
    return "endTime" in (entry_of(status, attempt) or {})


def entry_of(status: Mapping[str, Any], attempt: int) -> Mapping[str, Any] | None:
    """Return what a status has written down of an attempt."""
    return next((e for e in status.get("attempts") or () if e.get("number") == attempt), None)


def wants_rest(run: Mapping[str, Any]) -> bool:
    """Return whether a run's spec says that it must not be let in; never raises."""
    spec = run.get("spec")
    return isinstance(spec, Mapping) and bool(spec.get("cancel") or spec.get("suspend"))


def has_finished(job: Mapping[str, Any]) -> bool:
    """Return whether the Job controller has said its last word on `job`."""
    status = job.get("status") or {}
    return is_true(status, "Complete") or is_true(status, "Failed")


def stopped_for(job: Mapping[str, Any]) -> Reason | None:
    """Return why the operator has stopped a Job for good, None where it has not."""
    text = (job["metadata"].get("annotations") or {}).get(STOPPED_ANNOTATION)
    return _REASONS.get(text)


def is_over(job: Mapping[str, Any], pods: Iterable[Mapping[str, Any]], *, now: datetime) -> bool:
    """Return whether nothing more will come of a Job: it has finished, or was stopped and its pod is gone."""
    if has_finished(job):
        return True
    if stopped_for(job) is None or not (job.get("spec") or {}).get("suspend"):
        return False
    return not any(_is_alive(read_pod(pod), now=now) for pod in pods)


def is_stuck(pod: PodFacts, *, now: datetime) -> bool:
    """Return whether a pod's node does not carry out its deletion."""
    return pod.deletion is not None and now >= stuck_at(pod.deletion)


def stuck_at(deletion: str) -> datetime:
    """Return from when on a pod that is deleted counts as lost; `deletion` is the end of its grace period."""
    return parse_timestamp(deletion) + timedelta(seconds=STUCK_SECONDS)


def _is_alive(pod: PodFacts, *, now: datetime) -> bool:
    return pod.phase not in {"Succeeded", "Failed"} and not is_stuck(pod, now=now)


def noted(status: Mapping[str, Any], *, attempt: int, job_name: str, pod: PodFacts | None) -> list[JsonObject]:
    """Return the list of attempts with what is known of the one that goes on."""
    if has_ended(status, attempt):
        return [dict(entry) for entry in status.get("attempts") or ()]
    seen = {
        "podName": pod.name if pod else None,
        "nodeName": pod.node if pod else None,
        "startTime": pod.started if pod else None,
    }
    entry = {"number": attempt, "jobName": job_name, **(entry_of(status, attempt) or {})}
    entry |= {name: value for name, value in seen.items() if value is not None}
    others = [dict(e) for e in status.get("attempts") or () if e.get("number") != attempt]
    return _bounded([*others, entry])


def ended(  # noqa: PLR0913 - all but the first by name
    attempts: Iterable[JsonObject],
    *,
    attempt: int,
    reason: Reason,
    message: str,
    exit_code: int | None,
    now: datetime,
) -> list[JsonObject]:
    """Return the list of attempts with the end of one of them."""
    end: JsonObject = {"endTime": timestamp(now), "reason": reason.value, "message": shorten(message, _MESSAGE_CHARS)}
    if exit_code is not None:
        end["exitCode"] = exit_code
    return [{**entry, **end} if entry.get("number") == attempt else entry for entry in attempts]


def _bounded(attempts: list[JsonObject]) -> list[JsonObject]:
    if len(attempts) <= FIRST_KEPT + LAST_KEPT:
        return attempts
    return attempts[:FIRST_KEPT] + attempts[-LAST_KEPT:]
