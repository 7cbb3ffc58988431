"""Why a run whose Job exists does not run yet: one reason and one sentence for whoever waits for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.domain.attachments import INPUT_CACHE
from trainyard_operator.domain.conditions import shorten
from trainyard_operator.domain.pod import IMAGE_TROUBLE, PodFacts, Trouble
from trainyard_operator.domain.run_view import RunView
from trainyard_operator.providers.base import Cluster
from trainyard_operator.providers.choice import provider_of

# The scheduler's word for what no node can mend.
_CLAIM = "persistentvolumeclaim"
# What the kubelet says of a Secret or ConfigMap, or of a key in it, that is not there.
_MISSING_KEY = re.compile(r"^(secret|configmap) \"[^\"]*\" not found|^couldn't find key ")


def why_waiting(pod: PodFacts | None, view: RunView) -> tuple[Reason, str]:
    """Return what keeps a run that was let in from running."""
    return _without_pod(view) if pod is None else _waiting(pod, view)


def _without_pod(view: RunView) -> tuple[Reason, str]:
    name = (view.job or {"metadata": {"name": ""}})["metadata"]["name"]
    # The Job's own time: when it was let in.
    since = ((view.job or {}).get("status") or {}).get("startTime") or ""
    quota = _said(view, Reason.QUOTA_EXCEEDED, since=since)
    if quota is not None:
        return (
            Reason.QUOTA_EXCEEDED,
            f"the run gets no pod: {quota}; end other pods of the namespace, or raise the quota",
        )
    meta = (view.job or {"metadata": {}})["metadata"]
    refused = _said(view, Reason.POD_FORBIDDEN, since=since, about=refused_in(meta.get("namespace", ""), ""))
    if refused is not None:
        return Reason.POD_FORBIDDEN, f"the run gets no pod: {refused}; {_mend_refusal(refused, view)}"
    return Reason.POD_PENDING, f"the Job {name} is created, its pod is on its way"


def refused_in(namespace: str, words: str) -> str:
    """Return what a cluster's status says of pods that a namespace does not admit."""
    return f"namespace {namespace} admits no such pod: {words}"


def _mend_refusal(words: str, view: RunView) -> str:
    label = "the namespace's label pod-security.kubernetes.io/enforce"
    # The cluster may have been changed since the pod was made; its volume still has the name.
    if INPUT_CACHE not in words or not isinstance(view.machines, Cluster):
        return f"have {label} changed"
    return (
        f"that is spec.inputCache.hostPath of the ComputeCluster {view.machines.name}: have {label} set to privileged, "
        "or set spec.inputCache.persistentVolumeClaim instead, or remove the cache, and create the run again"
    )


def _said(view: RunView, code: Reason, *, since: str, about: str = "") -> str | None:
    """Return the newest words of one kind on the run's cluster; what was said before `since` is about other runs."""
    errors = ((view.cluster or {}).get("status") or {}).get("errors") or ()
    found = (e["message"] for e in reversed(errors) if e["code"] == code and e["lastTime"] >= since)
    return next((message for message in found if message.startswith(about)), None)


def _waiting(pod: PodFacts, view: RunView) -> tuple[Reason, str]:
    live = view.live
    if pod.unschedulable is not None:
        return _unschedulable(pod, pod.unschedulable, view)
    if pod.trouble is not None and pod.trouble.reason in IMAGE_TROUBLE:
        return Reason.IMAGE_PULL_FAILED, _unpullable(pod, pod.trouble)
    if pod.trouble is not None:
        return Reason.CONTAINER_NOT_STARTING, _not_starting(pod.trouble)
    if pod.preparing:
        said = str(live.get("message") or "") if live else ""
        return Reason.PREPARING, shorten(said, 256) or f"source and inputs are being fetched into {pod.name}"
    if pod.node is not None and not pod.heard and scales(view):
        return _unschedulable(pod, f"its node {pod.node} is not up yet", view)
    where = f"node {pod.node}" if pod.node else "a node"
    return Reason.POD_PENDING, f"the pod {pod.name} waits for {where} to start it"


def kept_away(pod: PodFacts, *, whose: str) -> tuple[Reason, str] | None:
    """Return what keeps a pod from its start that is none of an attempt's, None where nothing does."""
    if pod.unschedulable is not None:
        return Reason.UNSCHEDULABLE, f"no node can take the pod {pod.name} {whose}: {pod.unschedulable}"
    if pod.trouble is None:
        return None
    if pod.trouble.reason in IMAGE_TROUBLE:
        return Reason.IMAGE_PULL_FAILED, _unpullable(pod, pod.trouble)
    return Reason.CONTAINER_NOT_STARTING, f"{pod.trouble.reason}: {shorten(pod.trouble.message, 512)}"


def _unpullable(pod: PodFacts, trouble: Trouble) -> str:
    # The kubelet's words alternate between attempts; a sentence that stays the same costs no writes.
    return (
        f"the image {trouble.image} cannot be pulled: check spec.environment.image, and that the node may "
        f"read it; `kubectl describe pod {pod.name}` has the registry's answer"
    )


def scales(view: RunView) -> bool:
    """Return whether nodes come and go with the runs of the cluster."""
    return isinstance(view.machines, Cluster) and provider_of(view.machines.spec).capabilities.scales


def _unschedulable(pod: PodFacts, said: str, view: RunView) -> tuple[Reason, str]:
    """Return why a pod has no node: what its cluster's provider says of it, before what the scheduler says."""
    if _CLAIM in said:
        return Reason.UNSCHEDULABLE, f"{_claimed_by(said, view)}: the pod {pod.name} waits for a volume: {said}"
    status: Mapping[str, Any] = (view.cluster or {}).get("status") or {}
    for reason in (Reason.INSUFFICIENT_CAPACITY, Reason.UNSCHEDULABLE):
        words = _said(view, reason, since=pod.created)
        if words is not None:
            return reason, f"no node for the pod {pod.name} yet: {words}"
    counts: Mapping[str, int] = status.get("nodeStateCounts") or {}
    ready = counts.get("idle", 0) + counts.get("running", 0)
    if not scales(view) and status.get("targetNodeCount", 0) <= ready:
        return Reason.UNSCHEDULABLE, f"no node can take the pod {pod.name}: {said}"
    target = max(status.get("targetNodeCount", 0), ready + 1)
    words = f"{ready} of {target} nodes are ready; one is being prepared for the run"
    return Reason.NODES_PREPARING, words


def _claimed_by(said: str, view: RunView) -> str:
    """Return the field that names the claim which the scheduler speaks of."""
    if isinstance(view.machines, Cluster):
        cache = view.machines.spec.input_cache
        if cache is not None and cache.claim is not None and f'"{cache.claim}"' in said:
            return f"spec.inputCache.persistentVolumeClaim of the ComputeCluster {view.machines.name}"
    return "spec.inputs"


def _not_starting(trouble: Trouble) -> str:
    words = shorten(trouble.message, 512)
    if _MISSING_KEY.search(words):
        return f"spec.environment.variables: {words}; the run starts when its namespace has it"
    return f"{trouble.reason}: {words}"
