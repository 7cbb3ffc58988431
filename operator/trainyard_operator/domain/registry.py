"""Version numbers and states of a RegisteredModel, as functions over its status.

A number is taken by writing the status under the resourceVersion it was read with: whoever loses reads again and
takes the next. The key makes asking idempotent, so that no crash between two steps can make a second version.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trainyard.contract import canonical_json
from trainyard_operator.api.names import REGISTERED_MODEL, object_name
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.domain.conditions import timestamp
from trainyard_operator.domain.plan import VersionRequest

JsonObject = dict[str, Any]

MAX_VERSIONS = 1000
# etcd takes 1.5 MiB an object; the spec, managed fields and one more entry need room beside the status.
MAX_STATUS_BYTES = 1 << 20


class RegistryFullError(Exception):
    """The status of a RegisteredModel has no room for one more version."""


def build_model(*, namespace: str, model_name: str) -> JsonObject:
    """Return a RegisteredModel as the first registration of `model_name` creates it; it belongs to nobody's life."""
    return {
        "apiVersion": REGISTERED_MODEL.api_version,
        "kind": REGISTERED_MODEL.kind,
        "metadata": {"name": object_name(model_name), "namespace": namespace},
        "spec": {"modelName": model_name},
    }


def version_key(*, run_uid: str, model_name: str, path: str) -> str:
    """Return the identity of a wish to register `path` of a run as a version of a model."""
    return f"{run_uid}/{model_name}/{path}"


def find_version(model: Mapping[str, Any] | None, key: str) -> Mapping[str, Any] | None:
    """Return the version entry that was made for `key`, or None."""
    versions = ((model or {}).get("status") or {}).get("versions") or ()
    return next((entry for entry in versions if entry.get("key") == key), None)


def is_full(model: Mapping[str, Any]) -> bool:
    """Return whether the status of a model has no room for one more version."""
    status = model.get("status") or {}
    return len(status.get("versions") or ()) >= MAX_VERSIONS or len(canonical_json(status)) > MAX_STATUS_BYTES


def allocate(*, model: Mapping[str, Any], request: VersionRequest, now: datetime) -> JsonObject | None:
    """Return the model's status with the next version taken for `request`, or None if its key has one already.

    Raises
    ------
    RegistryFullError
        If the status has no room for one more version.
    """
    if find_version(model, request.key) is not None:
        return None
    status: JsonObject = dict(model.get("status") or {})
    versions = list(status.get("versions") or ())
    if is_full(model):
        raise RegistryFullError(
            f"{model['metadata']['name']} has {len(versions)} versions, its status has no room left"
        )
    number = max([request.used, int(status.get("latestVersion") or 0), *(int(v["version"]) for v in versions)]) + 1
    name = model["spec"]["modelName"]
    entry = {
        **request.entry,
        "version": number,
        "id": f"{name}:{number}",
        "key": request.key,
        "state": VersionState.PENDING.value,
        "createdTime": timestamp(now),
    }
    return {**status, "latestVersion": number, "latestId": entry["id"], "versions": [*versions, entry]}
