"""Registering a finished run's outputs: from what was wished to version requests, and from versions to the status.

Wishes come from `spec.models` and, by way of the run's manifest, from the script itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainyard_operator.api.names import object_name
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.api.training_job import ModelSpec, TrainingJobSpec
from trainyard_operator.domain.attempts import latest_attempt
from trainyard_operator.domain.conditions import shorten
from trainyard_operator.domain.metrics import bounded
from trainyard_operator.domain.model_keeping import GOING
from trainyard_operator.domain.plan import VersionRequest
from trainyard_operator.domain.registry import build_model, find_version, version_key
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.domain.run_view import RunView, SavedRun

JsonObject = dict[str, Any]

_LISTED_FILES = 20
_HELD_CHARS = 512


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A model to register, and where that was written, for messages."""

    model: ModelSpec
    where: str


@dataclass(frozen=True, kw_only=True)
class Registration:
    """How far the models of a run are: `entries` for the status, what is still to do, or why it cannot be done.

    `held` are the entries of those that are not registered because of their `when`.
    """

    entries: tuple[JsonObject, ...] = ()
    held: tuple[JsonObject, ...] = ()
    create: tuple[JsonObject, ...] = ()
    register: tuple[VersionRequest, ...] = ()
    waiting_for: tuple[str, ...] = ()
    failure: Failure | None = None
    trouble: str = ""

    @property
    def words(self) -> str:
        """What is waited for, and what keeps it from coming."""
        what = f"registering {', '.join(self.waiting_for)}"
        return f"{what}; it is tried again: {self.trouble}" if self.trouble else what


def registration(
    *,
    parent: Mapping[str, Any],
    spec: TrainingJobSpec,
    view: RunView,
    saved: SavedRun,
    image_digest: str | None,
) -> Registration:
    """Return what has become of each model of the run, and the next step for those without a version."""
    entries: list[JsonObject] = []
    held: list[JsonObject] = []
    create: list[JsonObject] = []
    register: list[VersionRequest] = []
    waiting: list[str] = []
    failure: Failure | None = None
    done = {(e.get("name"), e.get("path")): e for e in (parent.get("status") or {}).get("models") or ()}
    for wished in wishes(spec, saved):
        wish = wished.model
        if (wish.name, wish.path) in done:
            entries.append(done[wish.name, wish.path])
            continue
        model = view.models.get(object_name(wish.name))
        version = find_version(model, version_key(run_uid=_uid(parent), model_name=wish.name, path=wish.path))
        if version is None:
            unmet = wish.when.unmet(saved.manifest["metrics"]) if wish.when is not None else ""
            if unmet:
                held.append(_held(wished, unmet))
                continue
            missing = path_failure(wished, saved)
            if missing is not None:
                failure = failure or missing
                continue
            if model is None:
                create.append(build_model(namespace=parent["metadata"]["namespace"], model_name=wish.name))
            register.append(_request(parent=parent, wish=wish, view=view, saved=saved, image_digest=image_digest))
            waiting.append(wish.name)
        elif version["state"] in {VersionState.READY, VersionState.ARCHIVED}:
            entries.append(
                {
                    "name": wish.name,
                    "path": wish.path,
                    "version": version["version"],
                    "id": version["id"],
                    "uri": version.get("uri", ""),
                }
            )
        elif (words := _never(version)) is not None:
            failure = failure or Failure(reason=Reason.MODEL_NOT_REGISTERED, message=words)
        elif version["state"] == VersionState.CORRUPTED:
            words = f"{version['id']} is not what it was registered as: {version.get('message', '')}"
            failure = failure or Failure(reason=Reason.MODEL_NOT_REGISTERED, message=words)
        else:
            waiting.append(version["id"])
    return Registration(
        entries=tuple(entries),
        held=tuple(held),
        create=tuple({m["metadata"]["name"]: m for m in create}.values()),
        register=tuple(register),
        waiting_for=tuple(waiting),
        failure=failure,
        trouble=view.store_trouble,
    )


def _never(version: Mapping[str, Any]) -> str | None:
    """Return why a version will never be Ready, None where it may be."""
    if version["state"] == VersionState.FAILED:
        return f"{version['id']} could not be made: {version.get('message', '')}"
    if version["state"] in GOING:
        return f"{version['id']} was made from this path of the run, and was deleted since: save it in another run"
    return None


def wishes(spec: TrainingJobSpec, saved: SavedRun) -> tuple[Wish, ...]:
    """Return the models of a run: those of its spec, then those that only its script wished."""
    named = {(model.name, model.path) for model in spec.models}
    told = tuple(
        ModelSpec(
            name=wish["name"],
            path=wish["path"],
            description=wish.get("description"),
            tags=wish.get("tags", {}),
        )
        for wish in saved.manifest.get("models", ())
        if (wish["name"], wish["path"]) not in named
    )
    return (
        *(Wish(model=model, where="spec.models") for model in spec.models),
        *(Wish(model=model, where="Run.register_model") for model in told),
    )


def has_grown(parent: Mapping[str, Any]) -> bool:
    """Return whether `spec.models` has entries that the status has no version of and does not hold back as they are."""
    spec = parent.get("spec")
    wishes = spec.get("models") if isinstance(spec, Mapping) else None
    # The spec has not been parsed, and may be anything.
    named = [entry for entry in wishes if isinstance(entry, Mapping)] if isinstance(wishes, list) else []
    status = parent.get("status") or {}
    done = [_place(entry) for entry in status.get("models") or ()]
    held = [(*_place(entry), entry.get("when")) for entry in status.get("heldModels") or ()]
    return any(_place(entry) not in done and (*_place(entry), entry.get("when")) not in held for entry in named)


def refusal(held: Sequence[Mapping[str, Any]]) -> Failure | None:
    """Return why a completed run has not registered the models that are `held` back, or None where there are none."""
    if not held:
        return None
    return Failure(reason=Reason.CONDITION_NOT_MET, message="; ".join(entry.get("message", "") for entry in held))


def _place(entry: Mapping[str, Any]) -> tuple[Any, Any]:
    return entry.get("name"), entry.get("path")


def _held(wished: Wish, unmet: str) -> JsonObject:
    wish, when = wished.model, wished.model.when
    bounds = {"atLeast": when.at_least, "atMost": when.at_most} if when else {}
    words = f"{wished.where}: {wish.name} is not registered: its `when` {unmet}"
    return {
        "name": wish.name,
        "path": wish.path,
        "when": {
            **({"metric": when.metric} if when else {}),
            **{name: bound for name, bound in bounds.items() if bound is not None},
        },
        "message": shorten(words, _HELD_CHARS),
    }


def path_failure(wished: Wish, saved: SavedRun) -> Failure | None:
    """Return why a model cannot be registered: the run saved nothing at its path. The message lists what it saved."""
    wish = wished.model
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
        message=f"{wished.where}: there is no file at {wish.path} for the model {wish.name}; {there}",
    )


def _request(
    *, parent: Mapping[str, Any], wish: ModelSpec, view: RunView, saved: SavedRun, image_digest: str | None
) -> VersionRequest:
    attempt = latest_attempt(parent.get("status") or {}, view.job)
    digests = {"sourceSha256": saved.manifest["sourceSha256"], "imageDigest": image_digest}
    return VersionRequest(
        model=object_name(wish.name),
        key=version_key(run_uid=_uid(parent), model_name=wish.name, path=wish.path),
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
