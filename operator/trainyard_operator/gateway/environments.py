"""The builds of environments, and the packs that runs get of them.

A build's pod may read what it is to build, and write below its own environment's folder; both end once the operator has
written down what came of it. The index's addresses and passwords are told here and nowhere else: they are in no object
of the build's namespace.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

from trainyard.contract import BuildDocument, PackGrant, PutGrant
from trainyard_operator.api.environment import Environment
from trainyard_operator.domain.environment_build import environment_of
from trainyard_operator.gateway.adapters import StoreRunDirectory
from trainyard_operator.gateway.errors import Refusal, forbidden
from trainyard_operator.gateway.ports import Identity, RunRef
from trainyard_operator.gateway.requests import BuildPutRequest
from trainyard_operator.runtime.environments import EnvironmentBook
from trainyard_operator.storage import layout
from trainyard_operator.storage.store import ObjectStore


@dataclass(frozen=True, kw_only=True)
class BuildRef:
    """The build that a pod belongs to."""

    namespace: str
    job: str  # its uid
    environment: Environment


class Environments:
    """What the gateway does for builds, and for runs that need what they built."""

    def __init__(
        self,
        *,
        directory: StoreRunDirectory,
        book: EnvironmentBook,
        store: ObjectStore,
    ) -> None:
        self._directory = directory
        self._book = book
        self._store = store

    def build_of(self, identity: Identity) -> BuildRef | None:
        """Return the build that the identity's pod works for, None where it works for something else.

        The Job's name is the hash of what its annotation asks for, and a run waits for it: so the operator has made it.
        """
        job = self._directory.job_of(identity)
        environment = environment_of(job)
        if environment is None:
            return None
        meta = job["metadata"]
        if not self._book.awaited(meta["namespace"], environment.hash):
            raise self._directory.unknown(identity, f"no run waits for the environment {environment.name}")
        return BuildRef(namespace=meta["namespace"], job=meta["uid"], environment=environment)

    async def document(self, build: BuildRef) -> BuildDocument:
        """Return what a build is to install, and from where."""
        digest = build.environment.hash
        record = await self._book.record(build.namespace, digest)
        # Its logs are there from now on, whatever comes of it.
        await self._book.touch(build.namespace, digest)
        index, conda = self._book.index, build.environment.conda
        document = BuildDocument(
            hash=digest,
            requirements=list(build.environment.requirements),
            index=index.settings(),
            built=record is not None,
        )
        if conda is not None:
            document["conda"] = index.channels.wish(conda)
        return document

    async def put(self, build: BuildRef, request: BuildPutRequest) -> dict[str, object]:
        """Return addresses below the environment's own folder, until it is written down."""
        digest = build.environment.hash
        if await self._book.record(build.namespace, digest) is not None:
            raise forbidden(f"the environment {build.environment.name} is built: nothing of it changes any more")
        prefix = layout.environment_prefix(build.namespace, digest)

        def sign() -> list[PutGrant]:
            signed = [(f.path, self._store.sign_put(prefix + f.path, sha256=f.sha256)) for f in request.files]
            return [PutGrant(path=path, url=put.url, headers=put.headers) for path, put in signed]

        return {"files": await asyncio.to_thread(sign)}

    async def pack(self, run: RunRef) -> PackGrant | None:
        """Return the packages of a run's environment, None where its image has all of them."""
        if run.environment is None:
            return None
        record = await self._book.record(run.namespace, run.environment)
        if record is not None and record.pack is None:
            return None
        if record is None:
            message = f"the environment {run.environment[:12]} was removed before the run began: create the run again"
            raise Refusal(HTTPStatus.NOT_FOUND, "EnvironmentNotRestored", message, field="spec.environment")
        assert record.pack is not None
        await self._book.touch(run.namespace, run.environment)
        key = layout.environment_prefix(run.namespace, run.environment) + record.pack.path
        url = await asyncio.to_thread(self._store.sign_get, key)
        return PackGrant(url=url, sha256=record.pack.sha256, bytes=record.pack.bytes)

    def said(self, build: BuildRef, words: str) -> None:
        """Take in what a build says of itself."""
        self._book.say(build.namespace, build.environment.name, job=build.job, words=words)
