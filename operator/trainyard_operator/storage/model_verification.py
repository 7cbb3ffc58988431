"""Comparing a model version's folder with its manifest, and the manifest with the digest that was written down of it.

Nothing of a version is ever held in memory but its manifest: listings come in pages, and bytes are read in pieces.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import ObjectNotFound, ObjectTooLarge
from trainyard_operator.storage.paging import pages
from trainyard_operator.storage.runs import MAX_MANIFEST_BYTES
from trainyard_operator.storage.store import ObjectInfo, ObjectStore

SHOWN = 5
SHOWN_NAME = 120
# A version with so many differences is bad enough; the rest of a folder that was flooded is not listed.
MOST = 1000


@dataclass(kw_only=True)
class _Differences:
    shown: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, name: str, what: str) -> None:
        if self.count < SHOWN:
            short = name if len(name) <= SHOWN_NAME else f"…{name[1 - SHOWN_NAME :]}"
            self.shown.append(f"{short} {what}")
        self.count += 1

    def __str__(self) -> str:
        if self.count <= SHOWN:
            return ", ".join(self.shown)
        more = self.count - SHOWN
        return ", ".join(self.shown) + f" and {'at least ' * (self.count >= MOST)}{more} more"


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    files: dict[str, dict[str, Any]]  # by their paths
    signed: bool


async def look_at_version(  # noqa: PLR0913 - a version, and how it is looked at
    store: ObjectStore, *, namespace: str, model_name: str, version: int, manifest_sha256: str, thorough: bool
) -> str:
    """Return in which files a version is not what it was registered as, the empty string where it is.

    Parameters
    ----------
    manifest_sha256
        What the version's manifest must have.
    thorough
        Whether every byte is read; otherwise the store's own checksums do, and bytes are read where it has none.

    Raises
    ------
    StoreError
        If the store does not say.
    """
    key = layout.model_manifest_key(namespace, model_name, version)
    manifest, wrong = await _read_manifest(store, key, manifest_sha256)
    if manifest is None:
        return wrong
    files = manifest.files
    prefix = layout.version_prefix(namespace, model_name, version)
    found = _Differences()
    signature = layout.model_signature_key(namespace, model_name, version)
    if manifest.signed and await store.head(signature) is None:
        found.add(f"its signature {version}.sig", "is missing")
    async for page in pages(store, prefix):
        for info in page.objects:
            name = info.key.removeprefix(prefix)
            wished = files.pop(name, None)
            if wished is None:
                found.add(name, "is not in the manifest")
            else:
                what = await _difference(store, info, wished, thorough=thorough)
                if what:
                    found.add(name, what)
        if page.more and found.count >= MOST:
            return str(found)
    for name in sorted(files):
        found.add(name, "is missing")
    return str(found)


async def _read_manifest(store: ObjectStore, key: str, sha256: str) -> tuple[_Manifest | None, str]:
    """Return what a manifest says, or what is wrong with it."""
    name = key.rsplit("/", 1)[-1]
    try:
        body = await store.get(key, limit=2 * MAX_MANIFEST_BYTES)
    except ObjectTooLarge:
        return None, f"its manifest {name} was changed"
    if body is None:
        return None, f"its manifest {name} is missing"
    found = await asyncio.to_thread(_parse, body, sha256)
    return found, "" if found else f"its manifest {name} was changed"


def _parse(body: bytes, sha256: str) -> _Manifest | None:
    if hashlib.sha256(body).hexdigest() != sha256:
        return None
    try:
        document = json.loads(body)
        return _Manifest(files={file["path"]: file for file in document["files"]}, signed="signature" in document)
    except (ValueError, KeyError, TypeError):
        return None  # what was registered was no manifest either


async def _difference(store: ObjectStore, info: ObjectInfo, wished: dict[str, Any], *, thorough: bool) -> str:
    if info.bytes != wished["bytes"]:
        return f"has {info.bytes} bytes and not {wished['bytes']}"
    try:
        there = await (store.reread(info.key) if thorough else store.digest(info.key))
    except ObjectNotFound:
        return "is missing"
    return "" if (there.bytes, there.sha256) == (wished["bytes"], wished["sha256"]) else "has other bytes"
