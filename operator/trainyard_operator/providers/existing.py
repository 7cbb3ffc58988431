"""The provider `Existing`: nodes that somebody else runs, found by their labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard_operator.providers.base import (
    Capabilities,
    Change,
    Cluster,
    Placement,
    Surroundings,
    Trouble,
    slot_cpu,
)

# Cluster Autoscaler writes its status about every ten seconds.
BUSY_SECONDS = 10.0
IDLE_SECONDS = 30.0


def look_seconds(*, busy: bool) -> float:
    """Return how old the autoscaler's status may be, by whether any run is on the cluster."""
    return BUSY_SECONDS if busy else IDLE_SECONDS


class Existing:
    """Nodes that are there, or that another autoscaler brings when pods wait for them."""

    capabilities = Capabilities(scales=False)

    def placement(self, cluster: Cluster) -> Placement:
        """Return where the pods of a cluster go."""
        return Placement(
            node_selector=dict(cluster.spec.node_selector),
            tolerations=tuple(toleration.to_json() for toleration in cluster.spec.tolerations),
            slot_cpu=slot_cpu(cluster),
        )

    def belongs(self, cluster: Cluster, node: Mapping[str, Any]) -> bool:
        """Return whether `node` is one of the cluster's: it has every label of the selector."""
        labels = node["metadata"].get("labels") or {}
        return all(labels.get(key) == value for key, value in cluster.spec.node_selector.items())

    def group(self, cluster: Cluster) -> None:
        """Return nothing: there are nodes, and no group of them."""

    def plan(self, cluster: Cluster, surroundings: Surroundings) -> Change:
        """Return when to look at the autoscaler again, where one is named: it makes the nodes, if anybody does."""
        if cluster.spec.autoscaler is None:
            return Change()
        return Change(look_again=look_seconds(busy=surroundings.busy))

    def dismantle(self, cluster: Cluster, surroundings: Surroundings) -> Change:  # noqa: ARG002 - one way for all
        """Return that nothing is left: nothing was made."""
        return Change(gone=True)

    def observe(self, cluster: Cluster, surroundings: Surroundings) -> Trouble | None:  # noqa: ARG002 - one way for all
        """Return no trouble: what nodes there are is counted, and nothing else is known."""
        return None
