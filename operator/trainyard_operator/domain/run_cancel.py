"""Stopping a run: its Job is suspended, which ends its pod in good order, and stays as part of the record.

The Job of a run that Kueue has let in is suspended by Kueue, which is told by its Workload.

The pod gets the signal and the time that every pod gets; the runner saves what the script has left until then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from trainyard_operator.api.names import JOB
from trainyard_operator.api.reasons import Phase
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain import kueue
from trainyard_operator.domain.kueue import is_kueues_job
from trainyard_operator.domain.plan import Patch, Plan
from trainyard_operator.domain.pod import newest
from trainyard_operator.domain.run_facts import known, written
from trainyard_operator.domain.run_status import Standing
from trainyard_operator.domain.run_view import RunView, StoreTrouble
from trainyard_operator.providers.base import Cluster

# For the object store, which no watch tells about.
LOOK_AGAIN_SECONDS = 10.0


def why_canceled(spec: TrainingJobSpec, view: RunView) -> str:
    """Return who wants the run to stop, in words, or the empty string."""
    if spec.cancel:
        return "spec.cancel was set"
    going = bool((view.cluster or {}).get("metadata", {}).get("deletionTimestamp"))
    if going and isinstance(view.machines, Cluster) and view.machines.spec.cancel_runs:
        return f"the ComputeCluster {view.machines.name} is deleted, and its spec.cancelRunsOnDelete was set"
    return ""


def cancel(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView, now: datetime, why: str) -> Plan:
    """Return the next step of a run that has to stop: its Job suspended, its pod awaited, its end told."""
    standing = known(parent, spec, view, newest(view.pods))
    suspended = view.job is None or bool((view.job.get("spec") or {}).get("suspend"))
    stopped = suspended and not view.pods
    if view.job is not None and is_kueues_job(view.job):
        telling = kueue.stop(view.job, view.workload)
        if telling is not None or kueue.may_start(view.workload) or not stopped:
            return replace(
                written(parent, view, now, _stopping(standing, why)), patch=(telling,) if telling is not None else ()
            )
    if stopped:
        if isinstance(view.saved, StoreTrouble) and not view.saved.final:
            words = f"{why}; what the run saved cannot be read yet: {view.saved.message}"
            waiting = replace(standing, phase=Phase.FINALIZING, reason=Reason.CANCELING, message=words)
            return written(parent, view, now, waiting, look_again=LOOK_AGAIN_SECONDS)
        files = (standing.outputs or {}).get("files")
        kept = f"; {files} output file(s) are kept" if files else ""
        done = replace(standing, phase=Phase.CANCELED, reason=Reason.CANCELED, message=f"{why}{kept}")
        return written(parent, view, now, done if view.job is not None else replace(done, job_name=None))
    plan = written(parent, view, now, _stopping(standing, why))
    if suspended or view.job is None:
        return plan
    meta = view.job["metadata"]
    stop = Patch(kind=JOB, namespace=meta["namespace"], name=meta["name"], body={"spec": {"suspend": True}})
    return replace(plan, patch=(stop,))


def keep_stopped(view: RunView) -> Plan:
    """Return what a canceled run still takes: nothing, but where Kueue has made its Job a new Workload to start."""
    if view.job is None or view.workload is None or not is_kueues_job(view.job):
        return Plan()
    telling = kueue.stop(view.job, view.workload)
    return Plan() if telling is None else Plan(patch=(telling,))


def _stopping(standing: Standing, why: str) -> Standing:
    words = f"{why}: the run is being stopped, and may save what it has"
    return replace(standing, phase=Phase.FINALIZING, reason=Reason.CANCELING, message=words)
