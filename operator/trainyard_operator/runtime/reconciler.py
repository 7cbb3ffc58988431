"""The loop of one kind: take a key, look, plan, execute.

Whatever goes wrong with one object is that object's: it is logged with its reference, counted, and tried again later,
and the next key is taken.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from trainyard_operator.domain.plan import Plan
from trainyard_operator.kube.errors import ApiError, Conflict, NotFound
from trainyard_operator.runtime.controller import Controller
from trainyard_operator.runtime.executor import Executor
from trainyard_operator.runtime.queues import Key
from trainyard_operator.runtime.store import Store
from trainyard_operator.runtime.workqueue import QueueClosed, WorkQueue
from trainyard_operator.storage.errors import StoreError

JsonObject = dict[str, Any]

# An object store that does not answer must not keep a worker for ever.
OBSERVE_SECONDS = 60.0
# Between one step of a registration and the look at what came of it.
STEP_SECONDS = 0.05
# Part of the life beside others: the news that explain it are on their way already.
_ORDINARY = (Conflict, NotFound)
# What the world around does to everybody needs no traceback.
_EXPECTED = (ApiError, StoreError, TimeoutError)

log = logging.getLogger(__name__)


class ReconcileObserver(Protocol):
    """Who counts: `result` is success, requeue, progress, outdated, gone or, where it failed, the name of an error."""

    def __call__(self, *, kind: str, result: str, seconds: float, failed: bool) -> None:
        """Note one reconcile."""
        ...


class Reconciler:
    """Works through the queue of one kind."""

    def __init__(  # noqa: PLR0913 - the parts of the loop
        self,
        *,
        controller: Controller,
        queue: WorkQueue[Key],
        store: Store,
        executor: Executor,
        now: Callable[[], datetime],
        observer: ReconcileObserver,
    ) -> None:
        self._controller = controller
        self._queue = queue
        self._store = store
        self._executor = executor
        self._now = now
        self._observer = observer

    async def run(self, *, workers: int) -> None:
        """Work with so many workers until the queue is closed."""
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._work(), name=f"{self._controller.kind.plural}-worker-{number}")

    async def _work(self) -> None:
        while True:
            try:
                key = await self._queue.get()
            except QueueClosed:
                return
            try:
                await self._attempt(key)
            finally:
                self._queue.done(key)
            # Converged objects wait for nothing, and ten thousand of them must not keep the loop from all else.
            await asyncio.sleep(0)

    async def _attempt(self, key: Key) -> None:
        clock = asyncio.get_running_loop()
        begin = clock.time()
        failed = False
        try:
            result = await self.reconcile(key)
        except Exception as error:  # noqa: BLE001 - the boundary between one object and all others
            failed, result = True, type(error).__name__
            delay = self._queue.retry(key, at_least=getattr(error, "retry_after", None) or 0.0)
            self._complain(key, error, delay)
        else:
            self._queue.forget(key)
        self._observer(kind=self._controller.kind.kind, result=result, seconds=clock.time() - begin, failed=failed)

    async def reconcile(self, key: Key) -> str:
        """Bring one object a step on; return what came of it."""
        kind = self._controller.kind
        parent = self._store.get(kind, key.namespace, key.name)
        # One that is going is only of interest where something of ours still has to go before it.
        if parent is None or (parent["metadata"].get("deletionTimestamp") and not parent["metadata"].get("finalizers")):
            return "gone"
        async with asyncio.timeout(OBSERVE_SECONDS):
            view = await self._controller.observe(parent)
        # What observing waited for may have outlived the object: plan for the one that is there now.
        if self._store.get(kind, key.namespace, key.name) is not parent:
            self._queue.add(key)
            return "outdated"
        plan = self._controller.plan(parent, view, self._now())
        if not await self._executor.execute(kind, parent, plan):
            return "progress"
        return self._again(key, plan)

    def _again(self, key: Key, plan: Plan) -> str:
        if plan.copy or plan.register or plan.clear or plan.seal is not None:
            self._queue.add_after(key, STEP_SECONDS)
            return "progress"
        if plan.requeue_after is not None:
            self._queue.add_after(key, plan.requeue_after)
            return "requeue"
        return "success"

    def _complain(self, key: Key, error: Exception, delay: float) -> None:
        kind = self._controller.kind.kind
        reference = {"kind": kind, "namespace": key.namespace, "name": key.name}
        known = isinstance(error, _EXPECTED)
        level = logging.DEBUG if isinstance(error, _ORDINARY) else logging.WARNING if known else logging.ERROR
        log.log(
            level,
            "reconciling failed, trying again in %.1f s: %s: %s",
            delay,
            type(error).__name__,
            error,
            exc_info=None if known else error,
            extra={"object": reference},
        )
