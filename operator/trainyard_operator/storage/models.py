"""Model versions in the object store: copied from a run's outputs, sealed by a manifest that is written last.

Every step may be cut short and done again: a file that is there with the right bytes is not copied again, and the
manifest is written only where there is none. Whoever sees a manifest sees a whole version.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from trainyard.contract import MODEL_MANIFEST_SCHEMA, OutputFile, canonical_json
from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import CopyRefused, ManifestInvalid, ObjectNotFound, ObjectTooLarge
from trainyard_operator.storage.runs import MAX_MANIFEST_BYTES, read_run_manifest
from trainyard_operator.storage.signatures import Signer
from trainyard_operator.storage.store import ObjectStore

__all__ = ["CopyRefused", "copy_version", "highest_version", "model_manifest", "read_model_manifest", "select_files"]

PARALLEL_COPIES = 4
SHOWN_FILES = 10


async def copy_version(  # noqa: PLR0913 - a version's full name
    store: ObjectStore,
    namespace: str,
    model_name: str,
    version: int,
    entry: Mapping[str, Any],
    *,
    signer: Signer | None = None,
) -> None:
    """Make the files of a model version whole; done twice, it changes nothing.

    Parameters
    ----------
    signer
        Signs the version, where versions are signed.
    entry
        The version's entry in the status of its RegisteredModel.

    Raises
    ------
    CopyRefused
        If the version can never be made: the run saved no such files, or they are no longer what the run recorded.
    """
    if await _sealed(store, namespace, model_name, version, entry):
        return
    uid, attempt = entry["run"]["uid"], entry["run"]["attempt"]
    files = select_files(await _outputs(store, namespace, entry), entry["path"])
    source = layout.attempt_prefix(namespace, uid, attempt)
    target = layout.version_prefix(namespace, model_name, version)
    slots = asyncio.Semaphore(PARALLEL_COPIES)

    async def copy(name: str, file: OutputFile) -> None:
        async with slots:
            await _copy_file(store, source + file["path"], target + name, file)

    try:
        async with asyncio.TaskGroup() as group:
            for name, file in files.items():
                group.create_task(copy(name, file))
    except ExceptionGroup as errors:
        # A refusal is final, whatever else went wrong beside it.
        first = min(errors.exceptions, key=lambda error: not isinstance(error, CopyRefused))
        raise first from None

    signed_by = None
    if signer is not None:
        # Before the manifest, which says that all is there: one of a try that was cut short is replaced.
        digests = {name: file["sha256"] for name, file in files.items()}
        signature = await signer.sign(name=f"{model_name}:{version}", files=digests)
        await store.put(layout.model_signature_key(namespace, model_name, version), signature.bundle)
        signed_by = signature.key_sha256
    body = canonical_json(model_manifest(namespace, model_name, version, entry, files, signed_by=signed_by))
    key = layout.model_manifest_key(namespace, model_name, version)
    if not await store.put(key, body, only_if_absent=True):
        await _sealed(store, namespace, model_name, version, entry)


async def read_model_manifest(
    store: ObjectStore, namespace: str, model_name: str, version: int
) -> tuple[dict[str, Any], str] | None:
    """Return a version's manifest and the SHA-256 of its bytes, None where the version is not whole yet.

    Raises
    ------
    ManifestInvalid
        If the object there is no model manifest.
    """
    key = layout.model_manifest_key(namespace, model_name, version)
    try:
        body = await store.get(key, limit=2 * MAX_MANIFEST_BYTES)
        document = None if body is None else await asyncio.to_thread(json.loads, body)
    except (ObjectTooLarge, ValueError, RecursionError) as error:
        raise ManifestInvalid(f"{key} is no model manifest: {error}") from error
    if body is None:
        return None
    if not isinstance(document, dict) or document.get("schema") != MODEL_MANIFEST_SCHEMA:
        raise ManifestInvalid(f"{key} is no model manifest: it has not the schema {MODEL_MANIFEST_SCHEMA!r}")
    return document, hashlib.sha256(body).hexdigest()


async def highest_version(store: ObjectStore, namespace: str, model_name: str) -> int:
    """Return the highest version number that has left anything in the object store, 0 where none has."""
    prefix, after, highest = f"{layout.models_prefix(namespace)}{model_name}/", "", 0
    while True:
        page = await store.list(prefix, after=after, delimiter="/")
        names = [*page.folders, *(info.key for info in page.objects)]
        numbers = (name.removeprefix(prefix).split("/")[0].split(".")[0] for name in names)
        highest = max([highest, *(int(number) for number in numbers if number.isdecimal())])
        if not page.more:
            return highest
        after = max(names)


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


def model_manifest(  # noqa: PLR0913 - a version's full name
    namespace: str,
    model_name: str,
    version: int,
    entry: Mapping[str, Any],
    files: Mapping[str, OutputFile],
    *,
    signed_by: str | None = None,
) -> dict[str, Any]:
    """Return a version's manifest: a function of the entry, the files and the key, with no clock in it."""
    return {
        "schema": MODEL_MANIFEST_SCHEMA,
        "namespace": namespace,
        "model": model_name,
        "version": version,
        "id": f"{model_name}:{version}",
        "key": entry["key"],
        "run": {
            "name": entry["run"]["name"],
            "uid": entry["run"]["uid"],
            "attempt": entry["run"]["attempt"],
            "manifestSha256": entry.get("runManifestSha256"),
        },
        "sourceSha256": entry.get("sourceSha256"),
        "imageDigest": entry.get("imageDigest"),
        "metrics": {name: _plain(value) for name, value in (entry.get("metrics") or {}).items()},
        "tags": dict(entry.get("tags") or {}),
        "createdTime": entry.get("createdTime"),
        **({"signature": {"keySha256": signed_by}} if signed_by else {}),
        "files": [
            {"path": name, "bytes": files[name]["bytes"], "sha256": files[name]["sha256"]} for name in sorted(files)
        ],
    }


async def _outputs(store: ObjectStore, namespace: str, entry: Mapping[str, Any]) -> list[OutputFile]:
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
    return manifest["outputs"]


async def _copy_file(store: ObjectStore, source: str, target: str, file: OutputFile) -> None:
    there = await store.head(target)
    if there is not None and there.bytes == file["bytes"] and there.sha256 == file["sha256"]:
        return
    try:
        await store.copy(source, target)
        copied = await store.digest(target)
    except ObjectNotFound as error:
        raise CopyRefused(f"{file['path']} is not in the object store any more") from error
    if (copied.bytes, copied.sha256) != (file["bytes"], file["sha256"]):
        raise CopyRefused(f"{file['path']} has other bytes than the run's manifest says: it was changed after the run")


async def _sealed(store: ObjectStore, namespace: str, model_name: str, version: int, entry: Mapping[str, Any]) -> bool:
    try:
        found = await read_model_manifest(store, namespace, model_name, version)
    except ManifestInvalid as error:
        raise CopyRefused(str(error)) from error
    if found is None:
        return False
    manifest, _ = found
    if manifest.get("key") != entry["key"]:
        raise CopyRefused(
            f"{model_name}:{version} is already in the object store, made from another run: it was registered before "
            "in a RegisteredModel that was deleted"
        )
    return True


def _plain(value: float | str) -> float | str:
    # The API server gives 1.0 back as 1; the manifest must not depend on which of the two was at hand.
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return value


def _some(outputs: Sequence[OutputFile]) -> str:
    if not outputs:
        return "no file at all: save it below outputs/"
    names = ", ".join(sorted(file["path"] for file in outputs)[:SHOWN_FILES])
    return names + (f" and {len(outputs) - SHOWN_FILES} more" if len(outputs) > SHOWN_FILES else "")
