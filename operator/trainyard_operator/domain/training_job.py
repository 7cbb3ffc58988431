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
from trainyard_operator.api.reasons import Phase
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.admission import Gate, capacity_of, demand_of, serves
from trainyard_operator.domain.conditions import is_true, shorten
from trainyard_operator.domain.job import Berth, build_job
from trainyard_operator.domain.kueue import carried_labels, is_kueues
from trainyard_operator.domain.kueue import gate_of as kueue_gate
from trainyard_operator.domain.kueue import missing as missing_kueue
from trainyard_operator.domain.plan import Plan
from trainyard_operator.domain.pod import IMAGE_TROUBLE, PodFacts, newest
from trainyard_operator.domain.run_cancel import cancel, keep_stopped, why_canceled
from trainyard_operator.domain.run_ending import Failure, deciding_pod, failure_of, has_finished
from trainyard_operator.domain.run_facts import gatekeeper, known, written
from trainyard_operator.domain.run_models import Registration, has_grown, registration
from trainyard_operator.domain.run_status import Standing, is_complete
from trainyard_operator.domain.run_view import RunView, SavedRun, StoreTrouble
from trainyard_operator.providers.base import Cluster
from trainyard_operator.providers.choice import provider_of

LOOK_AGAIN_SECONDS = 10.0  # for things that no watch tells about: a ConfigMap, the object store

JsonObject = dict[str, Any]


def plan_training_job(parent: Mapping[str, Any], view: RunView, now: datetime) -> Plan:
    """Return the next step of a run. The plan of a run that has ended is empty unless `spec.models` has grown."""
    old: Mapping[str, Any] = parent.get("status") or {}
    phase = old.get("phase")
    if phase in {Phase.FAILED, Phase.CANCELED} or (is_complete(old) and not has_grown(parent)):
        return keep_stopped(view) if phase == Phase.CANCELED else Plan()
    try:
        spec = TrainingJobSpec.parse(parent["spec"])
    except SpecError as error:
        return written(parent, view, now, _failed(parent, Failure(reason=Reason.INVALID_SPEC, message=str(error))))
    if is_complete(old):
        return _register_later(parent, spec, view, now)
    if view.job is not None and has_finished(view.job):
        return _end(parent, spec, view, now)
    canceled = why_canceled(spec, view)
    if canceled:
        return cancel(parent, spec, view, now, canceled)
    if is_kueues(parent, view.job):
        gate = kueue_gate(run=parent, job=view.job, workload=view.workload, no_kueue=view.no_kueue)
        view = replace(view, gate=gate)
    return _go_on(parent, spec, view, now)


def _go_on(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView, now: datetime) -> Plan:
    old: Mapping[str, Any] = parent.get("status") or {}
    if view.job is not None:
        return written(parent, view, now, _watch(parent, spec, view))
    if "jobName" in old:
        message = f"the Job {old['jobName']} was deleted before the run had ended: create the TrainingJob again"
        return written(parent, view, now, _failed(parent, Failure(reason=Reason.JOB_DELETED, message=message)))
    return _begin(parent, spec, view, now)


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
    job = build_job(parent=parent, spec=spec, berth=_berth(spec, view), settings=view.settings, handed=handed)
    name = job["metadata"]["name"]
    standing = Standing(
        phase=Phase.PROVISIONING,
        reason=Reason.POD_PENDING,
        message=f"the Job {name} is created, its pod is on its way",
        job_name=name,
        logs_uri=view.places.logs_uri,
        models_wished=bool(spec.models),
        gatekeeper=gatekeeper(parent, spec, view),
    )
    if view.gate is not None and not view.gate.open:
        standing = _queued(standing, view.gate)
    return replace(written(parent, view, now, standing), create=(job,))


def _berth(spec: TrainingJobSpec, view: RunView) -> Berth | None:
    if not isinstance(view.machines, Cluster):
        return None
    demand = demand_of(spec.requests, spec.limits, view.settings.default_requests)
    return Berth(
        placement=provider_of(view.machines.spec).placement(view.machines),
        slots=capacity_of(view.machines).slots_of(demand) or 1,
        open=view.gate is None or view.gate.open,
    )


def _queued(standing: Standing, gate: Gate) -> Standing:
    return replace(standing, phase=Phase.QUEUED, reason=gate.reason, message=gate.message, gate=gate)


def _missing(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView) -> Standing | Failure | None:
    return _missing_cluster(parent, spec, view) or _missing_kueue(parent, view) or _missing_source(parent, spec, view)


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


def _missing_source(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView) -> Standing | Failure | None:
    if view.source is None:
        return None
    if view.source.files is None:
        words = (
            f"spec.source.configMapRef.name: there is no ConfigMap {spec.config_map_name} in namespace "
            f"{parent['metadata']['namespace']}; the run starts when there is one"
        )
        return Standing(phase=Phase.PENDING, reason=Reason.SOURCE_NOT_FOUND, message=words)
    if spec.entry_script not in view.source.files:
        listed = ", ".join(sorted(view.source.files)[:20]) or "nothing"
        words = (
            f"spec.entryScript: {spec.entry_script} is not in the ConfigMap {spec.config_map_name}, "
            f"which holds {listed}"
        )
        return Failure(reason=Reason.SOURCE_INVALID, message=words)
    return None


def _watch(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView) -> Standing:
    """Return where a run stands whose Job has not finished."""
    pod = newest(view.pods)
    base = known(parent, spec, view, pod)
    if (view.job or {}).get("spec", {}).get("suspend"):
        return _queued(base, view.gate or _unknown_cluster(spec))
    if pod is None:
        reason, words = _without_pod(base, view)
        return replace(base, phase=Phase.PROVISIONING, reason=reason, message=words)
    if pod.ending is not None:
        return replace(base, phase=Phase.FINALIZING, reason=Reason.SAVING_OUTPUTS, message="the pod has ended")
    if pod.running:
        if view.live is not None and view.live.get("state") == "Finalizing":
            words = "the script has ended, its outputs are being saved"
            return replace(base, phase=Phase.FINALIZING, reason=Reason.SAVING_OUTPUTS, message=words)
        words = f"{spec.entry_script} runs in pod {pod.name}"
        return replace(base, phase=Phase.RUNNING, reason=Reason.RUNNING, message=words)
    reason, words = _waiting(pod, view)
    return replace(base, phase=Phase.PROVISIONING, reason=reason, message=words)


def _without_pod(base: Standing, view: RunView) -> tuple[Reason, str]:
    # The Job's own time: when it was let in.
    since = ((view.job or {}).get("status") or {}).get("startTime") or ""
    quota = _said(view, Reason.QUOTA_EXCEEDED, since=since)
    if quota is not None:
        return (
            Reason.QUOTA_EXCEEDED,
            f"the run gets no pod: {quota}; end other pods of the namespace, or raise the quota",
        )
    return Reason.POD_PENDING, f"the Job {base.job_name} is created, its pod is on its way"


def _said(view: RunView, code: Reason, *, since: str) -> str | None:
    """Return the newest words of one kind on the run's cluster; what was said before `since` is about other runs."""
    errors = ((view.cluster or {}).get("status") or {}).get("errors") or ()
    return next((e["message"] for e in reversed(errors) if e["code"] == code and e["lastTime"] >= since), None)


def _unknown_cluster(spec: TrainingJobSpec) -> Gate:
    words = f"the run waits: there is no ComputeCluster {spec.cluster_name} any more, or its spec cannot work"
    return Gate(open=False, reason=Reason.CLUSTER_NOT_FOUND, message=words)


def _waiting(pod: PodFacts, view: RunView) -> tuple[Reason, str]:
    live = view.live
    if pod.unschedulable is not None:
        return _unschedulable(pod, pod.unschedulable, view)
    if pod.trouble is not None and pod.trouble.reason in IMAGE_TROUBLE:
        # The kubelet's words alternate between attempts; a sentence that stays the same costs no writes.
        return Reason.IMAGE_PULL_FAILED, (
            f"the image {pod.trouble.image} cannot be pulled: check spec.environment.image, and that the node may "
            f"read it; `kubectl describe pod {pod.name}` has the registry's answer"
        )
    if pod.trouble is not None:
        return Reason.CONTAINER_NOT_STARTING, f"{pod.trouble.reason}: {shorten(pod.trouble.message, 512)}"
    if pod.preparing:
        said = str(live.get("message") or "") if live else ""
        return Reason.PREPARING, shorten(said, 256) or f"source and inputs are being fetched into {pod.name}"
    if pod.node is not None and not pod.heard and _scales(view):
        return _unschedulable(pod, f"its node {pod.node} is not up yet", view)
    where = f"node {pod.node}" if pod.node else "a node"
    return Reason.POD_PENDING, f"the pod {pod.name} waits for {where} to start it"


def _scales(view: RunView) -> bool:
    return isinstance(view.machines, Cluster) and provider_of(view.machines.spec).capabilities.scales


def _unschedulable(pod: PodFacts, said: str, view: RunView) -> tuple[Reason, str]:
    """Return why a pod has no node: what its cluster's provider says of it, before what the scheduler says."""
    status: Mapping[str, Any] = (view.cluster or {}).get("status") or {}
    for reason in (Reason.INSUFFICIENT_CAPACITY, Reason.POD_UNSCHEDULABLE):
        words = _said(view, reason, since=pod.created)
        if words is not None:
            return reason, f"no node for the pod {pod.name} yet: {words}"
    counts: Mapping[str, int] = status.get("nodeStateCounts") or {}
    ready = counts.get("idle", 0) + counts.get("running", 0)
    if not _scales(view) and status.get("targetNodeCount", 0) <= ready:
        return Reason.POD_UNSCHEDULABLE, f"no node can take the pod {pod.name}: {said}"
    target = max(status.get("targetNodeCount", 0), ready + 1)
    words = f"{ready} of {target} nodes are ready; one is being prepared for the run"
    return Reason.NODES_PREPARING, words


def _end(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView, now: datetime) -> Plan:
    """Plan a run whose Job has finished: outputs first, then models, then its last word."""
    job = view.job or {}
    pod = deciding_pod(job, view.pods)
    succeeded = is_true(job.get("status") or {}, "Complete")
    standing = known(parent, spec, view, pod)
    failure = None if succeeded else failure_of(job=job, pod=pod, spec=spec)
    if isinstance(view.saved, StoreTrouble):
        if not view.saved.final and (succeeded or _has_manifest(pod)):
            words = f"the outputs cannot be read back yet: {view.saved.message}"
            waiting = replace(standing, phase=Phase.FINALIZING, reason=Reason.SAVING_OUTPUTS, message=words)
            return written(parent, view, now, waiting, look_again=LOOK_AGAIN_SECONDS)
        failure = failure or Failure(reason=Reason.OUTPUTS_NOT_SAVED, message=view.saved.message)
    if isinstance(view.saved, SavedRun) and failure is None and _differs(view.saved, pod):
        words = "the manifest in the object store is not the one that the run wrote at its end"
        failure = Failure(reason=Reason.OUTPUTS_NOT_SAVED, message=words)
    if view.saved is None and failure is None:
        words = "the script succeeded, but there is no manifest of its outputs in the object store"
        failure = Failure(reason=Reason.OUTPUTS_NOT_SAVED, message=words)
    if failure is not None or not isinstance(view.saved, SavedRun):
        failure = failure or Failure(reason=Reason.RUN_FAILED, message="the run ended without a word")
        return written(parent, view, now, _ended_badly(standing, failure))
    models = registration(parent=parent, spec=spec, view=view, saved=view.saved, image_digest=standing.image_digest)
    return _finalize(parent, view, now, standing, models)


def _finalize(
    parent: Mapping[str, Any], view: RunView, now: datetime, standing: Standing, models: Registration
) -> Plan:
    standing = replace(standing, models=models.entries)
    if models.waiting_for:
        words = f"registering {', '.join(models.waiting_for)}"
        standing = replace(standing, phase=Phase.FINALIZING, reason=Reason.REGISTERING_MODEL, message=words)
    elif models.failure is not None:
        standing = _ended_badly(standing, models.failure)
    else:
        words = _success(standing, models)
        standing = replace(standing, phase=Phase.COMPLETED, reason=Reason.COMPLETED, message=words)
    return replace(written(parent, view, now, standing), create=models.create, register=models.register)


def _register_later(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView, now: datetime) -> Plan:
    """Plan the models that were added to a run after it had completed; whatever comes of them, it stays completed."""
    old: Mapping[str, Any] = parent["status"]
    standing = Standing(
        phase=Phase.COMPLETED,
        reason=Reason.COMPLETED,
        message=next(c["message"] for c in old["conditions"] if c["type"] == "Complete"),
        models=old.get("models") or (),
        models_wished=True,
    )
    if not isinstance(view.saved, SavedRun):
        words = view.saved.message if view.saved else "the run's manifest is gone from the object store"
        trouble = Failure(reason=Reason.MODEL_NOT_REGISTERED, message=words)
        again = LOOK_AGAIN_SECONDS if isinstance(view.saved, StoreTrouble) and not view.saved.final else None
        return written(parent, view, now, replace(standing, unregistered=trouble), look_again=again)
    digest = (old.get("environment") or {}).get("imageDigest")
    models = registration(parent=parent, spec=spec, view=view, saved=view.saved, image_digest=digest)
    missing = models.failure
    if models.waiting_for and missing is None:
        words = f"registering {', '.join(models.waiting_for)}"
        missing = Failure(reason=Reason.REGISTERING_MODEL, message=words)
    plan = written(parent, view, now, replace(standing, models=models.entries, unregistered=missing))
    return replace(plan, create=models.create, register=models.register)


def _has_manifest(pod: PodFacts | None) -> bool:
    return pod is not None and pod.ending is not None and pod.ending.manifest_sha256 is not None


def _differs(saved: SavedRun, pod: PodFacts | None) -> bool:
    written = pod.ending.manifest_sha256 if pod is not None and pod.ending is not None else None
    return written is not None and written != saved.sha256


def _ended_badly(standing: Standing, failure: Failure) -> Standing:
    return replace(standing, phase=Phase.FAILED, reason=failure.reason, message=failure.message, failure=failure)


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


def _success(standing: Standing, models: Registration) -> str:
    outputs = standing.outputs or {}
    files = outputs.get("files", 0)
    words = [f"saved {files} output file{'s' * (files != 1)}"]
    if standing.metric_summary:
        words.insert(0, standing.metric_summary)
    if models.entries:
        words.append(f"registered {', '.join(str(entry['id']) for entry in models.entries)}")
    return ", ".join(words)
