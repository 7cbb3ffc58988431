"""Reading the manifest of a model version: whoever sees one sees a whole version."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

from trainyard.contract import MODEL_MANIFEST_SCHEMA
from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import ManifestInvalid, ObjectTooLarge
from trainyard_operator.storage.runs import MAX_MANIFEST_BYTES
from trainyard_operator.storage.store import ObjectStore


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
