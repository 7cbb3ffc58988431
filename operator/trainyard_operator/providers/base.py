"""What every provider answers, whoever makes the nodes. Controllers ask for capabilities, never for names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trainyard_operator.api.compute_cluster import ComputeClusterSpec
from trainyard_operator.api.reasons import ComputeClusterReason
from trainyard_operator.api.sizes import Size

JsonObject = dict[str, Any]


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

    scales: bool  # adds nodes when runs need them, and removes them when none does


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why a provider cannot bring nodes."""

    reason: ComputeClusterReason
    message: str


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The provider's own objects, as far as they belong to one cluster."""

    installed: bool = True
    pool: Mapping[str, Any] | None = None
    claims: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, kw_only=True)
class Change:
    """What has to be done to the provider's own objects: one created, or one patched."""

    create: JsonObject | None = None
    patch: JsonObject | None = None


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

    def plan(self, cluster: Cluster, surroundings: Surroundings) -> Change:
        """Return what the provider's own objects lack."""
        ...

    def observe(self, cluster: Cluster, surroundings: Surroundings) -> Trouble | None:
        """Return why no node can come, or None where one can."""
        ...


def slot_cpu(cluster: Cluster) -> int | None:
    """Return what each slot has to ask for: so much that one slot more than `jobsPerNode` fits on no node.

    A little more than the machine's share among one slot more: N of them still fit beside what the system takes.
    """
    return cluster.size.cpu // (cluster.spec.jobs_per_node + 1) + 1 if cluster.size else None
