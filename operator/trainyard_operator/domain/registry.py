"""Version numbers and states of a RegisteredModel, as functions over its status.

A number is taken by writing the status under the resourceVersion it was read with: whoever loses reads again and
takes the next. The key makes asking idempotent, so that no crash between two steps can make a second version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trainyard.contract import canonical_json
from trainyard_operator.api.names import REGISTERED_MODEL, object_name
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.domain.conditions import timestamp
from trainyard_operator.domain.plan import VersionRequest

JsonObject = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Beyond:
    """What the object store holds of a model beyond the numbers that its status knows.

    A status that was restored from an old backup, or was lost, does not know what it once gave away.
    """

    used: int = 0  # the highest number that has left anything
    entries: tuple[JsonObject, ...] = ()  # of the versions that are whole, by number


NOTHING = Beyond()
# What the schema admits in one status; the planner moves older entries to the archive long before.
MAX_ENTRIES = 1000
# The object stays below 1 MiB: the spec, managed fields and one more entry need room beside the status.
MAX_STATUS_BYTES = 900 << 10


class RegistryFullError(Exception):
    """The status of a RegisteredModel has no room for one more version until its pending ones are done."""


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


def highest_number(model: Mapping[str, Any]) -> int:
    """Return the highest version number that the status of a model knows of, 0 where there is none."""
    status = model.get("status") or {}
    return max([int(status.get("latestVersion") or 0), *(int(v["version"]) for v in status.get("versions") or ())])


def is_full(model: Mapping[str, Any]) -> bool:
    """Return whether the status of a model has no room for one more version now."""
    status = model.get("status") or {}
    return len(status.get("versions") or ()) >= MAX_ENTRIES or len(canonical_json(status)) > MAX_STATUS_BYTES


def allocate(
    *, model: Mapping[str, Any], request: VersionRequest, beyond: Beyond = NOTHING, now: datetime
) -> JsonObject | None:
    """Return the model's status with the next version taken for `request`, or None if its key has one already.

    Parameters
    ----------
    beyond
        What the object store holds beyond `highest_number(model)`. Its versions become known again: if one of them
        was made for the key, that is the one. No number that is there is given again.

    Raises
    ------
    RegistryFullError
        If the status has no room for one more version now.
    """
    if find_version(model, request.key) is not None:
        return None
    status: JsonObject = dict(model.get("status") or {})
    versions = list(status.get("versions") or ())
    if is_full(model):
        raise RegistryFullError(
            f"{model['metadata']['name']} has {len(versions)} versions in its status, which has no room now: "
            "older ones leave it once they are made"
        )
    name = model["spec"]["modelName"]
    if any(entry["key"] == request.key for entry in beyond.entries):
        number = max(beyond.used, highest_number(model))
        back = that_fit(status, beyond.entries, key=request.key)
        return {**status, "latestVersion": number, "latestId": f"{name}:{number}", "versions": [*versions, *back]}
    number = max(beyond.used, highest_number(model)) + 1
    entry = {
        **request.entry,
        "version": number,
        "id": f"{name}:{number}",
        "key": request.key,
        "state": VersionState.PENDING.value,
        "createdTime": timestamp(now),
    }
    versions += that_fit({**status, "versions": [*versions, entry]}, beyond.entries)
    return {**status, "latestVersion": number, "latestId": entry["id"], "versions": [*versions, entry]}


def that_fit(status: JsonObject, entries: Sequence[JsonObject], *, key: str = "") -> list[JsonObject]:
    """Return the entry of `key` and as many of the newest others as a status has room for, by number."""
    places = MAX_ENTRIES - len(status.get("versions") or ())
    room = MAX_STATUS_BYTES - len(canonical_json(status))
    kept: list[JsonObject] = []
    for entry in sorted(entries, key=lambda entry: (entry["key"] == key, entry["version"]), reverse=True):
        room -= len(canonical_json(entry)) + 1
        if room < 0 or len(kept) >= places:
            break
        kept.append(entry)
    return sorted(kept, key=lambda entry: int(entry["version"]))


def restored(*, model: Mapping[str, Any], entry: Mapping[str, Any]) -> JsonObject:
    """Return the model's status with an entry of its archive back in its place."""
    status: JsonObject = dict(model.get("status") or {})
    others = [known for known in status.get("versions") or () if known["version"] != entry["version"]]
    archive = status.get("archivedEntries") or {}
    return {
        **status,
        "versions": sorted([*others, dict(entry)], key=lambda one: int(one["version"])),
        "archivedEntries": {**archive, "count": max(int(archive.get("count") or 0) - 1, 0)},
    }
