"""What the path of an import means in the namespace's datastore, and what its files are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import CopyRefused, NothingThere, ObjectNotFound
from trainyard_operator.storage.listing import UnusableNameError, find, top_level
from trainyard_operator.storage.store import MAX_OBJECT_BYTES, PAGE, ObjectInfo, ObjectStore

MAX_FILES = 10_000
PARALLEL_DIGESTS = 4


async def survey_import(
    store: ObjectStore, namespace: str, path: str, *, sha256: str | None = None
) -> Mapping[str, ObjectInfo]:
    """Return the objects that `path` means, by their names inside the version; no byte of them is read.

    Raises
    ------
    NothingThere
        If nothing is there; the message lists what is.
    CopyRefused
        If what is there cannot be a version.
    """
    root, files, after = layout.data_prefix(namespace), dict[str, ObjectInfo](), ""
    while True:
        try:
            page = await find(store, root=root, path=path, after=after, limit=PAGE)
        except UnusableNameError as error:
            raise CopyRefused(str(error)) from error
        files.update((found.path, found.info) for found in page.files)
        if len(files) > MAX_FILES:
            fix = "pack it into one file, or import a part of it"
            raise CopyRefused(f"{path!r} has more than {MAX_FILES} files, the most that an import may have: {fix}")
        if page.next is None:
            break
        after = page.next
    if not files:
        raise NothingThere(await _nothing_there(store, namespace, path))
    _check(files, path, single=root + path in {info.key for info in files.values()}, sha256=sha256)
    return files


async def read_import(
    store: ObjectStore, namespace: str, path: str, *, sha256: str | None = None
) -> Mapping[str, ObjectInfo]:
    """Return what `survey_import` does, each object with its SHA-256: the store's, or else that of its bytes.

    Raises
    ------
    CopyRefused
        If that cannot be a version, or the file at `path` has not the SHA-256 that is asked for.
    """
    found = await survey_import(store, namespace, path, sha256=sha256)
    slots = asyncio.Semaphore(PARALLEL_DIGESTS)

    async def digest(info: ObjectInfo) -> ObjectInfo:
        async with slots:
            return await store.digest(info.key)

    try:
        files = dict(zip(found, await asyncio.gather(*map(digest, found.values())), strict=True))
    except ObjectNotFound as error:
        raise CopyRefused(f"{path!r} was changed while it was imported: import it again under a new key") from error
    for info in files.values():
        if sha256 not in {None, info.sha256}:
            fix = "upload the right file, or give its digest, and import it under a new key"
            raise CopyRefused(f"{path!r} has the SHA-256 {info.sha256}, and not {sha256}, which was asked for: {fix}")
    return files


def _check(files: Mapping[str, ObjectInfo], path: str, *, single: bool, sha256: str | None) -> None:
    if sha256 is not None and not single:
        fix = "leave sha256 out, or name one file"
        raise CopyRefused(f"{path!r} is a folder, which has no SHA-256 of its own: {fix}")
    for info in files.values():
        if info.bytes > MAX_OBJECT_BYTES:
            fix = "split it"
            raise CopyRefused(f"{info.key} has {info.bytes} bytes, and {MAX_OBJECT_BYTES} can be copied at most: {fix}")


async def _nothing_there(store: ObjectStore, namespace: str, path: str) -> str:
    root = layout.data_prefix(namespace)
    parent, _, _ = path.rstrip("/").rpartition("/")
    folder = f"{parent}/" if parent else ""
    names = await top_level(store, root + folder)
    if names:
        there = f"{f'in {folder}' if folder else 'at its top level'} there is {', '.join(names)}"
    else:
        names = await top_level(store, root) if folder else ()
        there = f"at its top level there is {', '.join(names)}" if names else "it is empty"
    return (
        f"nothing is at {path!r} in the datastore of namespace {namespace} ({store.uri(root + path)}); {there}. "
        "Upload the model there, or give a path that is there"
    )
