"""Policies by which the API server changes what Karpenter's provider makes, as a cloud would have made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from devcluster.apiclient import ApiClient

API = "admissionregistration.k8s.io/v1"


def policy(*, name: str, group: str, resource: str, patch: str, condition: str = "") -> dict[str, dict[str, Any]]:
    """Describe a change of every new object of a kind, as the objects that are to be made, by the plural of their kind.

    Parameters
    ----------
    name
        The policy's.
    group, resource
        The kind.
    patch
        One operation of a JSON patch, in CEL.
    condition
        Which objects are changed, in CEL; all if empty.
    """
    rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE"], "resources": [resource]}
    spec: dict[str, Any] = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [rule]},
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{patch}]"}}],
    }
    if condition:
        spec["matchConditions"] = [{"name": "which", "expression": condition}]
    common = {"apiVersion": API, "metadata": {"name": name}}
    return {
        "mutatingadmissionpolicies": {**common, "kind": "MutatingAdmissionPolicy", "spec": spec},
        "mutatingadmissionpolicybindings": {
            **common,
            "kind": "MutatingAdmissionPolicyBinding",
            "spec": {"policyName": name},
        },
    }


def apply(client: ApiClient, documents: dict[str, dict[str, Any]], *, present: bool = True) -> None:
    """Make a policy, or take it away; the API server heeds either a moment later."""
    for plural, document in documents.items():
        path = f"/apis/{API}/{plural}/{document['metadata']['name']}"
        if present:
            client.patch(path, document, kind="apply")
        else:
            client.delete(path)
