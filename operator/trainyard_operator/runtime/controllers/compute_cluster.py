"""Gathering what planning a ComputeCluster may look at."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trainyard_operator.api.names import COMPUTE_CLUSTER, NODE, POD
from trainyard_operator.domain.compute_cluster import ClusterView, plan_compute_cluster
from trainyard_operator.domain.plan import Plan
from trainyard_operator.runtime.store import Store

JsonObject = dict[str, Any]


class ComputeClusterController:
    """Observes and plans ComputeClusters."""

    kind = COMPUTE_CLUSTER

    def __init__(self, *, store: Store) -> None:
        self._store = store

    async def observe(self, parent: JsonObject) -> ClusterView:  # noqa: ARG002 - one way for all kinds
        """Return all nodes, and those that run something for a TrainingJob."""
        return ClusterView(
            nodes=tuple(self._store.list(NODE)),
            busy=frozenset(
                pod["spec"]["nodeName"]
                for pod in self._store.list(POD)
                if (pod.get("spec") or {}).get("nodeName")
                and (pod.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}
            ),
        )

    def plan(self, parent: JsonObject, view: ClusterView, now: datetime) -> Plan:
        """Return the plan that keeps the status true."""
        return plan_compute_cluster(parent, view, now)
