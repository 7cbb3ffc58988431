"""Where the files of a model version come from: a run's outputs, the namespace's datastore, or another version.

Each kind of origin names its files with their digests before a byte is copied, so that the copies can be held against
them, and says what the version's manifest tells of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainyard.contract import OutputFile, RunManifest
from trainyard_operator.domain.model_sources import first_source
from trainyard_operator.domain.provenance import provenance
from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import CopyRefused, ManifestInvalid
from trainyard_operator.storage.model_imports import read_import
from trainyard_operator.storage.model_manifest import read_model_manifest
from trainyard_operator.storage.runs import read_run_manifest
from trainyard_operator.storage.store import ObjectStore

SHOWN_FILES = 10
# What of a version's manifest is about that version itself, and not about how its files were made.
_OWN = frozenset(
    {
        "schema",
        "namespace",
        "model",
        "version",
        "id",
        "key",
        "createdTime",
        "files",
        "run",
        "import",
        "promotedFrom",
        "signature",
    }
)


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file to copy: its key, what it is called where it comes from, and what its copy must be."""

    key: str
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Everything that a version is made from.

    Attributes
    ----------
    files
        By their names inside the version.
    provenance
        What the manifest says of where they are from.
    changed
        Whom a copy with other bytes contradicts, and what that means; reads on from "has other bytes than".
    inherited
        What else the manifest says, taken over from the run's manifest or from another version's.
    may_shrink
        Whether another look at the same origin may show fewer files.
    """

    files: Mapping[str, SourceFile]
    provenance: Mapping[str, Any]
    changed: str
    inherited: Mapping[str, Any] = field(default_factory=dict)
    may_shrink: bool = False


async def find_origin(store: ObjectStore, namespace: str, entry: Mapping[str, Any]) -> Origin:
    """Return what the version with this status entry is made from.

    Raises
    ------
    CopyRefused
        If it is not there, or not what the entry says, so that the version can never be made.
    """
    for name, find in _FINDERS.items():
        if name in entry:
            return await find(store, namespace, entry)
    raise CopyRefused("its entry in status.versions does not say what it is made from")


def select_files(outputs: Sequence[OutputFile], path: str) -> dict[str, OutputFile]:
    """Return the outputs that make up the model at `path`, by their names inside the version.

    `path` is one file, which keeps its own name, or a folder, whose files keep theirs below it.

    Raises
    ------
    CopyRefused
        If there is nothing at `path`; the message lists what there is.
    """
    path = path.rstrip("/")
    folder = f"{path}/"
    for file in outputs:
        if file["path"] == path:
            return {path.rsplit("/", 1)[-1]: file}
    files = {file["path"].removeprefix(folder): file for file in outputs if file["path"].startswith(folder)}
    if not files:
        raise CopyRefused(f"the run saved nothing at {path!r}; it saved {_some(outputs)}")
    return files


async def _from_run(store: ObjectStore, namespace: str, entry: Mapping[str, Any]) -> Origin:
    run = entry["run"]
    prefix = layout.attempt_prefix(namespace, run["uid"], run["attempt"])
    manifest = await _run_manifest(store, namespace, entry)
    files = select_files(manifest["outputs"], entry["path"])
    return Origin(
        files={
            name: SourceFile(key=prefix + file["path"], name=file["path"], bytes=file["bytes"], sha256=file["sha256"])
            for name, file in files.items()
        },
        provenance={
            "run": {
                "name": run["name"],
                "uid": run["uid"],
                "attempt": run["attempt"],
                "manifestSha256": entry.get("runManifestSha256"),
            }
        },
        changed="the run's manifest says: it was changed after the run",
        inherited=provenance(manifest, files),
    )


async def _from_datastore(store: ObjectStore, namespace: str, entry: Mapping[str, Any]) -> Origin:
    wish = entry["import"]
    found = await read_import(store, namespace, wish["datastorePath"], sha256=wish.get("sha256"))
    return Origin(
        files={
            name: SourceFile(key=info.key, name=name, bytes=info.bytes, sha256=info.sha256 or "")
            for name, info in found.items()
        },
        provenance={"import": dict(wish)},
        changed="it had a moment before: it was changed while it was imported; import it again under a new key",
        may_shrink=True,
    )


async def _from_version(store: ObjectStore, _namespace: str, entry: Mapping[str, Any]) -> Origin:
    source = entry["promotedFrom"]
    namespace, model, version = source["namespace"], source["model"], source["version"]
    name = f"{namespace}/{model}:{version}"
    try:
        found = await read_model_manifest(store, namespace, model, version)
    except ManifestInvalid as error:
        raise CopyRefused(str(error)) from error
    if found is None:
        raise CopyRefused(f"the manifest of {name} is not in the object store")
    manifest, sha256 = found
    if sha256 != source["manifestSha256"]:
        raise CopyRefused(f"the manifest of {name} has the SHA-256 {sha256}, not {source['manifestSha256']}")
    prefix = layout.version_prefix(namespace, model, version)
    identity = {part: source[part] for part in ("namespace", "model", "version", "manifestSha256")}
    return Origin(
        files={
            file["path"]: SourceFile(
                key=prefix + file["path"], name=file["path"], bytes=file["bytes"], sha256=file["sha256"]
            )
            for file in manifest["files"]
        },
        provenance={"promotedFrom": {**identity, **first_source(manifest, namespace)}},
        changed=f"the manifest of {name} says: that version was changed after it was made",
        inherited={part: value for part, value in manifest.items() if part not in _OWN},
    )


async def _run_manifest(store: ObjectStore, namespace: str, entry: Mapping[str, Any]) -> RunManifest:
    uid = entry["run"]["uid"]
    try:
        found = await read_run_manifest(store, namespace, uid, entry["run"]["attempt"])
    except ManifestInvalid as error:
        raise CopyRefused(str(error)) from error
    if found is None:
        raise CopyRefused(f"the manifest of the run {uid} is not in the object store")
    manifest, sha256 = found
    if entry.get("runManifestSha256") not in {None, sha256}:
        raise CopyRefused(f"the manifest of the run {uid} is not the one that the run ended with")
    return manifest


def _some(outputs: Sequence[OutputFile]) -> str:
    if not outputs:
        return "no file at all: save it below outputs/"
    names = ", ".join(sorted(file["path"] for file in outputs)[:SHOWN_FILES])
    return names + (f" and {len(outputs) - SHOWN_FILES} more" if len(outputs) > SHOWN_FILES else "")


_FINDERS: Mapping[str, Callable[[ObjectStore, str, Mapping[str, Any]], Awaitable[Origin]]] = {
    "run": _from_run,
    "import": _from_datastore,
    "promotedFrom": _from_version,
}
