"""A provider without capacity.

Karpenter's kwok provider knows one case of insufficient capacity: the node class of a claim is not there. So, while
the stockout lasts, the API server turns each new claim to a node class that does not exist. All the rest is Karpenter's
own: the failed launch, its event ``InsufficientCapacityError``, the claim that is given up and the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devcluster import karpenter
from devcluster.waiting import wait_for

if TYPE_CHECKING:
    from devcluster.apiclient import ApiClient

API = "admissionregistration.k8s.io/v1"
NAME = "pool-agent-stockout"
HEED_SECONDS = 20
NO_CAPACITY = "insufficient-capacity"


def documents() -> dict[str, dict[str, Any]]:
    """Describe what turns claims away, by the plural of its kind."""
    policy = {
        "apiVersion": API,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": ["karpenter.sh"],
                        "apiVersions": ["*"],
                        "operations": ["CREATE"],
                        "resources": ["nodeclaims"],
                    }
                ]
            },
            "mutations": [
                {
                    "patchType": "JSONPatch",
                    "jsonPatch": {
                        "expression": '[JSONPatch{op: "replace", path: "/spec/nodeClassRef/name", '
                        f'value: "{NO_CAPACITY}"}}]'
                    },
                }
            ],
        },
    }
    binding = {
        "apiVersion": API,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": NAME},
        "spec": {"policyName": NAME},
    }
    return {"mutatingadmissionpolicies": policy, "mutatingadmissionpolicybindings": binding}


def apply(client: ApiClient, *, stockout: bool) -> None:
    """Begin the stockout or end it; return when new claims see that."""
    for plural, document in documents().items():
        path = f"/apis/{API}/{plural}/{NAME}"
        if stockout:
            client.patch(path, document, kind="apply")
        else:
            client.delete(path)
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
