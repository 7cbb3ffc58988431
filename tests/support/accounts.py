"""The service accounts of a namespace, where no controller and no chart has made them, and what they may."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from devcluster.waiting import wait_for
from trainyard.remote.account import DEFAULT_ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devcluster.controlplane import ControlPlane

SECONDS = 60.0


def user_of(namespace: str, account: str) -> str:
    """Return what the API server calls a service account."""
    return f"system:serviceaccount:{namespace}:{account}"


def await_right(control_plane: ControlPlane, namespace: str, *, user: str, rule: Mapping[str, Any]) -> None:
    """Wait until the API server's authorizer knows a Role and its binding, of which it hears as all others do."""
    resource, _, subresource = rule["resources"][0].partition("/")
    attributes = {
        "namespace": namespace, "group": rule["apiGroups"][0], "resource": resource, "subresource": subresource,
        "verb": rule["verbs"][0], "name": (rule.get("resourceNames") or [""])[0],
    }  # fmt: skip
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes},
    }

    def allowed() -> bool:
        ask = ("create", "-f", "-", "-o", "jsonpath={.status.allowed}")
        return control_plane.kubectl(*ask, text=json.dumps(review)) == "true"

    wait_for(allowed, what=f"{user} to be allowed {attributes}", timeout=SECONDS)


def allow(
    control_plane: ControlPlane, namespace: str, *, user: str | None, rules: Sequence[Mapping[str, Any]], name: str
) -> None:
    """Give a user, or the account that the namespace's people have tokens of, rights in a namespace."""
    account = {"kind": "ServiceAccount", "name": DEFAULT_ACCOUNT, "namespace": namespace}
    person = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}
    group = "rbac.authorization.k8s.io"
    for document in (
        {"kind": "Role", "rules": rules},
        {
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [person if user else account],
        },
    ):
        whole = {"apiVersion": f"{group}/v1", "metadata": {"name": name, "namespace": namespace}, **document}
        control_plane.kubectl("apply", "-f", "-", text=json.dumps(whole))
    await_right(control_plane, namespace, user=user or user_of(namespace, DEFAULT_ACCOUNT), rule=rules[0])


def make_accounts(control_plane: ControlPlane, namespace: str) -> None:
    """Make that of the namespace's runs and that of its people, where they are not there."""
    for name in ("default", DEFAULT_ACCOUNT):
        if not control_plane.kubectl("get", "serviceaccount", name, f"-n={namespace}", "--ignore-not-found"):
            control_plane.kubectl("create", "serviceaccount", name, f"-n={namespace}")
