"""A model of this machine as a version: its files go to the datastore, and an import names them.

The key of the import is the digest of the files, so that the same files are one version however often they are sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trainyard.contract import canonical_json
from trainyard.errors import ConfigError, Conflict, NotFound, Timeout, TrainyardError
from trainyard.naming import object_name
from trainyard.record import check_model
from trainyard.remote.api import JsonObject
from trainyard.remote.datastore import Advance, LocalFile, files_below, progress, upload_of
from trainyard.remote.objects import API_VERSION, REGISTERED_MODELS
from trainyard.transfer import Upload

if TYPE_CHECKING:
    from trainyard.remote.workspace import Workspace

FOLDER: Final = "models"
_KEY_DIGITS: Final = 40
# States that an import does not come out of.
_OVER: Final = frozenset({"Failed", "Corrupted", "Deleting", "Deleted"})


@dataclass(frozen=True, kw_only=True)
class Import:
    """An entry of ``spec.imports``, and what has to be uploaded for it."""

    key: str
    uploads: tuple[Upload, ...]
    entry: dict[str, Any]


def register_local(  # noqa: PLR0913 - all but the first two by name
    workspace: Workspace, path: Path, *, name: str, tags: object, description: str | None, seconds: float
) -> tuple[JsonObject, JsonObject]:
    """Return the model, and the entry of the version that a file or folder has become.

    Raises
    ------
    Timeout
        If it takes longer than `seconds`; it is registered all the same.
    """
    try:
        wish = check_model({"name": name, "path": "outputs", "tags": tags, "description": description})
    except ValueError as error:
        raise ConfigError(str(error)) from error
    about: dict[str, Any] = {key: value for key, value in wish.items() if key in {"tags", "description"}}
    files = _files_of(path)
    with progress(sum(file.stat().st_size for file in files), show=True) as advance:
        made = importing(path, files, name=name, about=about, advance=advance)
        if _version(_found(workspace, name), made.key) is None:
            workspace.gateway.put(made.uploads, op="data-put")
            _name_import(workspace, name, made)
    return _await(workspace, name, made.key, seconds)


def importing(path: Path, files: Sequence[Path], *, name: str, about: Mapping[str, Any], advance: Advance) -> Import:
    """Return the import of a file, or of the files of a folder."""
    root = path.parent if path.is_file() else path
    local = [LocalFile(source=file, target=file.relative_to(root).as_posix()) for file in files]
    uploads = [upload_of(file, advance=advance) for file in local]
    listing = [[upload.path, upload.size, upload.sha256] for upload in uploads]
    key = f"local-{hashlib.sha256(canonical_json(listing)).hexdigest()[:_KEY_DIGITS]}"
    folder = f"{FOLDER}/{name}/{key}/"
    alone = path.is_file()
    entry = {"key": key, "datastorePath": folder + (uploads[0].path if alone else ""), **about}
    if alone:
        entry["sha256"] = uploads[0].sha256
    placed = (
        Upload(path=folder + upload.path, size=upload.size, opener=upload.opener, sha256=upload.sha256)
        for upload in uploads
    )
    return Import(key=key, uploads=tuple(placed), entry=entry)


def _files_of(path: Path) -> list[Path]:
    files = [path] if path.is_file() else files_below(path) if path.is_dir() else []
    if not files:
        raise ConfigError(f"there is no file at {path}: give the file or folder of the model")
    return files


def _found(workspace: Workspace, name: str) -> JsonObject | None:
    try:
        return workspace.objects.get(REGISTERED_MODELS, object_name(name))
    except NotFound:
        return None


def _name_import(workspace: Workspace, name: str, made: Import) -> None:
    def change(model: JsonObject) -> dict[str, Any] | None:
        imports: Sequence[JsonObject] = model["spec"].get("imports") or []
        if any(entry["key"] == made.key for entry in imports):
            return None
        return {"spec": {"imports": [*imports, made.entry]}}

    document = {
        "apiVersion": API_VERSION,
        "kind": "RegisteredModel",
        "metadata": {"name": object_name(name)},
        "spec": {"modelName": name, "imports": [made.entry]},
    }
    if _found(workspace, name) is None:
        try:
            workspace.objects.create(REGISTERED_MODELS, document)
        except Conflict:
            # A run has registered its first version at the same moment.
            pass
        else:
            return
    workspace.objects.update(REGISTERED_MODELS, object_name(name), change)


def _await(workspace: Workspace, name: str, key: str, seconds: float) -> tuple[JsonObject, JsonObject]:
    try:
        for model in workspace.objects.watch(REGISTERED_MODELS, object_name(name), timeout=seconds):
            entry = _version(model, key)
            if entry is not None and entry["state"] == "Ready":
                return model, entry
            if entry is not None and entry["state"] in _OVER:
                raise TrainyardError(f"{entry['id']} is {entry['state']}: {entry.get('message', 'see its object')}")
    except Timeout:
        raise Timeout(
            f"the model {name} is not registered after {seconds:g} s; it goes on: "
            f"kubectl describe rmodel {object_name(name)} says how far it is"
        ) from None
    raise NotFound(f"the model {name} was deleted")


def _version(model: JsonObject | None, key: str) -> JsonObject | None:
    entries = ((model or {}).get("status") or {}).get("versions") or ()
    return next((entry for entry in entries if (entry.get("import") or {}).get("key") == key), None)
