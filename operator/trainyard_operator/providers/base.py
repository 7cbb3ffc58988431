"""What every provider answers, whoever makes the nodes. Controllers ask for capabilities, never for names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trainyard_operator.api.compute_cluster import ComputeClusterSpec
from trainyard_operator.api.names import POOL_LABEL, pool_name
from trainyard_operator.api.reasons import ComputeClusterReason
from trainyard_operator.api.sizes import Size
from trainyard_operator.providers.autoscaler import AutoscalerSeen
from trainyard_operator.providers.node_group import GroupAddress, GroupCall, GroupSeen

JsonObject = dict[str, Any]

# On what a cluster has outside of its namespace: whose it is, as namespace/name.
OWNER_KEY = "trainyard.dev/compute-cluster"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A ComputeCluster as providers see it: what it wishes, and the size that its nodes have, where it names one."""

    namespace: str
    name: str
    spec: ComputeClusterSpec
    size: Size | None


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What a pod needs so that it lands on a cluster's nodes and nowhere else.

    `slot_cpu` is what one slot has to ask for, in thousandths of a core, so that a node takes no more than it should.
    """

    node_selector: Mapping[str, str]
    tolerations: tuple[Mapping[str, Any], ...] = ()
    slot_cpu: int | None = None


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a provider can do."""

    scales: bool  # nodes come when runs need them, and go when none does
    times_idle: bool = False  # nodes go `idleSecondsBeforeScaleDown` after their last run


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why a provider cannot bring nodes."""

    reason: ComputeClusterReason
    message: str


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The provider's own objects, as far as they belong to one cluster; `group` is None before anybody has looked.

    `autoscaler` is there where the cluster names node groups of Cluster Autoscaler's.
    """

    installed: bool = True
    waited_seconds: float = 0.0  # for how long the cluster's runs have waited for a node, the one that waits longest
    busy: bool = False  # whether any run is let in
    pool: Mapping[str, Any] | None = None
    claims: Sequence[Mapping[str, Any]] = ()
    group: GroupSeen | None = None
    autoscaler: AutoscalerSeen | None = None


@dataclass(frozen=True, kw_only=True)
class Change:
    """What has to be done to the provider's own objects.

    Attributes
    ----------
    create, patch, delete
        An object to create, the patch of the one that is there, or that one, to be deleted.
    call
        What to ask of the cloud.
    blind
        Nothing is known yet: nothing can be said or done before the next look.
    gone
        Nothing of the provider's is left.
    words
        Why what was begun does not come to its end.
    look_again
        Seconds until the provider's side is to be looked at again, where nobody tells of its changes.
    """

    create: JsonObject | None = None
    patch: JsonObject | None = None
    delete: Mapping[str, Any] | None = None
    call: GroupCall | None = None
    blind: bool = False
    gone: bool = False
    words: str = ""
    look_again: float | None = None


class Provider(Protocol):
    """Where a cluster's nodes come from. Every method is a pure function."""

    @property
    def capabilities(self) -> Capabilities:
        """What this provider can do."""
        ...

    def placement(self, cluster: Cluster) -> Placement:
        """Return where the pods of a cluster go."""
        ...

    def belongs(self, cluster: Cluster, node: Mapping[str, Any]) -> bool:
        """Return whether `node` is one of the cluster's."""
        ...

    def group(self, cluster: Cluster) -> GroupAddress | None:
        """Return the node group that has to be looked at before anything is planned, or None."""
        ...

    def plan(self, cluster: Cluster, surroundings: Surroundings) -> Change:
        """Return what the provider's own objects lack."""
        ...

    def dismantle(self, cluster: Cluster, surroundings: Surroundings) -> Change:
        """Return what is to be done so that nothing of the provider's is left."""
        ...

    def observe(self, cluster: Cluster, surroundings: Surroundings) -> Trouble | None:
        """Return why no node can come, or None where one can."""
        ...


def pool_placement(cluster: Cluster) -> Placement:
    """Return where pods go if the nodes have the label and the taint of a pool that was made for the cluster."""
    pool = pool_name(cluster.namespace, cluster.name)
    return Placement(
        node_selector={POOL_LABEL: pool},
        tolerations=({"key": POOL_LABEL, "operator": "Equal", "value": pool, "effect": "NoSchedule"},),
        slot_cpu=slot_cpu(cluster),
    )


def is_in_pool(cluster: Cluster, node: Mapping[str, Any]) -> bool:
    """Return whether `node` has the label of the pool that was made for the cluster."""
    labels = node["metadata"].get("labels") or {}
    return bool(labels.get(POOL_LABEL) == pool_name(cluster.namespace, cluster.name))


def slot_cpu(cluster: Cluster) -> int | None:
    """Return what each slot has to ask for: so much that one slot more than `jobsPerNode` fits on no node.

    A little more than the machine's share among one slot more: N of them still fit beside what the system takes.
    """
    return cluster.size.cpu // (cluster.spec.jobs_per_node + 1) + 1 if cluster.size else None
