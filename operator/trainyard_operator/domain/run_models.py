"""Registering a finished run's outputs: from `spec.models` to version requests, and from versions to the status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard_operator.api.names import object_name
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.api.training_job import ModelSpec, TrainingJobSpec
from trainyard_operator.domain.attempts import latest_attempt
from trainyard_operator.domain.metrics import bounded
from trainyard_operator.domain.plan import VersionRequest
from trainyard_operator.domain.registry import build_model, find_version, is_full, version_key
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.domain.run_view import RunView, SavedRun

JsonObject = dict[str, Any]

_LISTED_FILES = 20


@dataclass(frozen=True, kw_only=True)
class Registration:
    """How far the models of a run are: `entries` for the status, what is still to do, or why it cannot be done."""

    entries: tuple[JsonObject, ...] = ()
    create: tuple[JsonObject, ...] = ()
    register: tuple[VersionRequest, ...] = ()
    waiting_for: tuple[str, ...] = ()
    failure: Failure | None = None


def registration(
    *,
    parent: Mapping[str, Any],
    spec: TrainingJobSpec,
    view: RunView,
    saved: SavedRun,
    image_digest: str | None,
) -> Registration:
    """Return what has become of each entry of `spec.models`, and the next step for those without a version."""
    entries: list[JsonObject] = []
    create: list[JsonObject] = []
    register: list[VersionRequest] = []
    waiting: list[str] = []
    failure: Failure | None = None
    done = {(e.get("name"), e.get("path")): e for e in (parent.get("status") or {}).get("models") or ()}
    for wish in spec.models:
        if (wish.name, wish.path) in done:
            entries.append(done[wish.name, wish.path])
            continue
        model = view.models.get(object_name(wish.name))
        version = find_version(model, version_key(run_uid=_uid(parent), model_name=wish.name, path=wish.path))
        if version is None:
            missing = path_failure(wish, saved) or _room_failure(wish, model)
            if missing is not None:
                failure = failure or missing
                continue
            if model is None:
                create.append(build_model(namespace=parent["metadata"]["namespace"], model_name=wish.name))
            register.append(_request(parent=parent, wish=wish, view=view, saved=saved, image_digest=image_digest))
            waiting.append(wish.name)
        elif version["state"] == VersionState.READY:
            entries.append(
                {
                    "name": wish.name,
                    "path": wish.path,
                    "version": version["version"],
                    "id": version["id"],
                    "uri": version.get("uri", ""),
                }
            )
        elif version["state"] == VersionState.FAILED:
            words = f"{version['id']} could not be made: {version.get('message', '')}"
            failure = failure or Failure(reason=Reason.MODEL_NOT_REGISTERED, message=words)
        else:
            waiting.append(version["id"])
    return Registration(
        entries=tuple(entries),
        create=tuple({m["metadata"]["name"]: m for m in create}.values()),
        register=tuple(register),
        waiting_for=tuple(waiting),
        failure=failure,
    )


def path_failure(wish: ModelSpec, saved: SavedRun) -> Failure | None:
    """Return why `wish.path` cannot be registered: the run saved nothing there. The message lists what it saved."""
    paths = [file["path"] for file in saved.manifest["outputs"]]
    if any(path == wish.path or path.startswith(wish.path.rstrip("/") + "/") for path in paths):
        return None
    if paths:
        listed = ", ".join(paths[:_LISTED_FILES]) + (
            f" and {len(paths) - _LISTED_FILES} more" * (len(paths) > _LISTED_FILES)
        )
        there = f"the run saved {listed}"
    else:
        there = "the run saved nothing: the script must write below outputs/"
    return Failure(
        reason=Reason.MODEL_PATH_NOT_FOUND,
        message=f"spec.models: there is no file at {wish.path} for the model {wish.name}; {there}",
    )


def _room_failure(wish: ModelSpec, model: Mapping[str, Any] | None) -> Failure | None:
    if model is None or not is_full(model):
        return None
    words = f"spec.models: {wish.name} has as many versions as its RegisteredModel can hold: register under a new name"
    return Failure(reason=Reason.MODEL_NOT_REGISTERED, message=words)


def _request(
    *, parent: Mapping[str, Any], wish: ModelSpec, view: RunView, saved: SavedRun, image_digest: str | None
) -> VersionRequest:
    attempt = latest_attempt(parent.get("status") or {}, view.job)
    digests = {"sourceSha256": saved.manifest["sourceSha256"], "imageDigest": image_digest}
    return VersionRequest(
        model=object_name(wish.name),
        key=version_key(run_uid=_uid(parent), model_name=wish.name, path=wish.path),
        used=view.used_numbers.get(wish.name, 0),
        entry={
            "run": {"name": parent["metadata"]["name"], "uid": _uid(parent), "attempt": attempt},
            "path": wish.path,
            "runManifestSha256": saved.sha256,
            "metrics": bounded(saved.manifest["metrics"]),
            **({"description": wish.description} if wish.description else {}),
            **({"tags": dict(wish.tags)} if wish.tags else {}),
            **{name: value for name, value in digests.items() if value},
        },
    )


def _uid(parent: Mapping[str, Any]) -> str:
    uid: str = parent["metadata"]["uid"]
    return uid
