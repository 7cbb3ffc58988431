from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import pytest

from tests.unit.runtime.fakes import FakeClock, training_job
from trainyard_operator.api.names import TRAINING_JOB
from trainyard_operator.domain.plan import Plan, VersionCopy
from trainyard_operator.kube.errors import Conflict, Unavailable
from trainyard_operator.runtime.queues import Key
from trainyard_operator.runtime.reconciler import Reconciler
from trainyard_operator.runtime.store import Store
from trainyard_operator.runtime.workqueue import WorkQueue

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE = Key("trainingjobs", "ns", "one")


class Script:
    """A controller and an executor whose behaviour a test writes down."""

    kind = TRAINING_JOB

    def __init__(self):
        self.plans = {}
        self.executed = []
        self.errors = {}
        self.unfinished = set()
        self.observing = None
        self.active = 0
        self.most_active = 0

    async def observe(self, parent):
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        if self.observing:
            await self.observing(parent)
        self.active -= 1
        return "view"

    def plan(self, parent, view, now):
        assert (view, now) == ("view", NOW)
        return self.plans.get(parent["metadata"]["name"], Plan())

    async def execute(self, kind, parent, plan):
        name = parent["metadata"]["name"]
        self.executed.append(name)
        errors = self.errors.get(name)
        if errors:
            raise errors.pop(0)
        return name not in self.unfinished


class Loop:
    def __init__(self):
        self.clock = FakeClock()
        self.queue = WorkQueue(clock=self.clock, spread=lambda: 1.0)
        self.store = Store()
        self.script = Script()
        self.observed = []
        self.reconciler = Reconciler(
            controller=self.script,
            queue=self.queue,
            store=self.store,
            executor=self.script,
            now=lambda: NOW,
            observer=lambda **said: self.observed.append((said["result"], said["failed"])),
        )

    def put(self, *names, **more):
        for name in names:
            self.store.put(TRAINING_JOB, training_job(name, **more))
            self.queue.add(Key("trainingjobs", "ns", name))

    async def run(self, *, workers=2, rounds=50):
        task = asyncio.create_task(self.reconciler.run(workers=workers))
        for _ in range(rounds):
            await asyncio.sleep(0)
        self.queue.close()
        await task


@pytest.fixture
def loop():
    return Loop()


async def test_each_key_is_planned_and_executed(loop):
    loop.put("one", "two")
    await loop.run()
    assert sorted(loop.script.executed) == ["one", "two"]
    assert loop.observed == [("success", False)] * 2


@pytest.mark.parametrize(
    "more", [pytest.param(None, id="unknown"), pytest.param({"deletionTimestamp": "t"}, id="being deleted")]
)
async def test_an_object_that_is_gone_is_left_in_peace(loop, more):
    if more is None:
        loop.queue.add(ONE)
    else:
        loop.put("one", **more)
    await loop.run()
    assert loop.script.executed == []
    assert loop.observed == [("gone", False)]


async def test_a_plan_says_when_to_look_again(loop):
    loop.put("one")
    loop.script.plans["one"] = Plan(requeue_after=30)
    task = asyncio.create_task(loop.run(rounds=200))
    for _ in range(20):
        await asyncio.sleep(0)
    loop.clock.advance(29)
    for _ in range(20):
        await asyncio.sleep(0)
    assert loop.script.executed == ["one"]
    loop.clock.advance(1)
    await task
    assert loop.script.executed == ["one", "one"]


async def test_after_a_copy_the_object_is_looked_at_again_soon(loop):
    loop.put("one")
    loop.script.plans["one"] = Plan(copy=(VersionCopy(model_name="m", version=1, entry={}),))
    task = asyncio.create_task(loop.run(rounds=200))
    await breathe()
    loop.script.plans.clear()
    loop.clock.advance(0.1)
    await task
    assert loop.observed == [("progress", False), ("success", False)]


async def test_a_copy_that_goes_on_is_not_looked_at_before_its_end(loop):
    loop.put("one")
    loop.script.plans["one"] = Plan(copy=(VersionCopy(model_name="m", version=1, entry={}),))
    loop.script.unfinished = {"one"}
    task = asyncio.create_task(loop.run(rounds=200))
    await breathe()
    loop.clock.advance(60)
    await breathe()
    assert loop.observed == [("progress", False)]
    loop.queue.add(ONE)
    await task
    assert loop.observed == [("progress", False), ("progress", False)]


@pytest.mark.parametrize(
    ("error", "level"),
    [
        pytest.param(Unavailable("the API server is away"), logging.WARNING, id="the world"),
        pytest.param(Conflict("changed"), logging.DEBUG, id="a race"),
        pytest.param(KeyError("bug"), logging.ERROR, id="a bug"),
    ],
)
async def test_one_failing_object_stops_no_other(loop, caplog, error, level):
    caplog.set_level(logging.DEBUG)
    loop.put("one", "two", "three")
    loop.script.errors["one"] = [error]
    await loop.run(workers=1)
    assert loop.script.executed == ["one", "two", "three"]
    assert loop.observed == [(type(error).__name__, True), ("success", False), ("success", False)]
    [record] = caplog.records
    assert record.levelno == level
    assert record.object == {"kind": "TrainingJob", "namespace": "ns", "name": "one"}


async def breathe():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_failing_object_is_tried_later_and_later(loop):
    loop.put("one")
    loop.script.errors["one"] = [Unavailable("down")] * 3
    task = asyncio.create_task(loop.reconciler.run(workers=1))
    await breathe()
    attempts = [1]
    for seconds in (0.25, 0.5, 1.0):
        loop.clock.advance(seconds - 0.01)
        await breathe()
        attempts.append(len(loop.script.executed))
        loop.clock.advance(0.01)
        await breathe()
        attempts.append(len(loop.script.executed))
    assert attempts == [1, 1, 2, 2, 3, 3, 4]
    assert loop.observed == [("Unavailable", True)] * 3 + [("success", False)]
    loop.queue.close()
    await task


async def test_a_server_that_names_a_time_is_obeyed(loop):
    loop.put("one")
    loop.script.errors["one"] = [Unavailable("busy", retry_after=20.0)]
    task = asyncio.create_task(loop.run(workers=1, rounds=300))
    for _ in range(20):
        await asyncio.sleep(0)
    loop.clock.advance(19)
    for _ in range(20):
        await asyncio.sleep(0)
    assert loop.script.executed == ["one"]
    loop.clock.advance(1.1)
    await task
    assert loop.script.executed == ["one", "one"]


async def test_workers_work_at_the_same_time_but_never_more_than_there_are(loop):
    loop.put(*(f"run{n}" for n in range(10)))
    gate = asyncio.Event()

    async def wait(_parent):
        await gate.wait()

    loop.script.observing = wait
    task = asyncio.create_task(loop.run(workers=3, rounds=300))
    for _ in range(20):
        await asyncio.sleep(0)
    assert loop.script.most_active == 3
    gate.set()
    await task
    assert len(loop.script.executed) == 10


async def test_an_object_that_changes_while_it_is_observed_is_planned_as_it_is_now(loop):
    loop.put("one", version=1)
    changes = iter([True])

    async def change(_parent):
        if next(changes, False):
            loop.store.put(TRAINING_JOB, training_job("one", version=2))

    loop.script.observing = change
    await loop.run()
    assert [result for result, _ in loop.observed] == ["outdated", "success"]
