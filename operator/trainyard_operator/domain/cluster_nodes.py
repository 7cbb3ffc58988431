"""The nodes of a cluster, each in one of the named states (the names are Azure Batch AI's)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JsonObject = dict[str, Any]

STATES = ("idle", "running", "preparing", "unusable", "leaving", "preempted")
# Taints that the node controller and the autoscalers set on a node that is about to go.
_LEAVING_TAINTS = frozenset(
    {"ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "node.cloudprovider.kubernetes.io/shutdown"}
)
_STARTING_TAINTS = frozenset(
    {
        "karpenter.sh/unregistered",
        "node.kubernetes.io/not-ready",
        "node.cloudprovider.kubernetes.io/uninitialized",
    }
)
_NEW_NODE_REASONS = frozenset({"KubeletNotReady", "NodeStatusNeverUpdated"})


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """One node, or one machine that was asked for and has no node yet."""

    name: str
    state: str
    runs: tuple[str, ...] = ()
    created: str = ""
    exists: bool = True  # whether there is a Node object


def node_facts(node: Mapping[str, Any], *, runs: Sequence[str]) -> NodeFacts:
    """Return what `node` does; `runs` are the names of those that have an active pod on it."""
    meta = node["metadata"]
    return NodeFacts(
        name=meta["name"],
        state=_state(node, busy=bool(runs)),
        runs=tuple(sorted(runs)),
        created=meta.get("creationTimestamp", ""),
    )


def claim_facts(claims: Sequence[Mapping[str, Any]], *, nodes: Sequence[Mapping[str, Any]]) -> list[NodeFacts]:
    """Return the machines that were asked for and have no node yet."""
    known = {node["metadata"]["name"] for node in nodes}
    found = []
    for claim in claims:
        node = (claim.get("status") or {}).get("nodeName")
        if node in known or claim["metadata"].get("deletionTimestamp"):
            continue
        meta = claim["metadata"]
        created = meta.get("creationTimestamp", "")
        found.append(NodeFacts(name=meta["name"], state="preparing", created=created, exists=False))
    return found


def _state(node: Mapping[str, Any], *, busy: bool) -> str:
    meta, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    taints = {taint.get("key") for taint in spec.get("taints") or ()}
    if meta.get("deletionTimestamp") or taints & _LEAVING_TAINTS:
        # Only empty nodes are ever given up: one that goes with a run on it is taken away.
        return "preempted" if busy else "leaving"
    ready = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    if ready is None or (ready.get("status") == "False" and ready.get("reason") in _NEW_NODE_REASONS):
        return "preparing"
    if ready.get("status") != "True":
        return "unusable"
    if taints & _STARTING_TAINTS:
        return "preparing"
    if busy:
        return "running"
    return "unusable" if spec.get("unschedulable") else "idle"
