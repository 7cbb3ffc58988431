"""The pods that keep a cluster's least number of nodes: one to a node, asking for next to nothing.

Autoscalers know nothing of a least number that belongs to a pool of ours, but all of them bring a node for a pod that
needs one, and leave a node alone that has a pod which must not be moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard_operator.api.names import COMPUTE_CLUSTER, DEPLOYMENT, POOL_LABEL, pool_name
from trainyard_operator.domain.job import CONFINED, USER_ID, PodSettings, owner_reference
from trainyard_operator.domain.plan import Patch
from trainyard_operator.providers.base import Cluster, Placement

JsonObject = dict[str, Any]

_WAIT = "import signal; signal.sigwait({signal.SIGTERM})"
_ROLE_LABEL = "trainyard.dev/role"
# For the Cluster Autoscaler. To Karpenter a node with a pod is not empty, and it must be able to evict this one when
# the cluster goes: it waits for pods that must not be disrupted.
_STAY = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}


def keepers(
    *,
    parent: Mapping[str, Any],
    cluster: Cluster,
    placement: Placement,
    found: Mapping[str, Any] | None,
    settings: PodSettings,
) -> JsonObject | Patch | None:
    """Return the Deployment to create, its patch where it keeps another number of nodes, or None.

    Parameters
    ----------
    found
        The Deployment that is there.
    """
    wanted = cluster.spec.min_nodes
    if found is None:
        return _deployment(parent, cluster, placement, settings) if wanted else None
    if (found.get("spec") or {}).get("replicas") == wanted:
        return None
    meta = found["metadata"]
    return Patch(kind=DEPLOYMENT, namespace=meta["namespace"], name=meta["name"], body={"spec": {"replicas": wanted}})


def keeper_name(cluster: str) -> str:
    """Return the name of a cluster's Deployment."""
    return f"{cluster}-keeper"


def _deployment(parent: Mapping[str, Any], cluster: Cluster, placement: Placement, settings: PodSettings) -> JsonObject:
    labels = {POOL_LABEL: pool_name(cluster.namespace, cluster.name), _ROLE_LABEL: "keeper"}
    return {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.kind,
        "metadata": {
            "name": keeper_name(cluster.name),
            "namespace": cluster.namespace,
            "labels": labels,
            "ownerReferences": [owner_reference(parent, kind=COMPUTE_CLUSTER)],
        },
        "spec": {
            "replicas": cluster.spec.min_nodes,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": _STAY},
                "spec": _pod(labels, placement, settings),
            },
        },
    }


def _pod(labels: Mapping[str, str], placement: Placement, settings: PodSettings) -> JsonObject:
    apart = {"labelSelector": {"matchLabels": dict(labels)}, "topologyKey": "kubernetes.io/hostname"}
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "nodeSelector": dict(placement.node_selector),
        "tolerations": [dict(toleration) for toleration in placement.tolerations],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "keeper",
                "image": settings.trainer_image,
                "imagePullPolicy": settings.pull_policy,
                "command": ["python3", "-I", "-S", "-c", _WAIT],
                "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {"memory": "64Mi"}},
                "securityContext": CONFINED,
            }
        ],
    }
