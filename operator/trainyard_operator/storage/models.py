"""Model versions in the object store: copied from where they come from, sealed by a manifest that is written last.

Every step may be cut short and done again: a file that is there with the right bytes is not copied again, and the
manifest is written only where there is none. Whoever sees a manifest sees a whole version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from trainyard.contract import MODEL_MANIFEST_SCHEMA, canonical_json
from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import CopyRefused, ManifestInvalid, ObjectNotFound, StoreUnavailable
from trainyard_operator.storage.model_manifest import read_model_manifest
from trainyard_operator.storage.model_origins import Origin, SourceFile, find_origin
from trainyard_operator.storage.paging import pages
from trainyard_operator.storage.signatures import Signer
from trainyard_operator.storage.store import ObjectStore

__all__ = ["CopyRefused", "copy_version", "model_manifest", "read_model_manifest"]

PARALLEL_COPIES = 4


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
        If the version can never be made: what it is made from is not there, or not what it was.
    """
    if await _sealed(store, namespace, model_name, version, entry):
        return
    origin = await find_origin(store, namespace, entry)
    target = layout.version_prefix(namespace, model_name, version)
    if origin.may_shrink:
        await _remove_strays(store, target, origin)
    slots = asyncio.Semaphore(PARALLEL_COPIES)

    async def copy(name: str, file: SourceFile) -> None:
        async with slots:
            await _copy_file(store, target + name, file, origin.changed)

    try:
        async with asyncio.TaskGroup() as group:
            for name, file in origin.files.items():
                group.create_task(copy(name, file))
    except ExceptionGroup as errors:
        # A refusal is final, whatever else went wrong beside it.
        first = min(errors.exceptions, key=lambda error: not isinstance(error, CopyRefused))
        raise first from None

    signed_by = None
    if signer is not None:
        # Before the manifest, which says that all is there: one of a try that was cut short is replaced.
        digests = {name: file.sha256 for name, file in origin.files.items()}
        signature = await signer.sign(name=f"{model_name}:{version}", files=digests)
        await store.put(layout.model_signature_key(namespace, model_name, version), signature.bundle)
        signed_by = signature.key_sha256
    body = canonical_json(model_manifest(namespace, model_name, version, entry, origin, signed_by=signed_by))
    key = layout.model_manifest_key(namespace, model_name, version)
    written = await store.put(key, body, only_if_absent=True)
    if not written and not await _sealed(store, namespace, model_name, version, entry):
        raise StoreUnavailable(f"{key}: the object store says that there is one already, and gives none back")


def model_manifest(  # noqa: PLR0913 - a version's full name
    namespace: str,
    model_name: str,
    version: int,
    entry: Mapping[str, Any],
    origin: Origin,
    *,
    signed_by: str | None = None,
) -> dict[str, Any]:
    """Return a version's manifest: a function of the entry, its origin and the key, with no clock in it."""
    return {
        "sourceSha256": entry.get("sourceSha256"),
        "imageDigest": entry.get("imageDigest"),
        "metrics": {name: _plain(value) for name, value in (entry.get("metrics") or {}).items()},
        "tags": dict(entry.get("tags") or {}),
        **origin.inherited,
        "schema": MODEL_MANIFEST_SCHEMA,
        "namespace": namespace,
        "model": model_name,
        "version": version,
        "id": f"{model_name}:{version}",
        "key": entry["key"],
        **{name: entry[name] for name in ("path", "description") if entry.get(name)},
        **origin.provenance,
        "createdTime": entry.get("createdTime"),
        **({"signature": {"keySha256": signed_by}} if signed_by else {}),
        "files": [
            {"path": name, "bytes": origin.files[name].bytes, "sha256": origin.files[name].sha256}
            for name in sorted(origin.files)
        ],
    }


async def _remove_strays(store: ObjectStore, target: str, origin: Origin) -> None:
    """Delete what an earlier attempt has copied and the source has no more: the folder holds the version alone."""
    async for page in pages(store, target):
        strays = [info.key for info in page.objects if info.key.removeprefix(target) not in origin.files]
        if strays:
            await store.delete(strays)


async def _copy_file(store: ObjectStore, target: str, file: SourceFile, changed: str) -> None:
    there = await store.head(target)
    if there is not None and there.bytes == file.bytes and there.sha256 == file.sha256:
        return
    try:
        await store.copy(file.key, target)
        copied = await store.digest(target)
    except ObjectNotFound as error:
        raise CopyRefused(f"{file.name} is not in the object store any more") from error
    if (copied.bytes, copied.sha256) != (file.bytes, file.sha256):
        raise CopyRefused(f"{file.name} has other bytes than {changed}")


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
            f"{model_name}:{version} is already in the object store, made from something else: it was registered "
            "before in a RegisteredModel that was deleted"
        )
    return True


def _plain(value: float | str) -> float | str:
    # The API server gives 1.0 back as 1; the manifest must not depend on which of the two was at hand.
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return value
