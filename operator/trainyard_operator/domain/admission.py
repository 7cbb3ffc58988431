"""The gate between a cluster's queue and its nodes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from trainyard_operator.api.names import BACK_OFF_ANNOTATION
from trainyard_operator.api.quantities import cpu_millis, memory_bytes
from trainyard_operator.api.reasons import ComputeClusterCondition, Phase
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.conditions import find, is_true, parse_timestamp, timestamp
from trainyard_operator.domain.queueing import TOLD, Capacity, Demand, Entry, Estimate, Place, Queue, may_start
from trainyard_operator.providers.base import Cluster

JsonObject = dict[str, Any]

ENDED = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELED})
# How long a run that found no node waits before it is let in again; each time twice as long.
FIRST_BACK_OFF = 30
LONGEST_BACK_OFF = 900
_MOST_DOUBLINGS = 10


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Whether a run may go to its cluster's nodes, and what keeps it from that."""

    open: bool
    reason: Reason = Reason.ADMITTED
    message: str = ""
    place: Place | None = None
    estimate: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a run stands among the others; `place` is None where too many are before it for a number to be of use."""

    entry: Entry
    queue: Queue
    waits: bool  # whether it is in the queue already
    place: Place | None = None
    estimate: Estimate | None = None


def gate_of(*, obj: Mapping[str, Any], cluster: Cluster, standing: Standing, now: datetime) -> Gate:
    """Return what `cluster`, whose object is `obj`, says to a run that is not let in yet."""
    capacity = capacity_of(cluster)
    blocked = _blocked(obj, cluster, capacity, standing.entry)
    if blocked is None and not standing.waits and may_start(standing.entry, standing.queue, capacity, now=now):
        return Gate(open=True)
    reason, message = blocked or _waiting(cluster, capacity, standing, now=now)
    return Gate(open=False, reason=reason, message=message, place=standing.place, estimate=standing.estimate)


def capacity_of(cluster: Cluster) -> Capacity:
    """Return how many runs a cluster holds."""
    spec = cluster.spec
    return Capacity(nodes=spec.max_nodes, jobs_per_node=spec.jobs_per_node, size=cluster.size)


def serves(cluster: Cluster, namespace: str) -> bool:
    """Return whether runs of a namespace may use a cluster."""
    return namespace == cluster.namespace or namespace in cluster.spec.shared_with


def is_creating(obj: Mapping[str, Any]) -> bool:
    """Return whether a cluster's provider has not taken it up yet."""
    return (obj.get("status") or {}).get("provisioningState") == "Creating"


def _is_stuck(obj: Mapping[str, Any]) -> bool:
    """Return whether the cluster has said that no node can come; before it has said anything nobody knows."""
    status = obj.get("status") or {}
    return status.get("provisioningState") == "Failed" or is_true(status, ComputeClusterCondition.STALLED.value)


def _blocked(obj: Mapping[str, Any], cluster: Cluster, capacity: Capacity, entry: Entry) -> tuple[Reason, str] | None:
    """Return what keeps every run, or this one, from the cluster, however empty it is."""
    if obj["metadata"].get("deletionTimestamp"):
        return Reason.CLUSTER_DELETING, f"the ComputeCluster {cluster.name} is being deleted and lets no run in"
    return _too_large(cluster, capacity, entry) or _closed(obj, cluster)


def _too_large(cluster: Cluster, capacity: Capacity, entry: Entry) -> tuple[Reason, str] | None:
    if capacity.slots == 0:
        words = f"the ComputeCluster {cluster.name} may have no nodes: raise its spec.scale.maxNodes"
        return Reason.EXCEEDS_CLUSTER_SIZE, words
    if cluster.size is None or capacity.slots_of(entry.demand) is not None:
        return None
    return Reason.EXCEEDS_CLUSTER_SIZE, (
        f"spec.resources.requests: the run asks for {entry.demand.cpu / 1000:g} CPU and "
        f"{entry.demand.memory / 2**30:.3g} GiB, and a {cluster.size.name} of the ComputeCluster {cluster.name} has "
        f"{cluster.size.cpu / 1000:g} CPU and {cluster.size.memory / 2**30:.3g} GiB: ask for less, or use a "
        "cluster of larger machines"
    )


def _closed(obj: Mapping[str, Any], cluster: Cluster) -> tuple[Reason, str] | None:
    name = cluster.name
    if is_creating(obj):
        return Reason.NODES_PREPARING, f"the ComputeCluster {name} is being created"
    if _is_stuck(obj):
        ready = find(obj.get("status") or {}, ComputeClusterCondition.READY.value) or {}
        return Reason.CLUSTER_NOT_READY, f"the ComputeCluster {name} is not ready: {ready.get('message', 'it is new')}"
    if cluster.spec.paused:
        return Reason.QUEUE_PAUSED, f"the ComputeCluster {name} lets no run in: its spec.queue.paused is set"
    return None


def _waiting(cluster: Cluster, capacity: Capacity, standing: Standing, *, now: datetime) -> tuple[Reason, str]:
    entry, place = standing.entry, standing.place
    if entry.not_before is not None and entry.not_before > now:
        return Reason.PROVISIONING_TIMEOUT, (
            f"no node came within {cluster.spec.provisioning_seconds} s: the run keeps its place in the queue of "
            f"{cluster.name} and is let in again after {timestamp(entry.not_before)}"
        )
    if place is None and standing.waits:
        return Reason.WAITING_FOR_TURN, f"behind the first {TOLD} in the queue of {cluster.name}"
    if place is None or place.position == 1:
        taken = "its only slot is taken" if capacity.slots == 1 else f"its {capacity.slots} slots are taken"
        return Reason.WAITING_FOR_SLOT, f"the next run of {cluster.name}; {taken}"
    words = f"{place.position} of {place.pending} in the queue of {cluster.name}"
    return Reason.WAITING_FOR_TURN, words


def demand_of(requests: Mapping[str, str], limits: Mapping[str, str], defaults: Mapping[str, str]) -> Demand:
    """Return what a run asks of a node: a limit without a request is a request, as Kubernetes has it."""
    amounts = {**(defaults if not requests else {}), **limits, **requests}
    return Demand(
        cpu=cpu_millis(amounts["cpu"]) if "cpu" in amounts else 0,
        memory=memory_bytes(amounts["memory"]) if "memory" in amounts else 0,
    )


def entry_of(
    run: Mapping[str, Any], job: Mapping[str, Any] | None, *, spec: TrainingJobSpec, defaults: Mapping[str, str]
) -> Entry:
    """Return a run as the queue sees it."""
    meta = run["metadata"]
    status = (job or {}).get("status") or {}
    return Entry(
        uid=meta["uid"],
        namespace=meta["namespace"],
        name=meta["name"],
        priority=spec.priority,
        created=meta.get("creationTimestamp", ""),
        job_name=job["metadata"]["name"] if job else "",
        demand=demand_of(spec.requests, spec.limits, defaults),
        since=parse_timestamp(status["startTime"]) if status.get("startTime") else None,
        not_before=_back_off(job)[1] if job else None,
    )


def back_off(job: Mapping[str, Any], *, now: datetime) -> JsonObject:
    """Return the merge patch that takes a Job back into the queue after it has found no node."""
    times = _back_off(job)[0] + 1
    seconds = min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2 ** min(times - 1, _MOST_DOUBLINGS))
    note = {"times": times, "until": timestamp(now + timedelta(seconds=seconds))}
    return {"metadata": {"annotations": {BACK_OFF_ANNOTATION: json.dumps(note)}}, "spec": {"suspend": True}}


def _back_off(job: Mapping[str, Any]) -> tuple[int, datetime | None]:
    text = (job["metadata"].get("annotations") or {}).get(BACK_OFF_ANNOTATION)
    try:
        note = json.loads(text) if text else {}
        return int(note.get("times", 0)), parse_timestamp(note["until"]) if "until" in note else None
    except (ValueError, TypeError, AttributeError):
        return 0, None  # somebody else wrote it
