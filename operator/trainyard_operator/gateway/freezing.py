"""Freezing a run's code when its pod first asks: from then on every attempt gets the same bytes."""

from __future__ import annotations

from http import HTTPStatus

from trainyard.contract import MAX_SOURCE_BYTES, OUTPUTS, check_relative_path
from trainyard_operator.api.source import ArchiveSpec
from trainyard_operator.domain.rerun import Repeated
from trainyard_operator.domain.run_source import too_large, wrong_digest
from trainyard_operator.gateway.errors import Refusal
from trainyard_operator.gateway.ports import RunRef, Sources
from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import ObjectNotFound
from trainyard_operator.storage.runs import FrozenSource, freeze_copy, freeze_source, frozen_source
from trainyard_operator.storage.store import ObjectStore

_SHOWN_FILES = 10


class Freezer:
    """Knows what a run's code is, and keeps it."""

    def __init__(self, *, store: ObjectStore, sources: Sources) -> None:
        self._store = store
        self._sources = sources

    async def source(self, run: RunRef) -> FrozenSource | None:
        """Return a run's frozen code; None where it comes from git, which the run's own pod has to fetch."""
        frozen = await frozen_source(self._store, run.namespace, run.uid)
        source = run.spec.source
        if source is not None and source.archive is not None:
            # A copy is not conditional: one that was overtaken by a change of the archive is made again.
            if frozen is not None and frozen.sha256 == source.archive.sha256:
                return frozen
            return await self._archive(run, source.archive)
        if run.repeated is not None:
            same = frozen is not None and frozen.sha256 == run.repeated.sha256
            return frozen if same else await self._repeated(run, run.repeated)
        if frozen is not None or (source is not None and source.git is not None):
            return frozen
        files = await self._sources.files(run)
        check_source(files, entry_script=run.spec.entry_script)
        return await freeze_source(self._store, run.namespace, run.uid, files)

    async def _archive(self, run: RunRef, archive: ArchiveSpec) -> FrozenSource:
        key = layout.archive_key(run.namespace, archive.path)
        try:
            found = await self._store.head(key)
            if found is not None and found.bytes > MAX_SOURCE_BYTES:
                raise source_invalid(too_large(archive.path, found.bytes), field="spec.source.archive.path")
            sha256 = (await self._store.digest(key)).sha256
            if sha256 == archive.sha256:
                frozen = await freeze_copy(self._store, run.namespace, run.uid, origin=key)
                if frozen.sha256 == archive.sha256:
                    return frozen
                sha256 = frozen.sha256
        except ObjectNotFound as error:
            message = (
                f"spec.source.archive.path: {archive.path} in the object store of namespace {run.namespace} was "
                "deleted before the run had read it: upload it again, and create the run again"
            )
            raise Refusal(HTTPStatus.NOT_FOUND, "SourceInvalid", message, field="spec.source.archive.path") from error
        message = wrong_digest(archive.path, sha256, archive.sha256)
        raise source_invalid(message, field="spec.source.archive.sha256")

    async def _repeated(self, run: RunRef, repeated: Repeated) -> FrozenSource:
        key = layout.source_key(run.namespace, repeated.uid)
        try:
            frozen = await freeze_copy(self._store, run.namespace, run.uid, origin=key)
        except ObjectNotFound as error:
            where = self._store.uri(key)
            message = f"spec.rerunOf: the code of {repeated.name} is not in the object store any more ({where})"
            raise Refusal(HTTPStatus.NOT_FOUND, "SourceInvalid", message, field="spec.rerunOf") from error
        if frozen.sha256 != repeated.sha256:
            message = (
                f"spec.rerunOf: the code of {repeated.name} has the digest {frozen.sha256}, not {repeated.sha256}, "
                "which it ran with: somebody changed it in the object store"
            )
            raise source_invalid(message, field="spec.rerunOf")
        return frozen


def check_source(files: dict[str, bytes], *, entry_script: str) -> None:
    """Raise a `Refusal` unless `files` can be unpacked and hold the entry script."""
    for path in files:
        try:
            check_relative_path(path, what=f"the source's file {path!r}")
        except ValueError as error:
            raise source_invalid(str(error), field="spec.source") from error
        if path.split("/")[0] == OUTPUTS:
            message = f"the source has the file {path!r}: {OUTPUTS} is for what the script saves, rename it"
            raise source_invalid(message, field="spec.source")
        parents = ("/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 1))
        taken = next((parent for parent in parents if parent in files), None)
        if taken is not None:
            raise source_invalid(f"the source has both a file {taken!r} and {path!r} below it", field="spec.source")
    if entry_script not in files:
        names = ", ".join(sorted(files)[:_SHOWN_FILES]) or "no file"
        message = f"spec.entryScript: {entry_script!r} is not in the source, which holds {names}"
        raise source_invalid(message, field="spec.entryScript")


def source_invalid(message: str, *, field: str) -> Refusal:
    """Return the refusal of code that cannot be used."""
    return Refusal(HTTPStatus.BAD_REQUEST, "SourceInvalid", message, field=field)
