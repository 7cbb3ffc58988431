"""The provider `Karpenter`: a NodePool of the cluster's own, which Karpenter fills as pods wait and empties again.

The NodePool has its own label and taint, so that nothing but the cluster's runs goes to its nodes, and a limit in
nodes, so that no more than `maxNodes` are ever asked for, whatever waits. Nodes are removed when they are empty and for
no other reason (`WhenEmpty`, no expiry): a run's node is its own until it ends. The fields are described at
https://karpenter.sh/docs/concepts/nodepools/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard_operator.api.compute_cluster import NodeClassRef, VmPriority
from trainyard_operator.api.names import NODE_POOL, POOL_LABEL, pool_name
from trainyard_operator.api.reasons import ComputeClusterReason as Reason
from trainyard_operator.api.sizes import Size
from trainyard_operator.providers.base import (
    OWNER_KEY,
    Capabilities,
    Change,
    Cluster,
    JsonObject,
    Placement,
    Surroundings,
    Trouble,
    is_in_pool,
    pool_placement,
)

_DEDICATED = "on-demand"
_CAPACITY_TYPES = {VmPriority.DEDICATED: _DEDICATED, VmPriority.LOW_PRIORITY: "spot"}


class Karpenter:
    """Nodes that Karpenter makes from any node class: EC2's, Azure's, or kwok's."""

    capabilities = Capabilities(scales=True, times_idle=True)

    def placement(self, cluster: Cluster) -> Placement:
        """Return where the pods of a cluster go."""
        return pool_placement(cluster)

    def belongs(self, cluster: Cluster, node: Mapping[str, Any]) -> bool:
        """Return whether `node` is one of the cluster's."""
        return is_in_pool(cluster, node)

    def group(self, cluster: Cluster) -> None:
        """Return nothing: a NodePool is an object of the Kubernetes cluster."""

    def plan(self, cluster: Cluster, surroundings: Surroundings) -> Change:
        """Return the NodePool to create, or what its spec lacks."""
        if not surroundings.installed:
            return Change()
        wanted = node_pool(cluster, dedicated_too=_falls_back(cluster, surroundings))
        pool = surroundings.pool
        if pool is None:
            return Change(create=wanted)
        if not _is_ours(cluster, pool):
            # With its labels: only what has them is watched, and goes with the cluster.
            own = {name: wanted["metadata"][name] for name in ("labels", "annotations")}
            return Change() if _why_foreign(cluster, pool) else Change(patch={"metadata": own, "spec": wanted["spec"]})
        if _contains(pool.get("spec"), wanted["spec"]):
            return Change()
        return Change(patch={"spec": wanted["spec"]})

    def dismantle(self, cluster: Cluster, surroundings: Surroundings) -> Change:
        """Return the NodePool to delete; Karpenter removes its machines, and it is gone after them."""
        pool = surroundings.pool
        if pool is not None and not _is_ours(cluster, pool):
            return Change(gone=True)
        if pool is None:
            return Change(gone=not surroundings.claims)
        return Change(delete=None if pool["metadata"].get("deletionTimestamp") else pool)

    def observe(self, cluster: Cluster, surroundings: Surroundings) -> Trouble | None:
        """Return why no node can come."""
        if not surroundings.installed:
            words = (
                "this Kubernetes cluster has no NodePools: install Karpenter, and runs that wait start by themselves"
            )
            return Trouble(reason=Reason.PROVIDER_NOT_INSTALLED, message=words)
        pool = surroundings.pool
        if pool is None:
            return Trouble(reason=Reason.CREATING_POOL, message="the cluster's NodePool is being created")
        if not _is_ours(cluster, pool):
            foreign = _why_foreign(cluster, pool)
            if foreign:
                return Trouble(reason=Reason.POOL_NOT_OURS, message=foreign)
            words = f"the NodePool {pool['metadata']['name']} is being taken over"
            return Trouble(reason=Reason.CREATING_POOL, message=words)
        return _why_unready(pool)


def _why_unready(pool: Mapping[str, Any]) -> Trouble | None:
    name = pool["metadata"]["name"]
    conditions = (pool.get("status") or {}).get("conditions") or ()
    found = {condition.get("type"): condition for condition in conditions}
    failing = next((c for c in found.values() if c.get("type") != "Ready" and c.get("status") == "False"), None)
    if failing is not None and found.get("Ready", {}).get("status") != "True":
        words = f"the NodePool {name} is not ready: {failing.get('reason')}: {failing.get('message')}"
        return Trouble(reason=Reason.POOL_NOT_READY, message=words)
    if found.get("Ready", {}).get("status") != "True":
        return Trouble(reason=Reason.CREATING_POOL, message=f"Karpenter has not looked at the NodePool {name} yet")
    return None


def _falls_back(cluster: Cluster, surroundings: Surroundings) -> bool:
    """Return whether dedicated machines will do, because no other ones came in time; they do until nobody runs."""
    after = cluster.spec.fallback_seconds
    if after is None:
        return False
    template = ((surroundings.pool or {}).get("spec") or {}).get("template") or {}
    requirements = (template.get("spec") or {}).get("requirements") or ()
    already = any(_DEDICATED in (requirement.get("values") or ()) for requirement in requirements)
    return surroundings.waited_seconds >= after or (already and surroundings.busy)


def node_pool(cluster: Cluster, *, dedicated_too: bool = False) -> JsonObject:
    """Return the NodePool of a cluster, whose spec names a size and a node class."""
    spec, size = cluster.spec, cluster.size
    assert isinstance(spec.node_class, NodeClassRef)
    assert isinstance(size, Size)
    pool = pool_name(cluster.namespace, cluster.name)
    requirements = [
        ("karpenter.sh/capacity-type", [_CAPACITY_TYPES[spec.vm_priority], *([_DEDICATED] if dedicated_too else [])]),
        ("node.kubernetes.io/instance-type", list(size.types_of(spec.node_class.group))),
    ]
    return {
        "apiVersion": NODE_POOL.api_version,
        "kind": NODE_POOL.kind,
        "metadata": {
            "name": pool,
            "labels": {POOL_LABEL: pool},
            "annotations": {OWNER_KEY: f"{cluster.namespace}/{cluster.name}"},
        },
        "spec": {
            "template": {
                "metadata": {"labels": {POOL_LABEL: pool}},
                "spec": {
                    "nodeClassRef": {
                        "group": spec.node_class.group,
                        "kind": spec.node_class.kind,
                        "name": spec.node_class.name,
                    },
                    "requirements": [{"key": key, "operator": "In", "values": values} for key, values in requirements],
                    "taints": [{"key": POOL_LABEL, "value": pool, "effect": "NoSchedule"}],
                    "expireAfter": "Never",
                },
            },
            "disruption": {
                "consolidationPolicy": "WhenEmpty",
                "consolidateAfter": f"{spec.idle_seconds}s",
                "budgets": [{"nodes": "100%"}],
            },
            "limits": {"nodes": str(spec.max_nodes)},
        },
    }


def is_made_for(pool: Mapping[str, Any], *, namespace: str, name: str) -> bool:
    """Return whether `pool` was made for this ComputeCluster."""
    annotations = pool["metadata"].get("annotations") or {}
    return bool(annotations.get(OWNER_KEY) == f"{namespace}/{name}")


def _is_ours(cluster: Cluster, pool: Mapping[str, Any]) -> bool:
    return is_made_for(pool, namespace=cluster.namespace, name=cluster.name)


def _why_foreign(cluster: Cluster, pool: Mapping[str, Any]) -> str:
    """Return why a NodePool that is not the cluster's stays somebody else's; nothing where it is to be taken over."""
    name = pool["metadata"]["name"]
    owner = (pool["metadata"].get("annotations") or {}).get(OWNER_KEY)
    if owner is not None:
        return f"the NodePool {name} belongs to the ComputeCluster {owner}: delete it, or name the cluster otherwise"
    if not cluster.spec.adopt:
        return (
            f"there is a NodePool {name} that this cluster did not make: delete it, name the cluster otherwise, or set "
            "spec.provider.adopt to take it over"
        )
    template = ((pool.get("spec") or {}).get("template") or {}).get("spec") or {}
    found, wanted = template.get("nodeClassRef") or {}, cluster.spec.node_class
    if wanted is not None and (found.get("group"), found.get("kind")) != (wanted.group, wanted.kind):
        return (
            f"the NodePool {name} cannot be taken over, since Karpenter lets nobody change the kind of its node class, "
            f"{found.get('group')} {found.get('kind')}: delete it, or name the cluster otherwise"
        )
    return ""


def _contains(actual: object, wanted: object) -> bool:
    """Return whether `actual` says all that `wanted` says; the API server may have added defaults beside it."""
    if isinstance(wanted, dict):
        return isinstance(actual, dict) and all(_contains(actual.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(wanted)
            and all(_contains(*pair) for pair in zip(actual, wanted, strict=True))
        )
    return actual == wanted
