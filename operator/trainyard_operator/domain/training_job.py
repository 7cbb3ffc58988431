"""Planning a TrainingJob: from its spec and surroundings to the next step, with no I/O and no clock.

A run goes one way: look for what it needs, make its Job, watch its pod, read what it saved, register its models. Each
call works the whole way out anew from what it is shown, so that an operator that was killed anywhere continues.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.reasons import EnvironmentState, Phase
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.admission import Gate, capacity_of, demand_of, serves
from trainyard_operator.domain.attempts import (
    attempt_in,
    attempt_of,
    entry_of,
    has_ended,
    latest_attempt,
    noted,
)
from trainyard_operator.domain.deadlines import next_deadline
from trainyard_operator.domain.environment import Kept, Preparation
from trainyard_operator.domain.job import Berth, build_job
from trainyard_operator.domain.kueue import carried_labels, is_kueues
from trainyard_operator.domain.kueue import gate_of as kueue_gate
from trainyard_operator.domain.kueue import missing as missing_kueue
from trainyard_operator.domain.plan import Plan
from trainyard_operator.domain.pod import newest
from trainyard_operator.domain.rerun import Repeated, whole
from trainyard_operator.domain.retries import DISRUPTIONS, Tally, next_attempt_at
from trainyard_operator.domain.run_conclusion import LOOK_AGAIN_SECONDS, conclude, retrying
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.domain.run_environment import prepare_environment, told
from trainyard_operator.domain.run_facts import gatekeeper, is_saving, known, written
from trainyard_operator.domain.run_models import has_grown, refusal, registration
from trainyard_operator.domain.run_removal import expire, guard, remove
from trainyard_operator.domain.run_source import missing_source
from trainyard_operator.domain.run_status import Standing, is_complete
from trainyard_operator.domain.run_stop import (
    SUSPEND_WORDS,
    Stop,
    at_rest,
    is_at_rest,
    keep_stopped,
    stop,
    why_canceled,
    why_stopped,
)
from trainyard_operator.domain.run_view import RunView, SavedRun, StoreTrouble
from trainyard_operator.domain.run_waiting import scales, why_waiting
from trainyard_operator.domain.source_reading import stop_reading
from trainyard_operator.providers.base import Cluster
from trainyard_operator.providers.choice import provider_of

JsonObject = dict[str, Any]


def plan_training_job(parent: Mapping[str, Any], view: RunView, now: datetime) -> Plan:
    """Return the next step of a run, or of its object once the run has ended."""
    if parent["metadata"].get("deletionTimestamp"):
        return remove(parent, view, now)
    return guard(parent, expire(parent, _plan(parent, view, now), now))


def _plan(parent: Mapping[str, Any], view: RunView, now: datetime) -> Plan:
    """Return the next step of a run. The plan of a run that has ended is empty unless `spec.models` has grown."""
    old: Mapping[str, Any] = parent.get("status") or {}
    phase = old.get("phase")
    if phase in {Phase.FAILED, Phase.CANCELED} or (is_complete(old) and not has_grown(parent)):
        return keep_stopped(view)
    parent = whole(parent, view.repeated)
    try:
        spec = TrainingJobSpec.parse(parent["spec"])
    except SpecError as error:
        return written(parent, view, now, _failed(parent, Failure(reason=Reason.INVALID_SPEC, message=str(error))))
    return _register_later(parent, spec, view, now) if is_complete(old) else _attempt(parent, spec, view, now)


def _attempt(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView, now: datetime) -> Plan:
    old: Mapping[str, Any] = parent.get("status") or {}
    if view.job is None or has_ended(old, attempt_of(view.job)):
        return _between(parent, spec, view, now)
    if is_at_rest(view, now):
        return conclude(parent, spec, view, now)
    pod = newest(view.pods)
    why = why_stopped(parent, spec, view, pod, now)
    return stop(parent, spec, view, now, why) if why else _go_on(parent, spec, _at_kueues_gate(parent, view), now)


def _at_kueues_gate(parent: Mapping[str, Any], view: RunView, *, fresh: bool = False) -> RunView:
    """Return the view of a run with what Kueue says to it, if it does; `fresh`: of the Job that is to be made."""
    job, workload = (None, None) if fresh else (view.job, view.workload)
    if not is_kueues(parent, job):
        return view
    return replace(view, gate=kueue_gate(run=parent, job=job, workload=workload, no_kueue=view.no_kueue))


def _go_on(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView, now: datetime) -> Plan:
    job = view.job or {}
    queued = bool((job.get("spec") or {}).get("suspend"))
    saving = is_saving(view)
    look_again = None if queued else next_deadline(spec, job, newest(view.pods), saving=saving, now=now)
    return written(parent, view, now, _watch(parent, spec, view), look_again=look_again)


def _between(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView, now: datetime) -> Plan:
    """Plan a run none of whose attempts is under way: before the first one, or after one that is not the last."""
    old: Mapping[str, Any] = parent.get("status") or {}
    kept = keep_stopped(view)
    if kept.patch:
        return kept
    canceled = why_canceled(spec, view)
    if canceled:
        standing = at_rest(_unchanged(parent, spec, view), Stop(reason=Reason.CANCELED, message=canceled))
        return replace(written(parent, view, now, standing), delete=stop_reading(view))
    attempt = attempt_in(old)
    if attempt and not has_ended(old, attempt):
        message = f"the Job {old.get('jobName')} was deleted before the run had ended: create the TrainingJob again"
        return written(parent, view, now, _failed(parent, Failure(reason=Reason.JOB_DELETED, message=message)))
    if spec.suspend:
        standing = at_rest(_unchanged(parent, spec, view), Stop(reason=Reason.SUSPENDED, message=SUSPEND_WORDS))
        return written(parent, view, now, standing)
    entry = entry_of(old, attempt) or {}
    due = next_attempt_at(entry, Tally.of(old))
    if due is not None and due > now:
        standing = retrying(_unchanged(parent, spec, view), entry, due)
        return written(parent, view, now, standing, look_again=(due - now).total_seconds())
    return _begin(parent, spec, _at_kueues_gate(parent, view, fresh=True), now)


def _begin(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView, now: datetime) -> Plan:
    try:
        handed = carried_labels(parent)
    except SpecError as error:
        return written(parent, view, now, _failed(parent, Failure(reason=Reason.INVALID_SPEC, message=str(error))))
    missing = _missing(parent, spec, view)
    if isinstance(missing, Failure):
        return written(parent, view, now, _failed(parent, missing))
    if missing is not None:
        return written(
            parent, view, now, replace(missing, models_wished=bool(spec.models)), look_again=LOOK_AGAIN_SECONDS
        )
    repeated = view.repeated if isinstance(view.repeated, Repeated) else None
    attempt = latest_attempt(parent.get("status") or {}, view.job) + 1
    waiting = prepare_environment(parent, spec, view, now) if attempt == 1 else None
    if isinstance(waiting, Failure):
        failed = replace(_failed(parent, waiting), environment=told(view, EnvironmentState.FAILED))
        return written(parent, view, now, failed)
    if waiting is not None:
        return waiting
    job = build_job(
        parent=parent,
        spec=spec,
        attempt=attempt,
        berth=_berth(spec, view),
        settings=view.settings,
        handed=handed,
        shunned=_lost_nodes(parent, view),
        repeated=repeated,
        environment=_packed(parent, view, attempt),
    )
    name = job["metadata"]["name"]
    standing = Standing(
        phase=Phase.PROVISIONING,
        reason=Reason.POD_PENDING,
        message=f"the Job {name} is created, its pod is on its way",
        attempt=attempt,
        attempts=noted(parent.get("status") or {}, attempt=attempt, job_name=name, pod=None),
        job_name=name,
        environment=told(view, EnvironmentState.READY),
        logs_uri=view.places.logs_uri(attempt),
        models_wished=bool(spec.models),
        gatekeeper=gatekeeper(parent, spec, view),
    )
    if view.gate is not None and not view.gate.open:
        standing = _queued(standing, view.gate)
    return replace(written(parent, view, now, standing), create=(job,))


def _lost_nodes(parent: Mapping[str, Any], view: RunView) -> list[str]:
    """Return the nodes that earlier attempts have lost; where a provider makes nodes, the next one is a new one."""
    if scales(view):
        return []
    attempts = (parent.get("status") or {}).get("attempts") or ()
    lost = {r.value for r in DISRUPTIONS}
    return [entry["nodeName"] for entry in attempts if entry.get("reason") in lost and "nodeName" in entry]


def _unchanged(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView) -> Standing:
    """Return the standing of a run about whose attempts there is nothing new."""
    return Standing(
        phase=Phase.PENDING,
        reason=Reason.POD_PENDING,
        message="",
        job_name=(parent.get("status") or {}).get("jobName"),
        models_wished=bool(spec.models),
        gatekeeper=gatekeeper(parent, spec, view),
    )


def _packed(parent: Mapping[str, Any], view: RunView, attempt: int) -> str | None:
    """Return the hash of the environment whose packages the pod has to get; None where its image has all of them.

    Later attempts get what the first one got, whatever the requirements or the index have become.
    """
    if attempt > 1:
        known: Mapping[str, Any] = (parent.get("status") or {}).get("environment") or {}
        return known.get("hash") if "logUri" in known else None
    there = view.preparation
    if not isinstance(there, Preparation | Kept) or there.record is None or there.record.pack is None:
        return None
    return there.record.hash


def _berth(spec: TrainingJobSpec, view: RunView) -> Berth | None:
    if not isinstance(view.machines, Cluster):
        return None
    demand = demand_of(spec.requests, spec.limits, view.settings.default_requests)
    return Berth(
        placement=provider_of(view.machines.spec).placement(view.machines),
        slots=capacity_of(view.machines).slots_of(demand) or 1,
        open=view.gate is None or view.gate.open,
        cache=view.machines.spec.input_cache,
    )


def _queued(standing: Standing, gate: Gate) -> Standing:
    return replace(standing, phase=Phase.QUEUED, reason=gate.reason, message=gate.message, gate=gate)


def _missing(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView) -> Standing | Failure | None:
    return _missing_cluster(parent, spec, view) or _missing_kueue(parent, view) or missing_source(parent, spec, view)


def _missing_kueue(parent: Mapping[str, Any], view: RunView) -> Standing | None:
    if not view.no_kueue or not is_kueues(parent, None):
        return None
    # A Job made now could neither be told about nor, once Kueue has started it, be stopped for good.
    return Standing(phase=Phase.PENDING, reason=Reason.KUEUE_NOT_FOUND, message=missing_kueue(view.no_kueue))


def _missing_cluster(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView) -> Standing | None:
    name, own = spec.cluster_name, parent["metadata"]["namespace"]
    if name is None:
        return None
    namespace = spec.cluster_namespace or own
    if view.cluster is None:
        words = (
            f"spec.computeClusterRef.name: there is no ComputeCluster {name} in namespace {namespace}; "
            "the run starts when there is one"
        )
        return Standing(phase=Phase.PENDING, reason=Reason.CLUSTER_NOT_FOUND, message=words)
    if isinstance(view.machines, str):
        words = f"the ComputeCluster {name} is not ready: {view.machines}"
        return Standing(phase=Phase.PENDING, reason=Reason.CLUSTER_NOT_READY, message=words)
    if not serves(view.machines, own):
        words = (
            f"spec.computeClusterRef.namespace: the ComputeCluster {name} in namespace {namespace} is not shared with "
            f"namespace {own}: have it added to the cluster's spec.sharedWith"
        )
        return Standing(phase=Phase.PENDING, reason=Reason.CLUSTER_NOT_FOUND, message=words)
    return None


def _watch(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView) -> Standing:
    """Return where a run stands whose Job has not finished."""
    pod = newest(view.pods)
    base = known(parent, spec, view, pod)
    # A cluster that has nothing to say any more has let the run in: what it wrote to the Job is not seen here yet.
    let_in = view.gate is None and isinstance(view.machines, Cluster)
    if (view.job or {}).get("spec", {}).get("suspend") and not let_in:
        return _queued(base, view.gate or _unknown_cluster(spec))
    if pod is not None and pod.ending is not None:
        return replace(base, phase=Phase.FINALIZING, reason=Reason.SAVING_OUTPUTS, message="the pod has ended")
    if pod is not None and pod.running:
        if is_saving(view):
            words = "the script has ended, its outputs are being saved"
            return replace(base, phase=Phase.FINALIZING, reason=Reason.SAVING_OUTPUTS, message=words)
        words = f"{spec.entry_script} runs in pod {pod.name}"
        return replace(base, phase=Phase.RUNNING, reason=Reason.RUNNING, message=words)
    reason, words = why_waiting(pod, view)
    return replace(base, phase=Phase.PROVISIONING, reason=reason, message=words)


def _unknown_cluster(spec: TrainingJobSpec) -> Gate:
    words = f"the run waits: there is no ComputeCluster {spec.cluster_name} any more, or its spec cannot work"
    return Gate(open=False, reason=Reason.CLUSTER_NOT_FOUND, message=words)


def _register_later(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView, now: datetime) -> Plan:
    """Plan the models that were added to a run after it had completed; whatever comes of them, it stays completed."""
    old: Mapping[str, Any] = parent["status"]
    standing = Standing(
        phase=Phase.COMPLETED,
        reason=Reason.COMPLETED,
        message=next(c["message"] for c in old["conditions"] if c["type"] == "Complete"),
        models=old.get("models") or (),
        held=old.get("heldModels") or (),
        models_wished=True,
    )
    if not isinstance(view.saved, SavedRun):
        words = view.saved.message if view.saved else "the run's manifest is gone from the object store"
        trouble = Failure(reason=Reason.MODEL_NOT_REGISTERED, message=words)
        again = LOOK_AGAIN_SECONDS if isinstance(view.saved, StoreTrouble) and not view.saved.final else None
        return written(parent, view, now, replace(standing, unregistered=trouble), look_again=again)
    digest = (old.get("environment") or {}).get("imageDigest")
    models = registration(parent=parent, spec=spec, view=view, saved=view.saved, image_digest=digest)
    missing = models.failure or refusal(models.held)
    if models.waiting_for and models.failure is None:
        missing = Failure(reason=Reason.REGISTERING_MODEL, message=models.words)
    standing = replace(standing, models=models.entries, held=models.held, unregistered=missing)
    plan = written(parent, view, now, standing)
    return replace(plan, create=models.create, register=models.register)


def _failed(parent: Mapping[str, Any], failure: Failure) -> Standing:
    old: Mapping[str, Any] = parent.get("status") or {}
    return Standing(
        phase=Phase.FAILED,
        reason=failure.reason,
        message=failure.message,
        failure=failure,
        job_name=old.get("jobName"),
        models_wished=bool(parent["spec"].get("models")) if isinstance(parent["spec"], Mapping) else False,
    )
