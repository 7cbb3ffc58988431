"""Which version of which model is meant: what people give, against what the registry has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trainyard.contract import GROUP
from trainyard.errors import ConfigError, NotFound
from trainyard.model_manifest import Manifest
from trainyard.naming import object_name
from trainyard.record import PROPERTY
from trainyard.remote.api import JsonObject
from trainyard.remote.objects import REGISTERED_MODELS
from trainyard.remote.view import has_pairs, note, noted

if TYPE_CHECKING:
    from trainyard.remote.workspace import Workspace

READY: Final = "Ready"
KEPT: Final = frozenset({"Ready", "Archived"})
SHOWN: Final = 10
# The tags that people give versions afterwards, by number; those of their registration never change.
TAGS_ANNOTATION: Final = f"{GROUP}/version-tags"

# Azure ML's way to say which tags: a dictionary, or a list of names and of pairs.
Pairs = str | Mapping[str, Any] | Sequence[str | Sequence[str]]


def wanted(name: str | None, model_id: str | None, version: int | str | None) -> tuple[str, int | None]:
    """Return which model is meant, and which number; None for the latest.

    Raises
    ------
    ConfigError
        If what is given makes no sense.
    """
    if model_id is not None:
        name, mark, number = model_id.rpartition(":")
        if not mark or not number.isdecimal():
            raise ConfigError(f"id is {model_id!r}: give NAME:VERSION, such as sklearn_mnist:1")
        version = number
    if not name:
        raise ConfigError("which model? Give its name, or an id such as sklearn_mnist:1")
    if version is None:
        return name, None
    if isinstance(version, bool) or not str(version).isdecimal():
        raise ConfigError(f"version is {version!r}: give a number such as 3")
    return name, int(version)


def models_named(workspace: Workspace, name: str) -> list[JsonObject]:
    """Return the model of that name, or all models, for the names of those that there are."""
    try:
        return [workspace.objects.get(REGISTERED_MODELS, object_name(name))]
    except NotFound:
        return workspace.objects.list(REGISTERED_MODELS)


def model_name(model: Mapping[str, Any]) -> str:
    """Return the name that people gave a model."""
    return str(model["spec"]["modelName"])


def usable(model: Mapping[str, Any], *, latest: bool) -> list[JsonObject]:
    """Return the entries of a model's versions that can be used."""
    entries = (model.get("status") or {}).get("versions") or ()
    if not latest:
        return [entry for entry in entries if entry["state"] in KEPT]
    ready = [entry for entry in entries if entry["state"] == READY]
    return [max(ready, key=lambda entry: int(entry["version"]))] if ready else []


def find_version(
    models: Sequence[JsonObject],
    name: str,
    *,
    number: int | None,
    alias: str | None,
    like: Mapping[str, Any] | None = None,
) -> tuple[JsonObject, JsonObject]:
    """Return a model and the entry of one of its versions.

    Raises
    ------
    NotFound
        If there is none: with those that there are.
    """
    model = next((model for model in models if model_name(model) == name), None)
    if model is None:
        names = ", ".join(sorted(map(model_name, models))[:SHOWN]) or "none"
        raise NotFound(f"ModelNotFound: Model with name {name} not found in provided workspace; it has: {names}")
    status = model.get("status") or {}
    if alias is not None:
        aliases = status.get("aliases") or {}
        if alias not in aliases:
            raise NotFound(f"the model {name} has no alias {alias!r}; it has: {', '.join(sorted(aliases)) or 'none'}")
        number = int(aliases[alias]["version"])
    wanted_by = {key: value for key, value in (like or {}).items() if value is not None}
    if number is None and wanted_by:
        found = [entry for entry in usable(model, latest=False) if asked_for(model, entry, **wanted_by)]
        if not found:
            said = ", ".join(f"{key}={value!r}" for key, value in wanted_by.items())
            raise NotFound(f"no version of {name} that can be used has {said}")
        return model, max(found, key=lambda entry: int(entry["version"]))
    if number is None:
        ready = usable(model, latest=True)
        if not ready:
            raise NotFound(f"no version of {name} is Ready: kubectl describe rmodel says why")
        return model, ready[0]
    entries = {entry["version"]: entry for entry in status.get("versions") or ()}
    if number not in entries:
        numbers = ", ".join(str(version) for version in sorted(entries, reverse=True)[:SHOWN]) or "none"
        raise NotFound(f"the model {name} has no version {number}; its newest are: {numbers}")
    return model, entries[number]


def place_of(path: str, manifest: Manifest) -> Path:
    """Return the folder of the target that a version's files go to: none for a file, else the folder's own name."""
    name = path.rstrip("/").rsplit("/", 1)[-1]
    if not name or list(manifest.files) == [name]:
        return Path()
    return Path(name)


def tags_of_version(model: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a version: those of its registration, and over them those that it was given afterwards."""
    inside = {name: value for name, value in (entry.get("tags") or {}).items() if not name.startswith(PROPERTY)}
    return {**inside, **noted(model, TAGS_ANNOTATION).get(str(entry["version"]), {})}


def properties_of_version(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return what a version was registered with, and what the registry noted of its making."""
    tags = (entry.get("tags") or {}).items()
    given = {name.removeprefix(PROPERTY): value for name, value in tags if name.startswith(PROPERTY)}
    facts = ("manifestSha256", "runManifestSha256", "sourceSha256", "imageDigest")
    return {**given, **{name: entry[name] for name in facts if name in entry}}


def with_version_tags(model: Mapping[str, Any], version: int, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the change that gives a version these tags, in place of those that it was given afterwards before."""
    there = noted(model, TAGS_ANNOTATION)
    return note(TAGS_ANNOTATION, {**there, str(version): dict(tags)})


def asked_for(
    model: Mapping[str, Any],
    entry: Mapping[str, Any],
    *,
    tags: Pairs | None = None,
    properties: Pairs | None = None,
    run_id: str | None = None,
) -> bool:
    """Return whether a version has these tags and properties, and is from that run."""
    return (
        _has(tags_of_version(model, entry), tags)
        and _has(properties_of_version(entry), properties)
        and run_id in {None, (entry.get("run") or {}).get("name")}
    )


def _has(there: Mapping[str, str], wanted: Pairs | None) -> bool:
    if wanted is None or isinstance(wanted, (str, Mapping)):
        return has_pairs(there, wanted)
    return all(has_pairs(there, one if isinstance(one, str) else {one[0]: one[1]}) for one in wanted)
