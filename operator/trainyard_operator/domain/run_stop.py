"""Stopping an attempt: its Job is suspended, which ends its pod in good order, and stays as part of the record.

The pod gets the signal and the time that every pod gets; the runner saves what the script has left until then. The
patch that suspends a Job for good also writes down why, so that it is told apart from a Job that waits in a queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from trainyard_operator.api.names import JOB, STOPPED_ANNOTATION
from trainyard_operator.api.reasons import Phase
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain import kueue
from trainyard_operator.domain.attempts import ended, has_finished, is_over, stopped_for, stuck_at
from trainyard_operator.domain.conditions import find
from trainyard_operator.domain.deadlines import overdue
from trainyard_operator.domain.kueue import is_kueues_job
from trainyard_operator.domain.plan import Patch, Plan
from trainyard_operator.domain.pod import PodFacts, newest
from trainyard_operator.domain.run_facts import is_saving, known, written
from trainyard_operator.domain.run_status import Standing
from trainyard_operator.domain.run_view import RunView
from trainyard_operator.domain.run_waiting import why_waiting
from trainyard_operator.providers.base import Cluster

JsonObject = dict[str, Any]

_UNTIL_GONE = {Reason.CANCELED: Reason.CANCELING, Reason.SUSPENDED: Reason.SUSPENDING}
# What keeps a script from starting is the reason of the run's end where it is more than slowness.
_NEVER_STARTED = frozenset({Reason.IMAGE_PULL_FAILED, Reason.UNSCHEDULABLE})
_STOPPING = "the run is being stopped, and may save what it has"
SUSPEND_WORDS = "spec.suspend is set"


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Why an attempt has to stop."""

    reason: Reason
    message: str


def why_canceled(spec: TrainingJobSpec, view: RunView) -> str:
    """Return who wants the run to stop, in words, or the empty string."""
    if spec.cancel:
        return "spec.cancel was set"
    going = bool((view.cluster or {}).get("metadata", {}).get("deletionTimestamp"))
    if going and isinstance(view.machines, Cluster) and view.machines.spec.cancel_runs:
        return f"the ComputeCluster {view.machines.name} is deleted, and its spec.cancelRunsOnDelete was set"
    return ""


def why_stopped(
    parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView, pod: PodFacts | None, now: datetime
) -> Stop | None:
    """Return why the attempt of `view` has to stop, or is being stopped; None where it may go on."""
    job = view.job or {"metadata": {}}
    canceled, begun = why_canceled(spec, view), stopped_for(job)
    if canceled:
        return Stop(reason=Reason.CANCELED, message=canceled)
    if begun is not None:
        return Stop(reason=begun, message=stop_words(parent, begun, spec, view, pod))
    if spec.suspend:
        return Stop(reason=Reason.SUSPENDED, message=SUSPEND_WORDS)
    if (job.get("spec") or {}).get("suspend"):
        return None  # it waits in a queue, where no time is counted
    late = overdue(spec, job, pod, saving=is_saving(view), now=now)
    if late == Reason.START_TIMEOUT and pod is not None:
        cause = why_waiting(pod, view)[0]
        late = cause if cause in _NEVER_STARTED else late
    return Stop(reason=late, message=stop_words(parent, late, spec, view, pod)) if late else None


def stop(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView, now: datetime, why: Stop) -> Plan:
    """Return the next step of an attempt that has to stop: its Job is suspended and its pod awaited."""
    job, pod = view.job or {}, newest(view.pods)
    standing = known(parent, spec, view, pod)
    suspended = bool((job.get("spec") or {}).get("suspend"))
    if suspended and stopped_for(job) is None and not view.pods and not is_kueues_job(job):
        # It only waits in a queue: for a run that rests the Job is as good for later as it is now.
        rest = at_rest(standing, why)
        if rest.phase == Phase.CANCELED:
            rest = closed(rest, None, now)
        return written(parent, view, now, rest)
    stopping = replace(
        standing,
        phase=Phase.FINALIZING,
        reason=_UNTIL_GONE.get(why.reason, why.reason),
        message=f"{why.message}: {_STOPPING}" if why.reason in _UNTIL_GONE else why.message,
    )
    plan = written(parent, view, now, stopping, look_again=_until_stuck(pod, now))
    return replace(plan, patch=halt(view, why.reason))


def halt(view: RunView, reason: Reason) -> tuple[Patch, ...]:
    """Return what stops the Job of `view` for good and notes why; nothing where that is done.

    A Job that Kueue has let in is suspended by Kueue, which is told by its Workload.
    """
    job = view.job
    if job is None:
        return ()
    meta, noted = job["metadata"], stopped_for(job) is not None
    note: JsonObject = {} if noted else {"metadata": {"annotations": {STOPPED_ANNOTATION: reason.value}}}
    if is_kueues_job(job):
        telling = kueue.stop(job, view.workload)
        if telling is not None and telling.kind == JOB:
            metadata = {**telling.body["metadata"], **note.get("metadata", {})}
            return (replace(telling, body={**telling.body, "metadata": metadata}),)
        told = (telling,) if telling is not None else ()
        return told if noted else (_patch(meta, note), *told)
    suspended = bool((job.get("spec") or {}).get("suspend"))
    return () if noted and suspended else (_patch(meta, {**note, "spec": {"suspend": True}}),)


def keep_stopped(view: RunView) -> Plan:
    """Return what a Job that was stopped for good still takes: Kueue may have made it a new Workload to start."""
    job = view.job
    if job is None or view.workload is None or stopped_for(job) is None or not is_kueues_job(job):
        return Plan()
    telling = kueue.stop(job, view.workload)
    return Plan() if telling is None else Plan(patch=(telling,))


def is_at_rest(view: RunView, now: datetime) -> bool:
    """Return whether nothing more comes of the Job of `view`, and nobody can start it again."""
    job = view.job
    if job is None or not is_over(job, view.pods, now=now):
        return job is None
    return has_finished(job) or not is_kueues_job(job) or not kueue.may_start(view.workload)


def _patch(meta: Mapping[str, Any], body: JsonObject) -> Patch:
    return Patch(kind=JOB, namespace=meta["namespace"], name=meta["name"], body=body)


def at_rest(standing: Standing, why: Stop) -> Standing:
    """Return the standing of a run that was stopped and has no pod any more."""
    if why.reason == Reason.SUSPENDED:
        words = f"{why.message}: the run goes on when it is taken back"
        return replace(standing, phase=Phase.PENDING, reason=Reason.SUSPENDED, message=words, suspended=True)
    files = (standing.outputs or {}).get("files")
    kept = f"; {files} output file(s) are kept" if files else ""
    return replace(standing, phase=Phase.CANCELED, reason=Reason.CANCELED, message=f"{why.message}{kept}")


def closed(standing: Standing, pod: PodFacts | None, now: datetime) -> Standing:
    """Return `standing` with the end of its attempt, which nobody counts, written down."""
    attempts = ended(
        standing.attempts,
        attempt=standing.attempt or 0,
        reason=standing.reason,
        message=standing.message,
        exit_code=pod.ending.exit_code if pod is not None and pod.ending is not None else None,
        now=now,
    )
    return replace(standing, attempts=attempts)


def stop_words(
    parent: Mapping[str, Any], reason: Reason, spec: TrainingJobSpec, view: RunView, pod: PodFacts | None
) -> str:
    """Return why an attempt was stopped; what was said first counts, since the pod that knew more may be gone."""
    ready = find(parent.get("status") or {}, "Ready") or {}
    said = str(ready.get("message", "")) if ready.get("reason") == reason.value else ""
    if reason == Reason.START_TIMEOUT or reason in _NEVER_STARTED:
        late = f"the script had not started in the {spec.start_timeout} s of spec.startTimeoutSeconds"
        cause = said or (why_waiting(pod, view)[1] if pod is not None else "")
        return cause if cause.startswith(late) else f"{late}: {cause}".removesuffix(": ")
    if said:
        return said
    if reason == Reason.RUN_TIMEOUT:
        return f"{spec.entry_script} ran longer than the {spec.run_timeout} s of spec.runTimeoutSeconds"
    if reason == Reason.NODE_LOST:
        where = f"{pod.name} on node {pod.node}" if pod is not None else "of the run"
        return f"the pod {where} was to end, and its node does not answer"
    return SUSPEND_WORDS if reason == Reason.SUSPENDED else "the run was canceled"


def _until_stuck(pod: PodFacts | None, now: datetime) -> float | None:
    if pod is None or pod.deletion is None:
        return None
    return max(0.1, (stuck_at(pod.deletion) - now).total_seconds())
