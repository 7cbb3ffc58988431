"""Counting nodes by state."""

from __future__ import annotations

import pytest

from tests.unit.domain.builders import NOW
from trainyard_operator.domain.compute_cluster import ClusterView, node_state, plan_compute_cluster


def node(name="n1", *, ready="True", reason="KubeletReady", labels=None, taints=(), cordoned=False, deleting=False):
    meta = {"name": name, "labels": {"pool": "a"} if labels is None else labels}
    if deleting:
        meta["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    conditions = [{"type": "Ready", "status": ready, "reason": reason}] if ready else []
    spec = {"taints": [{"key": key} for key in taints], **({"unschedulable": True} if cordoned else {})}
    return {"metadata": meta, "spec": spec, "status": {"conditions": conditions}}


def cluster(**existing):
    provider = {"type": "Existing", "existing": {"nodeSelector": {"pool": "a"}, **existing}}
    return {
        "metadata": {"name": "lab", "namespace": "default", "uid": "u", "generation": 1},
        "spec": {"provider": provider},
    }


@pytest.mark.parametrize(
    ("facts", "busy", "state"),
    [
        pytest.param({}, frozenset(), "idle", id="ready and empty"),
        pytest.param({}, frozenset({"n1"}), "running", id="ready with a run"),
        pytest.param({"cordoned": True}, frozenset(), "unusable", id="cordoned and empty"),
        pytest.param({"cordoned": True}, frozenset({"n1"}), "running", id="cordoned with a run"),
        pytest.param({"ready": None}, frozenset(), "preparing", id="no condition yet"),
        pytest.param({"ready": "False", "reason": "KubeletNotReady"}, frozenset(), "preparing", id="not ready yet"),
        pytest.param({"ready": "Unknown", "reason": "NodeStatusUnknown"}, frozenset({"n1"}), "unusable", id="silent"),
        pytest.param({"deleting": True}, frozenset({"n1"}), "leaving", id="being deleted"),
        pytest.param({"taints": ["ToBeDeletedByClusterAutoscaler"]}, frozenset(), "leaving", id="being scaled down"),
    ],
)
def test_each_node_is_in_one_named_state(facts, busy, state):
    assert node_state(node(**facts), busy=busy) == state


def test_only_nodes_with_all_labels_are_counted_and_a_converged_cluster_plans_nothing():
    nodes = (node(), node("n2"), node("other", labels={"pool": "b"}))
    seen = ClusterView(nodes=nodes, busy=frozenset({"n2"}))
    plan = plan_compute_cluster(cluster(), seen, NOW)
    assert plan.status["currentNodeCount"] == 2
    assert plan.status["nodeStateCounts"] == {"idle": 1, "running": 1, "preparing": 0, "unusable": 0, "leaving": 0}
    assert plan.status["conditions"][0]["status"] == "True"
    assert plan_compute_cluster({**cluster(), "status": plan.status}, seen, NOW).status is None


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        pytest.param((), "NoNodes", id="none"),
        pytest.param((node(ready="Unknown", reason="x"),), "NodesNotReady", id="unusable"),
    ],
)
def test_a_cluster_that_can_take_nothing_says_so(nodes, reason):
    plan = plan_compute_cluster(cluster(), ClusterView(nodes=nodes), NOW)
    assert plan.status["conditions"][0]["reason"] == reason
    assert [event.type for event in plan.events] == ["Warning"]
