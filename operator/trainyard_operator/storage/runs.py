"""What belongs to one run: its frozen source, and the manifest that its pod writes last."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard.contract import (
    MAX_MODELS_OF_SCRIPT,
    MAX_OUTPUT_FILES,
    MAX_REQUIREMENTS_BYTES,
    MAX_WARNINGS,
    OUTPUTS,
    RUN_MANIFEST_SCHEMA,
    InputRecord,
    ModelWish,
    OutputFile,
    RunManifest,
    check_relative_path,
)
from trainyard.record import check_model, check_tags
from trainyard_operator.api.inputs import MAX_INPUTS
from trainyard_operator.domain.metrics import bounded
from trainyard_operator.domain.source_archive import archive
from trainyard_operator.storage import layout
from trainyard_operator.storage.erasure import erase
from trainyard_operator.storage.errors import ManifestInvalid, ObjectNotFound, ObjectTooLarge
from trainyard_operator.storage.store import ObjectInfo, ObjectStore

# Enough for 20,000 files with paths of some 600 bytes, and little enough to be held in memory.
MAX_MANIFEST_BYTES = 16 << 20

# Of an address of an input.
MAX_INPUT_TEXT = 4096

# Metadata of a frozen source, written together with it.
COMMIT = "commit"

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class FrozenSource:
    """The archive that every attempt of a run unpacks; `commit` is what it was made from, where that was git."""

    key: str
    sha256: str
    bytes: int
    commit: str | None = None


async def erase_run(store: ObjectStore, namespace: str, uid: str) -> None:
    """Delete all that a run has in the object store."""
    await erase(store, layout.run_prefix(namespace, uid))


async def frozen_source(store: ObjectStore, namespace: str, uid: str) -> FrozenSource | None:
    """Return the source that was frozen for a run, None where that has not happened yet."""
    try:
        info = await store.digest(layout.source_key(namespace, uid))
    except ObjectNotFound:
        return None
    return _frozen(info)


async def freeze_copy(store: ObjectStore, namespace: str, uid: str, *, origin: str) -> FrozenSource:
    """Make a copy of the object `origin` a run's source; what else it says of itself goes with it.

    Raises
    ------
    ObjectNotFound
        If there is no such object.
    """
    key = layout.source_key(namespace, uid)
    await store.copy(origin, key)
    return _frozen(await store.digest(key))


async def freeze_source(store: ObjectStore, namespace: str, uid: str, files: Mapping[str, bytes]) -> FrozenSource:
    """Write a run's source unless it is written already; return what is written, whoever wrote it."""
    body = await asyncio.to_thread(archive, files)
    key = layout.source_key(namespace, uid)
    if await store.put(key, body, only_if_absent=True):
        return FrozenSource(key=key, sha256=hashlib.sha256(body).hexdigest(), bytes=len(body))
    return _frozen(await store.digest(key))


async def keep_requirements(store: ObjectStore, namespace: str, uid: str, text: str) -> None:
    """Keep the requirements that a run's frozen source lists; what is kept already stays, as the source does."""
    await store.put(layout.requirements_key(namespace, uid), text.encode(), only_if_absent=True)


async def kept_requirements(store: ObjectStore, namespace: str, uid: str) -> str | None:
    """Return the requirements that a run's frozen source lists, None where they have not been read."""
    body = await store.get(layout.requirements_key(namespace, uid), limit=MAX_REQUIREMENTS_BYTES)
    return None if body is None else body.decode()


def _frozen(info: ObjectInfo) -> FrozenSource:
    assert info.sha256 is not None
    return FrozenSource(key=info.key, sha256=info.sha256, bytes=info.bytes, commit=info.metadata.get(COMMIT))


async def read_run_manifest(
    store: ObjectStore, namespace: str, uid: str, attempt: int
) -> tuple[RunManifest, str] | None:
    """Return the manifest of an attempt and the SHA-256 of its bytes, None where it is not written.

    Raises
    ------
    ManifestInvalid
        If the object there is no manifest of this run. A pod writes it, and a pod is not trusted.
    """
    key = layout.run_manifest_key(namespace, uid, attempt)
    try:
        body = await store.get(key, limit=MAX_MANIFEST_BYTES)
    except ObjectTooLarge as error:
        raise ManifestInvalid(f"the run's manifest is too large: {error}") from error
    if body is None:
        return None
    # Twenty thousand files take long enough to parse for the event loop to notice.
    return await asyncio.to_thread(_parse, body, uid), hashlib.sha256(body).hexdigest()


def _parse(body: bytes, uid: str) -> RunManifest:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid(f"the run's manifest is not JSON: {error}") from error
    document = _typed(document, dict, "the whole")
    if document.get("schema") != RUN_MANIFEST_SCHEMA:
        raise ManifestInvalid(f"the run's manifest has schema {document.get('schema')!r}, not {RUN_MANIFEST_SCHEMA!r}")
    run = _strings(document.get("run"), "run")
    if run.get("uid") != uid:
        raise ManifestInvalid(f"the run's manifest speaks of the run {run.get('uid')!r}, not of {uid!r}")
    warnings = _typed(document.get("warnings", []), list, "warnings")
    manifest = RunManifest(
        schema=RUN_MANIFEST_SCHEMA,
        run=run,
        sourceSha256=_typed(document.get("sourceSha256"), str, "sourceSha256"),
        exitCode=_typed(document.get("exitCode"), int, "exitCode"),
        startTime=_typed(document.get("startTime"), str, "startTime"),
        endTime=_typed(document.get("endTime"), str, "endTime"),
        metrics=bounded(document.get("metrics")),
        outputs=_outputs(document.get("outputs")),
        warnings=[_typed(text, str, "warnings") for text in warnings[:MAX_WARNINGS]],
        environment=_strings(document.get("environment", {}), "environment"),
    )
    _add_what_was_said(manifest, document)
    for name in ("sourceCommit", "imageDigest", "image", "environmentHash"):
        if name in document:
            manifest[name] = _typed(document[name], str, name)
    return manifest


def _add_what_was_said(manifest: RunManifest, document: dict[str, Any]) -> None:
    try:
        if "tags" in document:
            manifest["tags"] = check_tags(document["tags"], what="tags")
        if "properties" in document:
            manifest["properties"] = check_tags(document["properties"], what="properties")
    except ValueError as error:
        raise _wrong(str(error)) from error
    if "inputs" in document:
        manifest["inputs"] = _inputs(document["inputs"])
    if "models" in document:
        manifest["models"] = _models(document["models"])


def _outputs(value: object) -> list[OutputFile]:
    entries = _typed(value, list, "outputs")
    if len(entries) > MAX_OUTPUT_FILES:
        raise ManifestInvalid(f"the run's manifest lists {len(entries)} files, more than {MAX_OUTPUT_FILES}")
    files: dict[str, OutputFile] = {}
    for index, entry in enumerate(entries):
        where = f"outputs[{index}]"
        entry = _typed(entry, dict, where)  # noqa: PLW2901
        path = _typed(entry.get("path"), str, f"{where}.path")
        size = _typed(entry.get("bytes"), int, f"{where}.bytes")
        sha256 = _typed(entry.get("sha256"), str, f"{where}.sha256")
        try:
            check_relative_path(path, what="it")
        except ValueError as error:
            raise _wrong(f"{where}.path: {error}") from error
        if not path.startswith(f"{OUTPUTS}/") or path.endswith("/"):
            raise _wrong(f"{where}.path is {path!r}, which is no file below {OUTPUTS}/")
        if path in files:
            raise _wrong(f"{where}.path is {path!r}, which is there before")
        if size < 0 or not _SHA256.fullmatch(sha256):
            raise _wrong(f"{where} has no size or no SHA-256 in hex")
        files[path] = OutputFile(path=path, bytes=size, sha256=sha256)
    return list(files.values())


def _inputs(value: object) -> list[InputRecord]:
    entries = _typed(value, list, "inputs")
    if len(entries) > MAX_INPUTS:
        raise _wrong(f"inputs has {len(entries)} entries, more than {MAX_INPUTS}")
    found = []
    for index, entry in enumerate(entries):
        where = f"inputs[{index}]"
        entry = _typed(entry, dict, where)  # noqa: PLW2901
        record = InputRecord(
            name=_short(entry.get("name"), f"{where}.name"), uri=_short(entry.get("uri"), f"{where}.uri")
        )
        if "sha256" in entry:
            record["files"] = _typed(entry.get("files"), int, f"{where}.files")
            record["bytes"] = _typed(entry.get("bytes"), int, f"{where}.bytes")
            record["sha256"] = _short(entry["sha256"], f"{where}.sha256")
        found.append(record)
    return found


def _short(value: object, where: str) -> str:
    text: str = _typed(value, str, where)
    if len(text) > MAX_INPUT_TEXT:
        raise _wrong(f"{where} has {len(text)} characters, more than {MAX_INPUT_TEXT}")
    return text


def _models(value: object) -> list[ModelWish]:
    wishes = _typed(value, list, "models")
    if len(wishes) > MAX_MODELS_OF_SCRIPT:
        raise _wrong(f"models has {len(wishes)} entries, more than {MAX_MODELS_OF_SCRIPT}")
    try:
        checked = [check_model(wish) for wish in wishes]
    except ValueError as error:
        raise _wrong(str(error)) from error
    return list({(wish["name"], wish["path"]): wish for wish in checked}.values())


def _wrong(what: str) -> ManifestInvalid:
    return ManifestInvalid(f"the run's manifest is wrong: {what}")


def _strings(value: object, where: str) -> dict[str, str]:
    return {name: _typed(text, str, f"{where}.{name}") for name, text in _typed(value, dict, where).items()}


def _typed(value: object, kind: type[Any], where: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _wrong(f"{where} must be a JSON {_JSON[kind]}")
    return value


_JSON: Mapping[type, str] = {dict: "object", list: "array", str: "string", int: "integer"}
