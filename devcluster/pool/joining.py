"""How a new Node gets its first pods: only when Kubernetes' controllers know that it may have them.

Karpenter keeps pods from a new Node by a taint of the kind that also evicts, and takes it off. The scheduler may see
that before the controller that evicts does: this one then takes away a pod that has just been put there
(kubernetes/kubernetes#139992). So a Node of the pool has a second taint from the start, that by which clouds keep pods
from a Node which they have not looked at yet. It only keeps pods away, and Karpenter expects it to go.

It goes when the machine is ready, Karpenter's taint is off, and the controllers have seen that. They say so without
knowing: the agent takes an annotation off the Node that one of them puts back at once. All of them hear of Nodes
through one stream, in order, so whoever has put the annotation back was told of the Node without Karpenter's taint
before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devcluster.pool import admission

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "pool-agent-joining"
UNREGISTERED = "karpenter.sh/unregistered"
UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"
# By Kubernetes' TTL controller, on every Node.
ANSWER = "node.alpha.kubernetes.io/ttl"
# By the agent, since it took the answer away.
ASKED = "trainyard.dev/pool-agent-asked"

Operation = dict[str, str]


def documents(*, provider: str) -> dict[str, dict[str, Any]]:
    """Describe what gives every new Node of a provider the second taint, by the plural of its kind."""
    taint = f'{{"key": "{UNINITIALIZED}", "value": "true", "effect": "NoSchedule"}}'
    return admission.policy(
        name=NAME,
        group="",
        resource="nodes",
        patch=f'JSONPatch{{op: "add", path: "/spec/taints/-", value: {taint}}}',
        condition=f'object.spec.?providerID.orValue("").startsWith("{provider}") && has(object.spec.taints)',
    )


def next_step(node: Mapping[str, Any], *, ready: bool) -> list[Operation]:
    """Return the JSON patch by which a Node comes nearer to its first pods; empty as long as others have to act.

    Parameters
    ----------
    node
        The object.
    ready
        Whether its machine is.
    """
    taints = [taint["key"] for taint in node["spec"].get("taints") or ()]
    annotations = node["metadata"].get("annotations") or {}
    # A Node that never had the answer is not asked: the first one would say nothing.
    if UNINITIALIZED not in taints or UNREGISTERED in taints or not ready or ANSWER not in annotations:
        return []
    if ASKED not in annotations:
        return [{"op": "add", "path": _path(ASKED), "value": "true"}, {"op": "remove", "path": _path(ANSWER)}]
    taint = f"/spec/taints/{taints.index(UNINITIALIZED)}"
    return [
        {"op": "test", "path": f"{taint}/key", "value": UNINITIALIZED},
        {"op": "remove", "path": taint},
        {"op": "remove", "path": _path(ASKED)},
    ]


def admits(step: list[Operation]) -> bool:
    """Tell whether a Node may have pods after a step."""
    return any(operation["op"] == "test" for operation in step)


def _path(annotation: str) -> str:
    return f"/metadata/annotations/{annotation.replace('/', '~1')}"
