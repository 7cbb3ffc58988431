"""Namespaces as workspaces: making one, and listing those that there are."""

from __future__ import annotations

from trainyard.errors import Conflict, Forbidden
from trainyard.remote import account
from trainyard.remote.api import Api
from trainyard.remote.objects import API_VERSION, TRAINING_JOBS

_PATH = "/api/v1/namespaces"
_PAGE = 500


def create(api: Api, name: str, *, exist_ok: bool) -> None:
    """Make a namespace, with the service account that its people's tokens are of.

    Raises
    ------
    Conflict
        If there is one of that name, unless that is `exist_ok`.
    Forbidden
        If only others may make namespaces: with what to ask them for.
    """
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    try:
        api.request("POST", _PATH, body=document)
    except Conflict as error:
        if not exist_ok:
            raise Conflict(f"there is a namespace {name} already: give exist_ok=True to use it") from error
    except Forbidden as error:
        if exist_ok and _is_there(api, name):
            return
        raise Forbidden(
            f"not allowed to create the namespace {name}: ask whoever runs the cluster for `kubectl create namespace "
            f"{name}` and for the rights to work in it, and then use Workspace.get(name={name!r})"
        ) from error
    account.make(api, name)


def names(api: Api) -> list[str]:
    """Return the names of all namespaces but those of Kubernetes itself.

    Raises
    ------
    Forbidden
        If one may not look at them all: with what to do instead.
    """
    found: list[str] = []
    token = ""
    while True:
        query = {"limit": _PAGE, **({"continue": token} if token else {})}
        try:
            page = api.request("GET", _PATH, query=query)
        except Forbidden as error:
            raise Forbidden(
                "not allowed to list namespaces: name yours with Workspace.get(name=…), or ask whoever runs the cluster"
            ) from error
        found += [one["metadata"]["name"] for one in page["items"]]
        token = page["metadata"].get("continue", "")
        if not token:
            return [name for name in found if not name.startswith("kube-")]


def _is_there(api: Api, name: str) -> bool:
    # Who has a Role in a namespace may work there, and mostly may not look at the namespace itself.
    try:
        api.request("GET", f"/apis/{API_VERSION}/namespaces/{name}/{TRAINING_JOBS}", query={"limit": 1})
    except Forbidden:
        return False
    return True
