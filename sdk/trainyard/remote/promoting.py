"""What is wished of a registered model beside its versions: aliases, copies in other namespaces, verification."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from trainyard.errors import ConfigError, Conflict, NotFound, Timeout
from trainyard.naming import object_name
from trainyard.remote.api import JsonObject
from trainyard.remote.model import Model
from trainyard.remote.objects import API_VERSION, REGISTERED_MODELS, Objects
from trainyard.remote.versions import find_version, model_name

if TYPE_CHECKING:
    from trainyard.remote.workspace import Workspace

ALIAS_SECONDS: Final = 60.0
VERIFY_SECONDS: Final = 3600.0
# Reasons of the condition Promoted that waiting does not help against.
_REFUSED: Final = frozenset({"NotShared", "SourceNotFound", "DigestMismatch", "PromotionFailed", "RegistryFull"})


def find_model(workspace: Workspace, name: str) -> JsonObject:
    """Return the RegisteredModel of a name that people gave a model.

    Raises
    ------
    NotFound
        If there is none: with those that there are.
    """
    models = workspace.objects.list(REGISTERED_MODELS)
    found = next((model for model in models if model_name(model) == name), None)
    if found is None:
        names = ", ".join(sorted(map(model_name, models))) or "none"
        raise NotFound(f"no model {name} in namespace {workspace.name}; it has: {names}")
    return found


def set_alias(
    workspace: Workspace, name: str, alias: str, version: int | None, *, timeout: float = ALIAS_SECONDS
) -> JsonObject:
    """Have an alias mean a version, or nothing where that is None, wait until it does, and return the model.

    Raises
    ------
    Conflict
        If the version is not Ready; the alias keeps what it has.
    NotFound
        If there is no such model or version.
    """
    model = find_model(workspace, name)
    if version is not None:
        _, entry = find_version([model], name, number=version, alias=None)
        if entry["state"] != "Ready":
            raise Conflict(f"{entry['id']} is {entry['state']}: an alias can mean Ready versions alone")
    elif alias not in (model["spec"].get("aliases") or {}):
        there = ", ".join(sorted(model["spec"].get("aliases") or {})) or "none"
        raise NotFound(f"the model {name} has no alias {alias!r}; it has: {there}")
    changed = workspace.objects.patch(
        REGISTERED_MODELS, model["metadata"]["name"], {"spec": {"aliases": {alias: version}}}
    )

    def done(model: JsonObject) -> bool:
        status = model.get("status") or {}
        if (status.get("refusedAliases") or {}).get(alias) == version is not None:
            said = next((c["message"] for c in status.get("conditions", ()) if c["type"] == "AliasesSet"), "")
            raise Conflict(f"{alias} was refused: {said}")
        return ((status.get("aliases") or {}).get(alias) or {}).get("version") == version

    return _until(workspace.objects, changed, done, timeout=timeout, what=f"the alias {alias} of {name} is not set")


def verify(workspace: Workspace, name: str, *, timeout: float = VERIFY_SECONDS) -> JsonObject:
    """Have every byte of all versions of a model compared with what was registered, and return the model then."""
    model = find_model(workspace, name)
    request = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}-{uuid.uuid4().hex[:6]}"
    changed = workspace.objects.patch(
        REGISTERED_MODELS, model["metadata"]["name"], {"spec": {"verification": {"request": request}}}
    )

    def done(model: JsonObject) -> bool:
        return ((model.get("status") or {}).get("verification") or {}).get("request") == request

    return _until(workspace.objects, changed, done, timeout=timeout, what=f"{name} is not verified")


def share_with(workspace: Workspace, name: str, namespace: str) -> None:
    """Let another namespace take versions of a model."""

    def change(model: JsonObject) -> dict[str, Any] | None:
        there = model["spec"].get("sharedWith") or []
        return None if namespace in there else {"spec": {"sharedWith": [*there, namespace]}}

    workspace.objects.update(REGISTERED_MODELS, find_model(workspace, name)["metadata"]["name"], change)


def copy_to(model: Model, namespace: str, *, share: bool = False, timeout: float = VERIFY_SECONDS) -> JsonObject:
    """Have a version copied into the model of the same name of another namespace, and return that model then.

    Parameters
    ----------
    share
        Whether to let that namespace take versions of this model first, which is its owner's to say.

    Raises
    ------
    Conflict
        If that is refused: with the reason, as where the model is not shared with that namespace.
    """
    if namespace == model.workspace.name:
        raise ConfigError(f"{model.id} is in namespace {namespace} already: name another one")
    refused = _REFUSED
    if share:
        share_with(model.workspace, model.name, namespace)
        # The operator may see the wish before it sees that it is allowed.
        refused = _REFUSED - {"NotShared"}
    objects = Objects(model.workspace.objects.api, namespace=namespace)
    wish = {
        "namespace": model.workspace.name,
        "model": model.name,
        "version": model.version,
        "sha256": model.properties.get("manifestSha256", ""),
    }
    changed = _promote(objects, model.name, wish)
    generation = changed["metadata"]["generation"]

    def done(found: JsonObject) -> bool:
        status = found.get("status") or {}
        said = next((c for c in status.get("conditions", ()) if c["type"] == "Promoted"), None)
        if said is None or said.get("observedGeneration", status.get("observedGeneration", 0)) < generation:
            return False
        if said["status"] == "False" and said["reason"] in refused:
            raise Conflict(f"{model.id} was not copied to {namespace}: {said['message']}")
        return bool(said["status"] == "True")

    return _until(objects, changed, done, timeout=timeout, what=f"{model.id} is not copied to {namespace}")


def _promote(objects: Objects, name: str, wish: Mapping[str, Any]) -> JsonObject:
    document = {
        "apiVersion": API_VERSION,
        "kind": "RegisteredModel",
        "metadata": {"name": object_name(name)},
        "spec": {"modelName": name, "promoteFrom": dict(wish)},
    }
    try:
        return objects.create(REGISTERED_MODELS, document)
    except Conflict:
        return objects.patch(REGISTERED_MODELS, object_name(name), {"spec": {"promoteFrom": dict(wish)}})


def _until(
    objects: Objects, model: JsonObject, done: Callable[[JsonObject], bool], *, timeout: float, what: str
) -> JsonObject:
    try:
        for found in objects.watch(REGISTERED_MODELS, model["metadata"]["name"], timeout=timeout):
            if done(found):
                return found
    except Timeout:
        raise Timeout(f"{what} after {timeout:g} s; it goes on by itself: is the operator running?") from None
    raise NotFound(f"the model {model_name(model)} was deleted")
