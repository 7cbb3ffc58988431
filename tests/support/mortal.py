"""An operator process that is cut short at one of its writes; API server and object store are real.

A killed life leaves nothing in memory behind: store, queues and controllers of the next one are new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial

from tests.unit.runtime.fakes import FakeGroups
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.domain.environment_build import BuildSettings
from trainyard_operator.domain.job import PodSettings
from trainyard_operator.kube.client import KubeClient
from trainyard_operator.runtime.background import Background
from trainyard_operator.runtime.controllers import build_controllers
from trainyard_operator.runtime.environments import EnvironmentBook
from trainyard_operator.runtime.executor import Executor
from trainyard_operator.runtime.index import Index
from trainyard_operator.runtime.informer import Informer
from trainyard_operator.runtime.memory import Memory
from trainyard_operator.runtime.model_keeper import ModelKeeper
from trainyard_operator.runtime.prime import prime
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.queues import Key, Queues
from trainyard_operator.runtime.reconciler import Reconciler
from trainyard_operator.runtime.store import Store
from trainyard_operator.runtime.watched import PLANNED, WATCHED
from trainyard_operator.storage.model_survey import look_beyond
from trainyard_operator.storage.models import copy_version
from trainyard_operator.storage.runs import erase_run
from trainyard_operator.storage.store import S3Store


class Killed(BaseException):
    """No handler of the code under test may catch the end of its process."""


class Lifetime:
    """How many writes a process lives to see, and whether it dies before its last one or right after it."""

    def __init__(self, *, writes: int | None, after: bool) -> None:
        self._left = writes
        self._after = after
        self.killed = False

    async def write(self, effect):
        if self.killed:
            raise Killed
        if self._left is None:
            return await effect()
        self._left -= 1
        if self._left > 0:
            return await effect()
        if self._after:
            await effect()
        self.killed = True
        raise Killed


class Mortal:
    """Passes everything on; counts what writes."""

    def __init__(self, inner, *, lifetime: Lifetime, writes: set[str]) -> None:
        self._inner, self._lifetime, self._writes = inner, lifetime, writes

    def __getattr__(self, name):
        method = getattr(self._inner, name)
        if name not in self._writes:
            return method

        async def mortal(*args, **kwargs):
            return await self._lifetime.write(partial(method, *args, **kwargs))

        return mortal


async def live(client: KubeClient, objects: S3Store, lifetime: Lifetime, *, now: Callable[[], datetime]) -> None:
    """Be an operator process until there is nothing left to do."""
    store, memory = Store(), Memory()
    queues = Queues(kinds=PLANNED, clock=asyncio.get_running_loop())
    book = QueueBook(store=store)
    informer = Informer(store=store, book=book, queues=queues)
    mortal_client = Mortal(client, lifetime=lifetime, writes={"create", "patch", "patch_status", "delete"})
    mortal_objects = Mortal(objects, lifetime=lifetime, writes={"put", "copy", "delete"})
    environments = EnvironmentBook(
        store=store, objects=mortal_objects, settings=BuildSettings(), trainer_image="trainer:1", bucket="trainyard",
        index=Index,
    )  # fmt: skip
    keeper = ModelKeeper(mortal_objects, now=now)
    executor = Executor(
        client=mortal_client, store=store, informer=informer, memory=memory,
        copy=partial(copy_version, mortal_objects), beyond=partial(look_beyond, mortal_objects),
        erase=partial(erase_run, mortal_objects), groups=FakeGroups(), environments=environments, keeper=keeper,
        background=Background(at_once=4, wake=queues.add, patience=60), now=now,
    )  # fmt: skip
    pods = PodSettings(trainer_image="trainer:1", gateway_url="https://gateway:8443", gateway_ca="PEM")
    controllers = build_controllers(
        store=store, book=book, client=mortal_client, objects=mortal_objects, memory=memory,
        environments=environments, keeper=keeper, pods=pods, catalogue=Catalogue(), karpenter=False, no_kueue="",
        groups=FakeGroups(), bucket="trainyard",
    )  # fmt: skip
    await prime(client=client, informer=informer, watched=WATCHED)
    reconcilers = [
        Reconciler(
            controller=controller, queue=queues[controller.kind], store=store, executor=executor,
            now=now, observer=lambda **_: None,
        )
        for controller in controllers
    ]  # fmt: skip
    before = None
    while (now := versions(store)) != before:
        before = now
        for controller, reconciler in zip(controllers, reconcilers, strict=True):
            for obj in list(store.list(controller.kind)):
                meta = obj["metadata"]
                await reconciler.reconcile(Key(controller.kind.plural, meta.get("namespace", ""), meta["name"]))


def versions(store: Store) -> set[tuple[str, str]]:
    return {(o["metadata"]["uid"], o["metadata"]["resourceVersion"]) for kind in PLANNED for o in store.list(kind)}
