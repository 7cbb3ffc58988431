"""Clusters of existing nodes that Cluster Autoscaler brings, whose status a test writes: no such autoscaler runs here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e import scripts
from tests.e2e.yard import Json, Yard, ready, training_job, unique

pytestmark = pytest.mark.e2e

QUOTA = {"errorCode": "QUOTA_EXCEEDED", "errorMessage": "Quota 'CPUS' exceeded. Limit: 8.0 in region europe-west1."}


def node_group(*, target: int = 0, backs_off: bool = False) -> Json:
    scale_up = {"status": "Backoff", "backoffInfo": QUOTA} if backs_off else {"status": "NoActivity", "backoffInfo": {}}
    health = {"status": "Healthy", "cloudProviderTarget": target, "minSize": 0, "maxSize": 3}
    return {"name": "https://example.com/instanceGroups/training-grp", "health": health, "scaleUp": scale_up}


@pytest.fixture
def autoscaler(yard: Yard) -> Iterator[Callable[..., None]]:
    """Return what writes the status as Cluster Autoscaler does; it is gone afterwards."""

    def write(*groups: Json, age: float = 0) -> None:
        written = (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%d %H:%M:%S.123456789 +0000 UTC")
        annotations = {"cluster-autoscaler.kubernetes.io/last-updated": written}
        meta = {"name": "cluster-autoscaler-status", "namespace": "kube-system", "annotations": annotations}
        # JSON is YAML.
        status = json.dumps({"time": written, "autoscalerStatus": "Running", "nodeGroups": groups})
        yard.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"status": status}})

    yield write
    yard.kubectl("delete", "configmap", "cluster-autoscaler-status", "-n", "kube-system", "--ignore-not-found")


@pytest.fixture
def cluster_name(yard: Yard) -> Iterator[str]:
    """Return a cluster of nodes that are not there, of which Cluster Autoscaler may bring three."""
    name = unique("scaled").replace("_", "-")
    existing = {"nodeSelector": {"pool": name}, "clusterAutoscaler": {"nodeGroups": ["training-grp"]}}
    spec = {"scale": {"maxNodes": 4}, "provider": {"type": "Existing", "existing": existing}}
    meta = {"name": name, "namespace": "default"}
    yard.apply({"apiVersion": "trainyard.dev/v1alpha1", "kind": "ComputeCluster", "metadata": meta, "spec": spec})
    yield name
    yard.kubectl("delete", "tj", "-l", f"pool={name}", "--ignore-not-found")
    yard.kubectl("delete", "cc", name, "--timeout=420s")


def test_a_cluster_says_what_its_autoscaler_decides_and_why_it_brings_no_node(yard: Yard, autoscaler, cluster_name):
    def condition(kind: str) -> Json:
        conditions = yard.get("cc", cluster_name).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    yard.wait("a word on the absence", lambda: condition("Managed").get("reason") == "AutoscalerUnknown")
    assert "kube-system/cluster-autoscaler-status" in condition("Managed")["message"]
    autoscaler(node_group(backs_off=True))
    job = training_job(scripts.FINE, computeClusterRef={"name": cluster_name})
    job["metadata"]["labels"] = {"pool": cluster_name}
    run = yard.apply(job)
    yard.wait("its limits", lambda: condition("Managed").get("reason") == "ManagedElsewhere")
    assert "training-grp at 0 to 3 nodes" in condition("Managed")["message"]
    assert "spec.scale.maxNodes 4 cannot be reached" in condition("Managed")["message"]
    assert condition("Ready")["reason"] == "ScalesFromZero"
    waiting = yard.wait_for_reason(run, "InsufficientCapacity")
    assert "QUOTA_EXCEEDED: Quota 'CPUS' exceeded." in ready(waiting)["message"]
    autoscaler(node_group(target=1))
    yard.wait("a node to be on its way", lambda: yard.get("cc", cluster_name)["status"]["targetNodeCount"] == 1)
    autoscaler(node_group(), age=400)
    yard.wait("a word on its silence", lambda: "no status since" in condition("Managed")["message"])
