"""What is kept of environments: the packs that builds leave, and what the operator wrote down of them.

A build writes below the folder of its own environment and nowhere else. What counts is the record beside that folder,
which only the operator writes, once: from then on the environment is what it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any

from trainyard.contract import ENVIRONMENT_MANIFEST_SCHEMA, MANIFEST, canonical_json, is_pack
from trainyard_operator.domain.environment import EnvironmentRecord, Pack
from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import ManifestInvalid, ObjectNotFound, ObjectTooLarge
from trainyard_operator.storage.paging import pages
from trainyard_operator.storage.store import PAGE, ObjectStore

MAX_MANIFEST_BYTES = 1 << 20
MAX_RECORD_BYTES = 64 << 10
_DAY_BYTES = 32
_SHA256 = re.compile(r"[0-9a-f]{64}")


async def read_record(store: ObjectStore, namespace: str, digest: str) -> EnvironmentRecord | None:
    """Return what was written down of an environment, None where it was never built, or has been removed."""
    body = await store.get(layout.environment_record_key(namespace, digest), limit=MAX_RECORD_BYTES)
    if body is None:
        return None
    document = json.loads(body)
    pack = document["pack"]
    return EnvironmentRecord(hash=digest, pack=Pack(**pack) if pack else None)


async def seal(store: ObjectStore, namespace: str, digest: str, *, now: datetime) -> EnvironmentRecord:
    """Write down what the build of an environment left; return what is written, whoever wrote it.

    Raises
    ------
    ManifestInvalid
        If the build left no manifest, or not the pack that its manifest speaks of.
    """
    pack = await _built(store, namespace, digest)
    if pack is not None:
        key = layout.environment_prefix(namespace, digest) + pack.path
        try:
            found = await store.digest(key)
        except ObjectNotFound:
            raise ManifestInvalid(f"its build left no {pack.path}") from None
        if (found.sha256, found.bytes) != (pack.sha256, pack.bytes):
            raise ManifestInvalid(f"the {pack.path} that its build left is not the one that its manifest speaks of")
    document = {"hash": digest, "pack": asdict(pack) if pack else None}
    # In use from now on: what nobody has touched yet would be the first to be removed.
    await touch(store, namespace, digest, now.date())
    if await store.put(layout.environment_record_key(namespace, digest), canonical_json(document), only_if_absent=True):
        return EnvironmentRecord(hash=digest, pack=pack)
    record = await read_record(store, namespace, digest)
    if record is None:
        raise ObjectNotFound("the record of the environment was removed while it was written")
    return record


async def touch(store: ObjectStore, namespace: str, digest: str, day: date) -> None:
    """Note that an environment was used on `day`."""
    await store.put(layout.environment_use_key(namespace, digest), day.isoformat().encode())


async def collect(
    store: ObjectStore,
    *,
    today: date,
    unused_days: int,
    condemn: Callable[[str, str], bool],
    pardon: Callable[[str, str], None],
) -> int:
    """Remove environments that nobody has used for `unused_days`; return how many.

    Parameters
    ----------
    condemn
        Asked before each one, with namespace and hash: whether nobody needs it, and nobody gets it from now on.
    pardon
        Told once it is gone, so that it may be built again.
    """
    removed = 0
    async for page in pages(store, layout.ENVIRONMENTS):
        for info in page.objects:
            found = layout.environment_of_use_key(info.key)
            if found is not None and await _unused(store, info.key, today - timedelta(days=unused_days)):
                removed += await _remove(store, *found, condemn=condemn, pardon=pardon)
    return removed


async def _unused(store: ObjectStore, key: str, since: date) -> bool:
    body = await store.get(key, limit=_DAY_BYTES)
    try:
        return body is not None and date.fromisoformat(body.decode()) < since
    except ValueError:
        return False


async def _remove(
    store: ObjectStore,
    namespace: str,
    digest: str,
    *,
    condemn: Callable[[str, str], bool],
    pardon: Callable[[str, str], None],
) -> bool:
    if not condemn(namespace, digest):
        return False
    try:
        # The record first: what is half gone must not be found.
        await store.delete([layout.environment_record_key(namespace, digest)])
        page = await store.list(layout.environment_prefix(namespace, digest), limit=PAGE)
        if page.objects:
            await store.delete([info.key for info in page.objects])
        if not page.more:
            await store.delete([layout.environment_use_key(namespace, digest)])
    finally:
        pardon(namespace, digest)
    return True


async def _built(store: ObjectStore, namespace: str, digest: str) -> Pack | None:
    try:
        body = await store.get(layout.environment_prefix(namespace, digest) + MANIFEST, limit=MAX_MANIFEST_BYTES)
    except ObjectTooLarge as error:
        raise ManifestInvalid(f"the manifest of its build is too large: {error}") from error
    if body is None:
        raise ManifestInvalid("its build left no manifest")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ManifestInvalid(f"the manifest of its build is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != ENVIRONMENT_MANIFEST_SCHEMA:
        raise ManifestInvalid(f"the manifest of its build has not the schema {ENVIRONMENT_MANIFEST_SCHEMA}")
    if document.get("hash") != digest:
        raise ManifestInvalid(f"the manifest of its build speaks of the environment {document.get('hash')!r}")
    return _pack(document.get("pack"))


def _pack(value: Any) -> Pack | None:
    if value is None:
        return None
    wrong = ManifestInvalid("the manifest of its build does not say what pack there is")
    if not isinstance(value, dict):
        raise wrong
    path, sha256, size = value.get("path"), value.get("sha256"), value.get("bytes")
    if not (isinstance(path, str) and is_pack(path) and isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise wrong
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise wrong
    return Pack(path=path, sha256=sha256, bytes=size)
