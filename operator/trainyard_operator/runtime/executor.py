"""Carries plans out, in the order of the plan's fields; each step may be done twice and changes nothing then."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from trainyard_operator.api.names import DEPLOYMENT, ENVIRONMENT_LABEL, JOB, NODE_POOL, REGISTERED_MODEL, Kind
from trainyard_operator.cloud.groups import NodeGroups
from trainyard_operator.domain.environment_build import environment_of
from trainyard_operator.domain.model_keeping import archived_count
from trainyard_operator.domain.plan import Deletion, Patch, Plan, VersionClearing, VersionCopy, VersionRequest
from trainyard_operator.domain.registry import (
    Beyond,
    RegistryFullError,
    allocate,
    find_version,
    highest_number,
    restored,
)
from trainyard_operator.kube.client import Client, find_one
from trainyard_operator.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from trainyard_operator.runtime.background import Background
from trainyard_operator.runtime.difference import difference
from trainyard_operator.runtime.environments import EnvironmentBook
from trainyard_operator.runtime.events import EventPoster
from trainyard_operator.runtime.informer import Informer
from trainyard_operator.runtime.memory import Memory
from trainyard_operator.runtime.model_keeper import ModelKeeper
from trainyard_operator.runtime.queues import Key
from trainyard_operator.runtime.store import Store
from trainyard_operator.storage.errors import CopyRefused, StoreError

JsonObject = dict[str, Any]

# namespace, model name, version, the version's status entry
# namespace and uid of a run
EraseRun = Callable[[str, str], Awaitable[None]]
CopyVersion = Callable[[str, str, int, JsonObject], Awaitable[None]]
# namespace, model name, the highest number that is known
LookBeyond = Callable[[str, str, int], Awaitable[Beyond]]

_ALLOCATION_ATTEMPTS = 20
# A cluster that has grown lets in as many runs at once.
_PARALLEL_PATCHES = 16
_CHILD_KINDS: dict[str, Kind] = {kind.kind: kind for kind in (JOB, REGISTERED_MODEL, NODE_POOL, DEPLOYMENT)}

log = logging.getLogger(__name__)


class ForeignObjectError(Exception):
    """The name of a child is taken by an object that belongs to somebody else."""


class Executor:
    """Writes what plans say, and tells the informer what the API server answered."""

    def __init__(  # noqa: PLR0913 - everything that a plan can touch
        self,
        *,
        client: Client,
        store: Store,
        informer: Informer,
        memory: Memory,
        copy: CopyVersion,
        beyond: LookBeyond,
        erase: EraseRun,
        groups: NodeGroups,
        environments: EnvironmentBook,
        background: Background,
        keeper: ModelKeeper,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._store = store
        self._informer = informer
        self._memory = memory
        self._copy = copy
        self._beyond = beyond
        self._erase = erase
        self._groups = groups
        self._environments = environments
        self._background = background
        self._keeper = keeper
        self._now = now
        self._events = EventPoster(client=client)
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def execute(self, kind: Kind, parent: JsonObject, plan: Plan) -> bool:
        """Carry `plan` out for `parent`, an object of `kind`; return whether all of it is done.

        What takes long goes on, and has the object looked at again in the end.

        Raises
        ------
        ApiError
            Where the API server refuses a step; those before it are done, those after it are not. Patches are one
            step, and all of them are tried.
        StoreError
            Where the object store refuses a step of a registration. The status is written all the same: it says so.
        """
        key = Key(kind.plural, parent["metadata"].get("namespace") or "", parent["metadata"]["name"])
        await self._patch_all(plan.patch, key)
        for deletion in plan.delete:
            await self._delete(deletion)
        for child in plan.create:
            await self._create(child, parent, key)
        if plan.seal is not None:
            await self._environments.seal(plan.seal)
        if plan.call is not None:
            await self._groups.carry_out(plan.call)
        done, trouble = await self._registrations(key, parent, plan)
        if plan.status is not None:
            await self._write_status(kind, parent, plan.status, key)
        if plan.inspect is not None:
            self._memory.inspections.ask(key, parent["metadata"]["uid"], plan.inspect)
        await self._tell(kind, parent, plan)
        cleared = await asyncio.gather(*(self._clear(key, parent, wish) for wish in plan.clear))
        if plan.erase:
            await self._erase_run(parent["metadata"])
        if trouble is not None:
            raise trouble
        return done and all(cleared)

    async def _registrations(self, key: Key, parent: JsonObject, plan: Plan) -> tuple[bool, StoreError | None]:
        """Take the numbers and make the copies of a plan; return whether all is done, and what the store did not do."""
        for filing in plan.file:  # before the status that forgets these entries, or not at all
            await self._keeper.file(key.namespace, filing)
        outcomes: list[bool | BaseException] = []
        for request in plan.register:
            try:
                await self._register(key.namespace, request)
            except StoreError as error:
                outcomes.append(error)
        copies = (self._copy_version(key, parent, wish) for wish in plan.copy)
        outcomes += await asyncio.gather(*copies, return_exceptions=True)
        trouble: StoreError | None = None
        for outcome in outcomes:
            if isinstance(outcome, StoreError):
                trouble = trouble or outcome
            elif isinstance(outcome, BaseException):
                raise outcome
        uid, done = parent["metadata"].get("uid", ""), all(outcomes)
        if trouble is not None:
            self._memory.store_trouble[uid] = str(trouble)
        elif done:
            self._memory.store_trouble.pop(uid, None)
        return done, trouble

    async def _tell(self, kind: Kind, parent: JsonObject, plan: Plan) -> None:
        for event in plan.events:
            try:
                await self._events.post(kind, parent, event, now=self._now())
            except ApiError as error:
                # The status says it too; a story that is hard to tell must not be a reason to work again.
                log.warning("an event was not posted: %s", error, extra={"object": _reference(kind, parent)})

    async def _patch_all(self, wishes: Sequence[Patch], key: Key) -> None:
        """Patch several objects, some at a time; one that refuses keeps none of the others from its patch."""
        free = asyncio.Semaphore(_PARALLEL_PATCHES)

        async def patch(wish: Patch) -> None:
            async with free:
                await self._patch(wish, key)

        for result in await asyncio.gather(*map(patch, wishes), return_exceptions=True):
            if result is not None:
                raise result

    async def _patch(self, wish: Patch, key: Key) -> None:
        answer = await self._client.patch(wish.kind, wish.name, wish.body, namespace=wish.namespace or None)
        own = (wish.kind.plural, wish.namespace, wish.name) == key
        self._informer.take(wish.kind, answer, origin=key if own else None)

    async def _delete(self, wish: Deletion) -> None:
        with contextlib.suppress(NotFound):
            going = await self._client.delete(wish.kind, wish.name, namespace=wish.namespace or None, uid=wish.uid)
            if going is not None:
                # Known to be going at once, so that the next plan does not wish for it and tell of it again.
                self._informer.take(wish.kind, going)

    async def _create(self, child: JsonObject, parent: JsonObject, key: Key) -> None:
        kind = _CHILD_KINDS[child["kind"]]
        metadata = child["metadata"]
        try:
            answer = await self._client.create(kind, child)
        except AlreadyExists:
            found = await find_one(self._client, kind, metadata["name"], namespace=metadata.get("namespace", ""))
            if found is None:
                raise  # deleted in this moment: the next attempt creates it
            if _is_build(child):
                if found["metadata"].get("deletionTimestamp"):
                    raise  # one that failed is still going
                ours = environment_of(found) == environment_of(child)
            else:
                ours = kind not in {JOB, DEPLOYMENT} or _owned_by(found, parent["metadata"]["uid"])
            if not ours:
                where = f"{metadata['namespace']}/{metadata['name']}"
                raise ForeignObjectError(f"the {kind.kind} {where} belongs to something else: delete it") from None
            self._informer.take(kind, found)
        else:
            self._informer.take(kind, answer, origin=key)

    async def _register(self, namespace: str, request: VersionRequest) -> None:
        lock = self._locks.setdefault((namespace, request.model), asyncio.Lock())
        async with lock:  # keeps this process from racing with itself; the resourceVersion keeps out all others
            model = self._store.get(REGISTERED_MODEL, namespace, request.model)
            for _ in range(_ALLOCATION_ATTEMPTS):
                if model is None:
                    model = await find_one(self._client, REGISTERED_MODEL, request.model, namespace=namespace)
                if model is None:
                    raise NotFound(
                        f"RegisteredModel {namespace}/{request.model} was deleted while a version is registered"
                    )
                if find_version(model, request.key) is not None:
                    return
                status = await self._wished_status(namespace, model, request)
                if status is None:
                    return
                try:
                    answer = await self._client.patch_status(
                        REGISTERED_MODEL,
                        request.model,
                        difference(model.get("status") or {}, status),
                        namespace=namespace,
                        resource_version=model["metadata"]["resourceVersion"],
                    )
                except Conflict:
                    model = None  # the store may be behind as well
                else:
                    self._informer.take(REGISTERED_MODEL, answer)
                    return
            raise Conflict(
                f"RegisteredModel {namespace}/{request.model} keeps changing under {_ALLOCATION_ATTEMPTS} attempts"
            )

    async def _wished_status(self, namespace: str, model: JsonObject, request: VersionRequest) -> JsonObject | None:
        name, known = model["spec"]["modelName"], highest_number(model)
        if archived_count(model):
            # The same request gives the same version for ever, also where the status has forgotten it.
            entry = await self._keeper.find(namespace, name, request.key)
            if entry is not None:
                return restored(model=model, entry=entry)
        # The status may be an old one that came back: what was given away since then is in the store.
        beyond = await self._beyond(namespace, name, known)
        if beyond.used > known:
            log.warning("%s/%s: %s", namespace, request.model, _behind(name, known, beyond.used))
        try:
            return allocate(model=model, request=request, beyond=beyond, now=self._now())
        except RegistryFullError as error:
            raise Conflict(str(error)) from error  # there is room again once the pending versions are made

    async def _clear(self, key: Key, parent: JsonObject, wish: VersionClearing) -> bool:
        place, name = (parent["metadata"]["uid"], wish.version), ("clear", key.namespace, wish.model_name, wish.version)
        try:
            done = await self._background.do(name, partial(self._keeper.clear, key.namespace, wish), key=key)
        except StoreError as error:
            self._memory.kept_files[place] = str(error)
            raise
        if done:
            self._memory.kept_files.pop(place, None)
        return done

    async def _copy_version(self, key: Key, parent: JsonObject, wish: VersionCopy) -> bool:
        name = (key.namespace, wish.model_name, wish.version)
        try:
            return await self._background.do(name, partial(self._copy, *name, wish.entry), key=key)
        except CopyRefused as error:
            self._memory.refusals[parent["metadata"]["uid"], wish.version] = str(error)
            return True

    async def _erase_run(self, metadata: JsonObject) -> None:
        try:
            await self._erase(metadata["namespace"], metadata["uid"])
        except StoreError as error:
            self._memory.kept_data[metadata["uid"]] = str(error)
            raise
        self._memory.kept_data.pop(metadata["uid"], None)

    async def _write_status(self, kind: Kind, parent: JsonObject, status: JsonObject, key: Key) -> None:
        patch = difference(parent.get("status") or {}, status)
        if not patch:
            return
        metadata = parent["metadata"]
        # Allocations write the same status: a RegisteredModel's is only written as it was read.
        locked = metadata["resourceVersion"] if kind == REGISTERED_MODEL else ""
        answer = await self._client.patch_status(
            kind, metadata["name"], patch, namespace=metadata.get("namespace"), resource_version=locked
        )
        self._informer.take(kind, answer, origin=key)


def _behind(name: str, known: int, used: int) -> str:
    what = f"the object store holds {name}:{used}, the status knows of no number above {known}"
    return f"{what}: numbers go on after {used}, and the whole versions between are known again"


def _is_build(child: JsonObject) -> bool:
    return ENVIRONMENT_LABEL in (child["metadata"].get("labels") or {})


def _owned_by(obj: JsonObject, uid: str) -> bool:
    return any(owner.get("uid") == uid for owner in obj["metadata"].get("ownerReferences") or ())


def _reference(kind: Kind, obj: JsonObject) -> dict[str, str]:
    metadata = obj["metadata"]
    return {
        "kind": kind.kind,
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
    }
