"""A provider without capacity.

Karpenter's kwok provider knows one case of insufficient capacity: the node class of a claim is not there. So, while
the stockout lasts, the API server turns each new claim to a node class that does not exist. All the rest is Karpenter's
own: the failed launch, its event ``InsufficientCapacityError``, the claim that is given up and the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devcluster import karpenter
from devcluster.pool import admission
from devcluster.waiting import wait_for

if TYPE_CHECKING:
    from devcluster.apiclient import ApiClient

NAME = "pool-agent-stockout"
HEED_SECONDS = 20
NO_CAPACITY = "insufficient-capacity"


def documents() -> dict[str, dict[str, Any]]:
    """Describe what turns claims away, by the plural of its kind."""
    patch = f'JSONPatch{{op: "replace", path: "/spec/nodeClassRef/name", value: "{NO_CAPACITY}"}}'
    return admission.policy(name=NAME, group="karpenter.sh", resource="nodeclaims", patch=patch)


def apply(client: ApiClient, *, stockout: bool) -> None:
    """Begin the stockout or end it; return when new claims see that."""
    admission.apply(client, documents(), present=stockout)
    wait_for(lambda: _in_force(client) == stockout, what="the API server to heed the stockout", timeout=HEED_SECONDS)


def _in_force(client: ApiClient) -> bool:
    reference = {"group": karpenter.PROVIDER_GROUP, "kind": "KWOKNodeClass", "name": karpenter.NODE_CLASS}
    claim = {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": {"generateName": "stockout-probe-"},
        "spec": {"nodeClassRef": reference, "requirements": []},
    }
    answer = client.post("/apis/karpenter.sh/v1/nodeclaims?dryRun=All", claim)
    return bool(answer["spec"]["nodeClassRef"]["name"] == NO_CAPACITY)
