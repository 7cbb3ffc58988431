"""Planning a ComputeCluster: which nodes are its own, and in which of the named states each one is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trainyard_operator.api.compute_cluster import ComputeClusterSpec
from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.reasons import ComputeClusterCondition as Type
from trainyard_operator.api.reasons import ComputeClusterReason as Reason
from trainyard_operator.domain.conditions import Condition, merge
from trainyard_operator.domain.plan import Event, Plan
from trainyard_operator.providers.existing import belongs

STATES = ("idle", "running", "preparing", "unusable", "leaving")
# Taints that the node controller and the autoscalers set on a node that is about to go.
_LEAVING_TAINTS = frozenset(
    {"ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "node.cloudprovider.kubernetes.io/shutdown"}
)
_NEW_NODE_REASONS = frozenset({"KubeletNotReady", "NodeStatusNeverUpdated"})


@dataclass(frozen=True, kw_only=True)
class ClusterView:
    """All nodes of the Kubernetes cluster, and the names of those on which a run's pod is active."""

    nodes: Sequence[Mapping[str, Any]] = ()
    busy: frozenset[str] = frozenset()


def plan_compute_cluster(parent: Mapping[str, Any], view: ClusterView, now: datetime) -> Plan:
    """Return the plan that keeps the counts of a cluster's nodes true."""
    try:
        ComputeClusterSpec.parse(parent["spec"])
    except SpecError as error:
        return _written(parent, {}, [_condition(Reason.INVALID_SPEC, str(error)), _stalled(str(error))], now)
    counts = Counter(
        node_state(node, busy=view.busy) for node in view.nodes if belongs(parent["spec"]["provider"], node)
    )
    total = sum(counts.values())
    facts = {"currentNodeCount": total, "nodeStateCounts": {state: counts[state] for state in STATES}}
    usable = counts["idle"] + counts["running"]
    if total == 0:
        words = "no node has the labels of spec.provider.existing.nodeSelector: label nodes, or mend the selector"
        ready = _condition(Reason.NO_NODES, words)
    elif usable == 0:
        ready = _condition(Reason.NODES_NOT_READY, f"none of the {total} node(s) can take runs now")
    else:
        ready = _condition(Reason.NODES_READY, "the cluster's nodes can take runs")
    return _written(parent, facts, [ready], now)


def node_state(node: Mapping[str, Any], *, busy: frozenset[str]) -> str:
    """Return the one of `STATES` that `node` is in (the names are Azure Batch AI's node states)."""
    meta, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    taints = {taint.get("key") for taint in spec.get("taints") or ()}
    if meta.get("deletionTimestamp") or taints & _LEAVING_TAINTS:
        return "leaving"
    ready = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    if ready is None or (ready.get("status") == "False" and ready.get("reason") in _NEW_NODE_REASONS):
        return "preparing"
    if ready.get("status") != "True":
        return "unusable"
    if meta["name"] in busy:
        return "running"
    return "unusable" if spec.get("unschedulable") else "idle"


def _condition(reason: Reason, message: str) -> Condition:
    return Condition(type=Type.READY.value, status=reason == Reason.NODES_READY, reason=reason.value, message=message)


def _stalled(message: str) -> Condition:
    return Condition(type=Type.STALLED.value, status=True, reason=Reason.INVALID_SPEC.value, message=message)


def _written(parent: Mapping[str, Any], facts: Mapping[str, Any], wished: Sequence[Condition], now: datetime) -> Plan:
    old: Mapping[str, Any] = parent.get("status") or {}
    generation = parent["metadata"]["generation"]
    status = {
        "observedGeneration": generation,
        **facts,
        "conditions": merge(old=old.get("conditions") or [], wished=wished, generation=generation, now=now),
    }
    if status == old:
        return Plan()
    before = {(c["type"], c["reason"]) for c in old.get("conditions") or ()}
    first = wished[0]
    event = Event(type="Normal" if first.status else "Warning", reason=first.reason, message=first.message)
    return Plan(status=status, events=() if (first.type, first.reason) in before else (event,))
