"""The checkpoints that attempts of a run have left: the latest whole one is what the next attempt goes on from."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass

from trainyard.contract import CHECKPOINT, CHECKPOINT_FILE, CHECKPOINT_SCHEMA, MAX_OUTPUT_FILES, check_relative_path
from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import ManifestInvalid, ObjectTooLarge
from trainyard_operator.storage.runs import MAX_MANIFEST_BYTES
from trainyard_operator.storage.store import ObjectStore

# An attempt that begins does not wait for the store to be asked about a thousand others.
MOST_LOOKED_AT = 50
_SLOT = re.compile(r"[0-9a-f]{8}-[01]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class SavedFile:
    """One file of a checkpoint, and where its bytes are."""

    path: str
    bytes: int
    sha256: str
    key: str


async def latest_checkpoint(store: ObjectStore, namespace: str, uid: str, *, until: int) -> int | None:
    """Return the latest attempt that has left a whole checkpoint, None where none has.

    The attempt `until` itself is among them: Kueue may take its pod away and let the same Job in again.
    """
    for attempt in range(until, max(0, until - MOST_LOOKED_AT), -1):
        if await store.head(layout.attempt_prefix(namespace, uid, attempt) + CHECKPOINT_FILE) is not None:
            return attempt
    return None


async def read_checkpoint(store: ObjectStore, namespace: str, uid: str, attempt: int) -> tuple[SavedFile, ...]:
    """Return the files of the checkpoint that an attempt has left, sorted by path.

    Raises
    ------
    ManifestInvalid
        If there is none, or what is there is no record of one. A pod wrote it, and a pod is not trusted.
    """
    prefix = layout.attempt_prefix(namespace, uid, attempt)
    try:
        body = await store.get(prefix + CHECKPOINT_FILE, limit=MAX_MANIFEST_BYTES)
    except ObjectTooLarge as error:
        raise ManifestInvalid(f"the record of the checkpoint is too large: {error}") from error
    if body is None:
        raise ManifestInvalid(f"attempt {attempt} has left no checkpoint")
    try:
        return await asyncio.to_thread(_parse, body, prefix)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ManifestInvalid(f"the record of the checkpoint of attempt {attempt} is wrong: {error}") from error


def _parse(body: bytes, prefix: str) -> tuple[SavedFile, ...]:
    record = json.loads(body)
    if record["schema"] != CHECKPOINT_SCHEMA or not _SLOT.fullmatch(record["slot"]):
        raise ValueError("it has another schema, or no slot")
    if len(record["files"]) > MAX_OUTPUT_FILES:
        raise ValueError(f"it lists more than {MAX_OUTPUT_FILES} files")
    folder = f"{prefix}{CHECKPOINT}/{record['slot']}/"
    files = {}
    for entry in record["files"]:
        path, size, sha256 = check_relative_path(entry["path"]), entry["bytes"], entry["sha256"]
        if not isinstance(size, int) or size < 0 or path.endswith("/") or not _SHA256.fullmatch(sha256):
            raise ValueError(f"{path!r} is no file")
        files[path] = SavedFile(path=path, bytes=size, sha256=sha256, key=folder + path)
    return tuple(files[path] for path in sorted(files))
