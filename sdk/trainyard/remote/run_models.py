"""Registering something of a run that was submitted: a wish in its spec, and waiting for the version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from trainyard.errors import ConfigError, ModelPathNotFound, NotFound, RunFailed, Timeout
from trainyard.record import check_model, with_properties
from trainyard.remote.api import JsonObject
from trainyard.remote.files import model_candidates
from trainyard.remote.objects import TRAINING_JOBS, Objects
from trainyard.remote.view import failure_of, near

# Reasons of the condition ModelRegistered that mean: not this one.
_REFUSED: Final = frozenset({"ModelPathNotFound", "ModelNotRegistered", "ConditionNotMet"})


def wish_of(
    name: str,
    path: str | None,
    *,
    tags: Mapping[str, Any] | None,
    properties: Mapping[str, Any] | None,
    description: str | None,
) -> dict[str, Any]:
    """Return an entry of ``spec.models``.

    Raises
    ------
    ConfigError
        If something cannot be used.
    """
    wish = {"name": name, "path": path or name, "tags": with_properties(tags, properties), "description": description}
    try:
        return dict(check_model(wish))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def check_there(path: str, names: Sequence[str]) -> None:
    """Raise a `ModelPathNotFound` with what may have been meant, unless one of `names` is at or below `path`."""
    if not model_candidates(path, names):
        raise ModelPathNotFound(
            f"Could not locate the provided model_path {path} in the set of files uploaded to the run: "
            f"{near(path, names)}"
        )


def wishing(objects: Objects, run_id: str, wish: Mapping[str, Any]) -> JsonObject:
    """Add a wish to those of a run, unless it has it, and return the run."""

    def change(job: JsonObject) -> dict[str, Any] | None:
        models = job["spec"].get("models") or []
        if any((model["name"], model["path"]) == (wish["name"], wish["path"]) for model in models):
            return None
        return {"spec": {"models": [*models, dict(wish)]}}

    return objects.update(TRAINING_JOBS, run_id, change)


def await_version(objects: Objects, job: JsonObject, wish: Mapping[str, Any], seconds: float) -> tuple[JsonObject, int]:
    """Return the run once its status has the version that was wished for, and the version's number.

    Raises
    ------
    RunFailed
        If it will never have it.
    Timeout
        If it takes longer than `seconds`; it is registered all the same.
    """
    name, generation = job["metadata"]["name"], job["metadata"]["generation"]
    try:
        for found in objects.watch(TRAINING_JOBS, name, timeout=seconds):
            entry = _entry_of(found, wish)
            if entry is not None:
                return found, int(entry["version"])
            _check_registering(found, wish, generation)
    except Timeout:
        raise Timeout(
            f"the model {wish['name']} is not registered after {seconds:g} s; it goes on: "
            f"kubectl describe trainingjob {name} says how far it is"
        ) from None
    raise NotFound(f"run {name} was deleted")


def _entry_of(job: JsonObject, wish: Mapping[str, Any]) -> Mapping[str, Any] | None:
    entries = (job.get("status") or {}).get("models") or ()
    return next((e for e in entries if (e["name"], e["path"]) == (wish["name"], wish["path"])), None)


def _check_registering(job: JsonObject, wish: Mapping[str, Any], generation: int) -> None:
    status = job.get("status") or {}
    if status.get("observedGeneration", 0) < generation:
        return
    conditions = status.get("conditions") or ()
    said = next((c for c in conditions if c["type"] == "ModelRegistered"), None)
    if status.get("phase") in {"Failed", "Canceled"}:
        raise RunFailed(f"the model {wish['name']} will not be registered: the run has ended. {failure_of(job)}")
    if said is not None and said["status"] == "False" and said["reason"] in _REFUSED:
        raise RunFailed(f"the model {wish['name']} was not registered: {said['message']}")
