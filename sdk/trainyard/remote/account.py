"""The service account whose token the gateway is shown: one of a namespace's people, which none of its runs has."""

from __future__ import annotations

from typing import Final

from trainyard.errors import Conflict, Forbidden, NotFound
from trainyard.remote.api import Api, JsonObject

# As the chart calls them, in each namespace of its `workspaces`.
DEFAULT_ACCOUNT: Final = "trainyard-user"
MODEL_READER: Final = "trainyard-model-reader"
_RBAC: Final = "rbac.authorization.k8s.io"


def how_to_make(namespace: str, account: str) -> str:
    """Return what to do where a namespace has no such account."""
    return (
        f"have the namespace named in the chart's workspaces, or: kubectl create serviceaccount {account} "
        f"--namespace {namespace} && {_binding_command(namespace, account)}"
    )


def how_to_bind(namespace: str, account: str) -> str:
    """Return what to do where an account may not read the models of its namespace."""
    return f"have the namespace named in the chart's workspaces, or: {_binding_command(namespace, account)}"


def make(api: Api, namespace: str) -> None:
    """Make the account, and let it read the namespace's models, as far as one may and neither is there.

    Where one may not, the first who needs it is told by `how_to_make` or `how_to_bind`.
    """
    for path, document in _documents(namespace):
        try:
            api.request("POST", path, body=document)
        except (Conflict, Forbidden, NotFound):
            continue


def _binding_command(namespace: str, account: str) -> str:
    return (
        f"kubectl create rolebinding {MODEL_READER} --namespace {namespace} --clusterrole={MODEL_READER} "
        f"--serviceaccount={namespace}:{account}"
    )


def _documents(namespace: str) -> list[tuple[str, JsonObject]]:
    account = {"kind": "ServiceAccount", "name": DEFAULT_ACCOUNT, "namespace": namespace}
    return [
        (
            f"/api/v1/namespaces/{namespace}/serviceaccounts",
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": DEFAULT_ACCOUNT},
                "automountServiceAccountToken": False,
            },
        ),
        (
            f"/apis/{_RBAC}/v1/namespaces/{namespace}/rolebindings",
            {
                "apiVersion": f"{_RBAC}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": MODEL_READER},
                "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": MODEL_READER},
                "subjects": [account],
            },
        ),
    ]
