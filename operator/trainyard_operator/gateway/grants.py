"""What callers are granted: signed addresses of objects that are theirs to read or write, and of no others.

Keys are built here from the caller's own namespace and run, and from paths that were checked: nothing that a caller
sends can name another run, another namespace or a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TypeVar

from trainyard.contract import (
    MAX_GRANTS,
    CheckpointFile,
    DeleteGrant,
    FileGrant,
    PutGrant,
    RunDocument,
    SourceGrant,
    check_relative_path,
)
from trainyard_operator.api.inputs import InputSpec
from trainyard_operator.gateway.errors import Refusal, forbidden
from trainyard_operator.gateway.freezing import Freezer
from trainyard_operator.gateway.ports import LiveBoard, RunRef, Sources
from trainyard_operator.gateway.requests import (
    CheckpointRequest,
    DataPutRequest,
    DeleteRequest,
    InputRequest,
    ListRequest,
    PutFile,
    PutRequest,
    RequirementsPutRequest,
    SnapshotPutRequest,
    SourcePutRequest,
)
from trainyard_operator.gateway.wording import git_source, run_input
from trainyard_operator.storage import layout
from trainyard_operator.storage.checkpoints import latest_checkpoint, read_checkpoint
from trainyard_operator.storage.errors import ManifestInvalid
from trainyard_operator.storage.listing import Found, Listing, UnusableNameError, find, top_level
from trainyard_operator.storage.runs import COMMIT, FrozenSource, keep_requirements
from trainyard_operator.storage.store import ObjectStore

Answer = dict[str, object]
Signed = TypeVar("Signed")


class Grants:
    """The operations of ``POST /v1/grants``, for callers whose right to ask is settled."""

    def __init__(self, *, store: ObjectStore, sources: Sources, live: LiveBoard, input_limit: int) -> None:
        self._store = store
        self._freezer = Freezer(store=store, sources=sources)
        self._input_limit = input_limit
        self._live = live
        # Signing takes Python's lock again and again: two threads at it would only slow the event loop down.
        self._signing = asyncio.Semaphore(1)

    async def run(self, run: RunRef) -> RunDocument:
        """Return the document of a run; the first to ask freezes its source."""
        source = await self._freezer.source(run)
        checkpoint = await latest_checkpoint(self._store, run.namespace, run.uid, until=run.attempt)
        datastore = self._store.uri(layout.data_prefix(run.namespace))
        document = RunDocument(
            name=run.name,
            namespace=run.namespace,
            uid=run.uid,
            experiment=run.spec.experiment,
            entryScript=run.spec.entry_script,
            arguments=run.spec.argv,
            source=await self._source(run, source),
            inputs=[
                run_input(entry, index, limit=self._input_limit, datastore=datastore)
                for index, entry in enumerate(run.spec.inputs)
            ],
            checkpoint=checkpoint,
        )
        if run.attempt == 0 and run.spec.environment.requirements is not None:
            document["requirements"] = run.spec.environment.requirements
        return document

    async def source_put(self, run: RunRef, request: SourcePutRequest) -> Answer:
        """Return an address for the code that a run's pod has fetched from git, good only while there is none."""
        if run.spec.source is None or run.spec.source.git is None:
            raise forbidden("the code of this run does not come from git")
        key = layout.source_key(run.namespace, run.uid)
        put = await self._sign(
            lambda: self._store.sign_put(key, sha256=request.sha256, once=True, metadata={COMMIT: request.commit})
        )
        return {"files": [PutGrant(path=layout.SOURCE, url=put.url, headers=put.headers)]}

    async def requirements_put(self, run: RunRef, request: RequirementsPutRequest) -> Answer:
        """Keep what a run's frozen source lists, and have its TrainingJob looked at."""
        await keep_requirements(self._store, run.namespace, run.uid, request.text)
        return {}

    async def input(self, run: RunRef, request: InputRequest) -> Answer:
        """Return one page of the files of an input."""
        for index, entry in enumerate(run.spec.inputs):
            if entry.name == request.name and entry.path is not None:
                return await self._input(run, entry, request.after, f"spec.inputs[{index}].datastore.path")
        known = ", ".join(entry.name for entry in run.spec.inputs if entry.path is not None) or "none"
        message = f"{run.name} has no input called {request.name!r} in the datastore; it has: {known}"
        raise Refusal(HTTPStatus.NOT_FOUND, "NotFound", message, field="name")

    async def checkpoint(self, run: RunRef, request: CheckpointRequest) -> Answer:
        """Return one page of the files of the checkpoint that an attempt of the run has left."""
        if request.attempt > run.attempt:
            message = f"attempt is {request.attempt}: ask for one up to {run.attempt}"
            raise Refusal(HTTPStatus.BAD_REQUEST, "BadRequest", message, field="attempt")
        try:
            files = await read_checkpoint(self._store, run.namespace, run.uid, request.attempt)
        except ManifestInvalid as error:
            raise Refusal(HTTPStatus.NOT_FOUND, "NotFound", str(error), field="attempt") from error
        page = [file for file in files if file.path > request.after][:MAX_GRANTS]

        def sign() -> list[CheckpointFile]:
            return [
                CheckpointFile(path=f.path, bytes=f.bytes, sha256=f.sha256, url=self._store.sign_get(f.key))
                for f in page
            ]

        more = bool(page) and page[-1].path != files[-1].path
        return {"files": await self._sign(sign), "next": page[-1].path if more else None}

    async def put(self, run: RunRef, request: PutRequest) -> Answer:
        """Return addresses below the folder of the run's own attempt."""
        return await self._puts(layout.attempt_prefix(run.namespace, run.uid, run.attempt), request.files)

    async def delete(self, run: RunRef, request: DeleteRequest) -> Answer:
        """Return addresses that delete parts of the run's own log."""
        prefix = layout.attempt_prefix(run.namespace, run.uid, run.attempt)

        def sign() -> list[DeleteGrant]:
            return [DeleteGrant(path=path, url=self._store.sign_delete(prefix + path)) for path in request.paths]

        return {"files": await self._sign(sign)}

    async def data_put(self, namespace: str, request: DataPutRequest) -> Answer:
        """Return addresses in the namespace's datastore."""
        return await self._puts(layout.data_prefix(namespace), request.files)

    async def snapshot_put(self, namespace: str, request: SnapshotPutRequest) -> Answer:
        """Return addresses among the namespace's snapshots, which are named by their digest."""
        return await self._puts(layout.snapshots_prefix(namespace), request.files)

    async def list(self, namespace: str, request: ListRequest) -> Answer:
        """Return one page of what is at a prefix; nothing there is an empty page."""
        root = {
            "data": layout.data_prefix,
            "snapshots": layout.snapshots_prefix,
            "runs": layout.runs_prefix,
            "models": layout.models_prefix,
        }[request.area]
        try:
            page = await find(self._store, root=root(namespace), path=request.prefix, after=request.after)
        except UnusableNameError as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, "BadRequest", str(error), field="prefix") from error
        return await self._files(page)

    async def _input(self, run: RunRef, entry: InputSpec, after: str, field: str) -> Answer:
        root = layout.data_prefix(run.namespace)
        try:
            path = check_relative_path(entry.path or "", what=field, empty=True)
            page = await find(self._store, root=root, path=path, after=after)
        except (ValueError, UnusableNameError) as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, "InputFailed", str(error), field=field) from error
        if not page.files and page.next is None and not after:
            message = await self._nothing_there(run.namespace, path)
            raise Refusal(HTTPStatus.NOT_FOUND, "InputNotFound", f"{field}: {message}", field=field)
        return await self._files(page)

    async def _nothing_there(self, namespace: str, path: str) -> str:
        root = layout.data_prefix(namespace)
        names = await top_level(self._store, root)
        where = self._store.uri(root + path)
        there = f"at its top level there is {', '.join(names)}" if names else "it is empty"
        target = where.rstrip("/") + "/"
        return (
            f"nothing is at {path!r} in the datastore of namespace {namespace} ({where}); {there}. "
            f"Give a path that is there, or upload the files with any S3 client to {target}"
        )

    async def _source(self, run: RunRef, source: FrozenSource | None) -> SourceGrant:
        if source is None:
            assert run.spec.source is not None
            assert run.spec.source.git is not None
            return SourceGrant(url="", sha256="", bytes=0, git=git_source(run.spec.source.git))
        self._live.publish(run.uid, attempt=run.attempt, source_sha256=source.sha256, source_commit=source.commit)
        url = await self._sign(lambda: self._store.sign_get(source.key))
        grant = SourceGrant(url=url, sha256=source.sha256, bytes=source.bytes)
        if source.commit is not None:
            grant["commit"] = source.commit
        return grant

    async def _puts(self, prefix: str, files: Sequence[PutFile]) -> Answer:
        def sign() -> list[PutGrant]:
            signed = [(file.path, self._store.sign_put(prefix + file.path, sha256=file.sha256)) for file in files]
            return [PutGrant(path=path, url=put.url, headers=put.headers) for path, put in signed]

        return {"files": await self._sign(sign)}

    async def _files(self, page: Listing) -> Answer:
        def sign() -> list[FileGrant]:
            return [self._file(found) for found in page.files]

        return {"files": await self._sign(sign), "next": page.next}

    def _file(self, found: Found) -> FileGrant:
        grant = FileGrant(path=found.path, bytes=found.info.bytes, url=self._store.sign_get(found.info.key))
        if found.info.etag:
            grant["etag"] = found.info.etag
        return grant

    async def _sign(self, sign: Callable[[], Signed]) -> Signed:
        # Hundreds of signatures take some tenths of a second, which the event loop does not have.
        async with self._signing:
            return await asyncio.to_thread(sign)
