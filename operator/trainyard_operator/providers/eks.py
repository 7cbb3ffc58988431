"""The provider `EKS`: a managed node group of the cluster's own, which Cluster Autoscaler fills and empties.

The group has the label and the taint that a Karpenter pool has, so that runs are placed in the same way. It is made
with no nodes and may shrink to none; EKS itself marks its Auto Scaling group for Cluster Autoscaler's discovery. AWS
tells nobody of changes, hence the looks from time to time. The calls are described at
https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateNodegroup.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard_operator.api.compute_cluster import EksSettings, VmPriority
from trainyard_operator.api.names import POOL_LABEL, pool_name
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
from trainyard_operator.providers.node_group import (
    TRANSIENT,
    Failure,
    GroupAddress,
    GroupCall,
    GroupSeen,
    NodeGroup,
    Refusal,
)

# Until the next look: while nothing was seen yet, right after a call, while AWS works, in trouble, and else.
UNSEEN_SECONDS = 2.0
CALLED_SECONDS = 5.0
CHANGING_SECONDS = 15.0
TROUBLE_SECONDS = 60.0
STEADY_SECONDS = 300.0

_CAPACITY_TYPES = {VmPriority.DEDICATED: "ON_DEMAND", VmPriority.LOW_PRIORITY: "SPOT"}
_TEMPLATE = "k8s.io/cluster-autoscaler/node-template"
_UNWELL = frozenset({"CREATE_FAILED", "DEGRADED", "DELETE_FAILED"})
_CHANGEABLE = frozenset({"ACTIVE", "DEGRADED"})
_RETAIN = "set spec.deletionPolicy to Retain to leave it behind"


class Eks:
    """Nodes of one managed node group, made and removed through the API of Amazon EKS."""

    capabilities = Capabilities(scales=True)

    def placement(self, cluster: Cluster) -> Placement:
        """Return where the pods of a cluster go."""
        return pool_placement(cluster)

    def belongs(self, cluster: Cluster, node: Mapping[str, Any]) -> bool:
        """Return whether `node` is one of the cluster's."""
        return is_in_pool(cluster, node)

    def group(self, cluster: Cluster) -> GroupAddress:
        """Return the address of the cluster's node group."""
        settings = _settings(cluster)
        name = pool_name(cluster.namespace, cluster.name)
        return GroupAddress(cluster=settings.cluster_name, name=name, region=settings.region)

    def plan(self, cluster: Cluster, surroundings: Surroundings) -> Change:
        """Return the call that creates the group, or that gives it what it lacks."""
        seen = surroundings.group
        if seen is None:
            return Change(blind=True, look_again=UNSEEN_SECONDS)
        call = self._wanted(cluster, seen)
        if call is not None and not _pauses(seen.refusal, call):
            return Change(call=call, look_again=CALLED_SECONDS)
        trouble = self.observe(cluster, surroundings)
        if trouble is not None:
            waits = trouble.reason == Reason.CREATING_POOL
            return Change(look_again=CHANGING_SECONDS if waits else TROUBLE_SECONDS)
        if seen.group is not None and seen.group.status == "UPDATING":
            return Change(look_again=CHANGING_SECONDS)
        settled = call is None and seen.group is not None and seen.group.most <= _most(cluster)
        return Change(look_again=STEADY_SECONDS if settled else TROUBLE_SECONDS)

    def dismantle(self, cluster: Cluster, surroundings: Surroundings) -> Change:
        """Return the call that deletes the group; AWS drains and ends its machines."""
        seen = surroundings.group
        if seen is None:
            return Change(blind=True, look_again=UNSEEN_SECONDS)
        if seen.failure is not None and seen.failure.reason != Reason.EKS_CLUSTER_NOT_FOUND:
            return Change(words=f"{seen.failure.message}; or {_RETAIN}", look_again=TROUBLE_SECONDS)
        group = seen.group
        if group is None or not _is_ours(cluster, group):
            return Change(gone=True)
        if group.status == "DELETING":
            return Change(words="AWS deletes the node group", look_again=CHANGING_SECONDS)
        call = GroupCall(address=self.group(cluster), verb="delete")
        if seen.refusal is not None and seen.refusal.call == call:
            words = f"{seen.refusal.failure.message}; or {_RETAIN}"
            pauses = seen.refusal.pausing
            return Change(call=None if pauses else call, words=words, look_again=TROUBLE_SECONDS)
        return Change(call=call, words=_ailing(group), look_again=CALLED_SECONDS)

    def observe(self, cluster: Cluster, surroundings: Surroundings) -> Trouble | None:
        """Return why no node can come."""
        seen = surroundings.group
        if seen is None:
            return None
        if seen.failure is not None:
            return Trouble(reason=seen.failure.reason, message=seen.failure.message)
        call = self._wanted(cluster, seen)
        refused = seen.refusal.failure if seen.refusal is not None and seen.refusal.call == call else None
        name = self.group(cluster).name
        return _why_absent(name, refused) if seen.group is None else _why_unfit(name, cluster, seen.group, refused)

    def _wanted(self, cluster: Cluster, seen: GroupSeen) -> GroupCall | None:
        if seen.failure is not None:
            return None
        address, group = self.group(cluster), seen.group
        if group is None:
            return GroupCall(address=address, verb="create", arguments=node_group(cluster))
        if not _is_ours(cluster, group):
            if _why_foreign(address.name, cluster, group):
                return None
            tags = {"resourceArn": group.arn, "tags": {OWNER_KEY: _owner(cluster)}}
            return GroupCall(address=address, verb="adopt", arguments=tags)
        if group.status not in _CHANGEABLE:
            return None
        arguments = _lacks(cluster, group)
        return GroupCall(address=address, verb="update", arguments=arguments) if arguments else None


def _why_absent(name: str, refused: Failure | None) -> Trouble:
    if refused is None:
        return Trouble(reason=Reason.CREATING_POOL, message=f"the node group {name} is being created")
    return Trouble(reason=refused.reason, message=f"the node group {name} is not created: {refused.message}")


def _why_unfit(name: str, cluster: Cluster, group: NodeGroup, refused: Failure | None) -> Trouble | None:
    found: tuple[Reason, str] | None = None
    foreign = "" if _is_ours(cluster, group) else _why_foreign(name, cluster, group)
    if foreign:
        found = Reason.POOL_NOT_OURS, foreign
    elif not _is_ours(cluster, group):
        found = Reason.CREATING_POOL, f"the node group {name} is being taken over"
        if refused is not None:
            found = refused.reason, f"the node group {name} is not taken over: {refused.message}"
    elif group.status == "CREATING":
        found = Reason.CREATING_POOL, f"AWS creates the node group {name}"
    elif group.status == "DELETING":
        words = f"somebody deleted the node group {name}; another one is created when it is gone"
        found = Reason.CREATING_POOL, words
    elif group.status in _UNWELL:
        found = Reason.POOL_NOT_READY, f"the node group {name} is {_ailing(group)}"
    elif refused is not None and refused.reason not in TRANSIENT:
        # What passes by itself is no reason to keep runs from a group that has nodes as it is.
        found = refused.reason, f"the node group {name} is not changed: {refused.message}"
    return Trouble(reason=found[0], message=found[1]) if found else None


def _why_foreign(name: str, cluster: Cluster, group: NodeGroup) -> str:
    """Return why a group that is not the cluster's stays somebody else's; nothing where it is to be taken over."""
    owner = group.tags.get(OWNER_KEY)
    if owner is not None:
        return f"the node group {name} belongs to the ComputeCluster {owner}: delete it, or name the cluster otherwise"
    if cluster.spec.adopt:
        return ""
    return (
        f"there is a node group {name} that this cluster did not make: delete it, name the cluster otherwise, or set "
        "spec.provider.adopt to take it over"
    )


def node_group(cluster: Cluster) -> JsonObject:
    """Return what CreateNodegroup is told of a cluster, whose spec names a size."""
    settings, size, pool = _settings(cluster), cluster.size, pool_name(cluster.namespace, cluster.name)
    assert isinstance(size, Size)
    return {
        "scalingConfig": {"minSize": 0, "maxSize": _most(cluster), "desiredSize": 0},
        "subnets": list(settings.subnets),
        "instanceTypes": list(size.types_of("eks", "karpenter.k8s.aws")),
        "nodeRole": settings.node_role_arn,
        "capacityType": _CAPACITY_TYPES[cluster.spec.vm_priority],
        "labels": {POOL_LABEL: pool},
        "taints": [_taint(pool)],
        "tags": {
            OWNER_KEY: _owner(cluster),
            f"{_TEMPLATE}/label/{POOL_LABEL}": pool,
            f"{_TEMPLATE}/taint/{POOL_LABEL}": f"{pool}:NoSchedule",
        },
    }


def _lacks(cluster: Cluster, group: NodeGroup) -> JsonObject:
    """Return what UpdateNodegroupConfig is to be told."""
    found: JsonObject = {}
    pool = pool_name(cluster.namespace, cluster.name)
    # Nodes that are there may have runs, and AWS would end any of them: the limit follows as they leave by themselves.
    most = max(_most(cluster), group.desired)
    if (group.least, group.most) != (0, most):
        found["scalingConfig"] = {"minSize": 0, "maxSize": most}
    if group.labels.get(POOL_LABEL) != pool:
        found["labels"] = {"addOrUpdateLabels": {POOL_LABEL: pool}}
    if _taint(pool) not in [dict(taint) for taint in group.taints]:
        found["taints"] = {"addOrUpdateTaints": [_taint(pool)]}
    return found


def _settings(cluster: Cluster) -> EksSettings:
    assert isinstance(cluster.spec.eks, EksSettings)
    return cluster.spec.eks


def _most(cluster: Cluster) -> int:
    # AWS knows no limit of 0; with `maxNodes: 0` no run is let in, and so no node is asked for.
    return max(1, cluster.spec.max_nodes or 0)


def _taint(pool: str) -> dict[str, str]:
    return {"key": POOL_LABEL, "value": pool, "effect": "NO_SCHEDULE"}


def _owner(cluster: Cluster) -> str:
    return f"{cluster.namespace}/{cluster.name}"


def _is_ours(cluster: Cluster, group: NodeGroup) -> bool:
    return group.tags.get(OWNER_KEY) == _owner(cluster)


def _pauses(refusal: Refusal | None, call: GroupCall) -> bool:
    return refusal is not None and refusal.call == call and refusal.pausing


def _ailing(group: NodeGroup) -> str:
    """Return the group's status with what AWS says of it; nothing where it says nothing and all is well."""
    if group.status not in _UNWELL:
        return ""
    return f"{group.status}: {'; '.join(map(str, group.issues)) or 'AWS does not say why'}"
