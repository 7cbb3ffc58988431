from __future__ import annotations

import asyncio

import pytest

from tests.unit.runtime.fakes import FakeClient, FakeClock, job, training_job
from trainyard_operator.api.names import JOB, NODE, TRAINING_JOB
from trainyard_operator.kube.errors import Expired, NotFound, Unavailable
from trainyard_operator.runtime import prime as prime_module
from trainyard_operator.runtime.informer import Informer
from trainyard_operator.runtime.prime import prime
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.queues import Queues
from trainyard_operator.runtime.resync import LISTED_SECONDS, Drift, Resync
from trainyard_operator.runtime.store import Store
from trainyard_operator.runtime.watched import PLANNED, POOLS, Watched

RUNS = Watched(kind=TRAINING_JOB)


class Yard:
    def __init__(self):
        self.client = FakeClient()
        self.store = Store()
        self.queues = Queues(kinds=PLANNED, clock=FakeClock())
        self.informer = Informer(store=self.store, book=QueueBook(store=self.store), queues=self.queues)
        self.meanwhile = lambda: None
        self.resync = Resync(client=self.client, store=self.store, informer=self.informer, sleep=self.sleep)

    async def sleep(self, _seconds):
        self.meanwhile()

    def known(self, *names):
        for name in names:
            self.store.put(TRAINING_JOB, self.client.seed(TRAINING_JOB, training_job(name)))

    def names(self):
        return sorted(obj["metadata"]["name"] for obj in self.store.list(TRAINING_JOB))


@pytest.fixture
def yard():
    return Yard()


async def test_a_sweep_over_what_is_known_costs_one_listing_and_enqueues_nothing(yard):
    yard.known("a", "b", "c")
    assert await yard.resync.sweep(RUNS) == Drift()
    assert yard.client.calls == {"list trainingjobs": 1}
    assert yard.queues.depths()["trainingjobs"] == 0


async def test_a_ghost_is_removed(yard):
    yard.known("a", "b")
    yard.client.remove(TRAINING_JOB, "ns", "a")
    assert await yard.resync.sweep(RUNS) == Drift(ghosts=1)
    assert yard.names() == ["b"]


async def test_an_object_that_the_listing_leaves_out_is_a_ghost_once_it_is_gone(yard):
    yard.known("a", "b")
    followed = Watched(kind=TRAINING_JOB, label_selector="team")
    assert await yard.resync.sweep(followed) == Drift()
    yard.client.remove(TRAINING_JOB, "ns", "a")
    assert await yard.resync.sweep(followed) == Drift(ghosts=1)
    assert yard.names() == ["b"]


async def test_the_runs_of_ghostly_jobs_are_woken(yard):
    yard.store.put(JOB, yard.client.seed(JOB, job()))
    yard.client.remove(JOB, "ns", "one-job")
    await yard.resync.sweep(Watched(kind=JOB))
    assert yard.queues.depths()["trainingjobs"] == 1


async def test_an_object_that_was_made_after_the_listing_is_no_ghost(yard):
    yard.known("a")
    made = yard.client.seed(TRAINING_JOB, training_job("new"))
    yard.client.remove(TRAINING_JOB, "ns", "new")
    listed_at = yard.client.version
    made["metadata"]["resourceVersion"] = str(listed_at + 5)
    yard.store.put(TRAINING_JOB, made)
    assert await yard.resync.sweep(RUNS) == Drift()
    assert yard.names() == ["a", "new"]


async def test_a_missing_object_is_fetched(yard):
    yard.known("a")
    yard.client.seed(TRAINING_JOB, training_job("b"))
    assert await yard.resync.sweep(RUNS) == Drift(behind=1)
    assert yard.names() == ["a", "b"]
    assert yard.queues.depths()["trainingjobs"] == 1


async def test_a_stale_object_is_fetched(yard):
    yard.known("a")
    yard.client.seed(TRAINING_JOB, training_job("a", uid="uid-a", status={"phase": "Running"}))
    assert await yard.resync.sweep(RUNS) == Drift(behind=1)
    assert yard.store.get(TRAINING_JOB, "ns", "a")["status"] == {"phase": "Running"}


async def test_a_watch_that_is_a_little_late_is_given_time(yard):
    late = yard.client.seed(TRAINING_JOB, training_job("a"))
    yard.meanwhile = lambda: yard.store.put(TRAINING_JOB, late)
    assert await yard.resync.sweep(RUNS) == Drift()
    assert yard.client.calls == {"list trainingjobs": 1}


async def test_many_missing_objects_are_fetched_by_one_listing(yard):
    for number in range(30):
        yard.client.seed(TRAINING_JOB, training_job(f"run{number:02}"))
    assert await yard.resync.sweep(RUNS) == Drift(behind=30)
    assert len(yard.names()) == 30
    assert yard.client.calls == {"list trainingjobs": 2}


async def test_a_listing_that_fails_removes_nothing(yard):
    yard.known("a")

    def fail(*_):
        raise Unavailable("down")

    yard.client.before = fail
    with pytest.raises(Unavailable):
        await yard.resync.sweep(RUNS)
    assert yard.names() == ["a"]


class TestPrime:
    async def test_every_kind_is_listed_once(self, yard):
        yard.client.seed(TRAINING_JOB, training_job("a"))
        yard.client.seed(JOB, job())
        await prime(client=yard.client, informer=yard.informer, watched=(Watched(kind=NODE), Watched(kind=JOB), RUNS))
        assert {call: n for call, n in yard.client.calls.items() if call.startswith("list")} == {
            "list nodes": 1,
            "list jobs": 1,
            "list trainingjobs": 1,
        }
        assert yard.store.children(JOB, "uid-one")
        assert yard.names() == ["a"]

    @pytest.mark.parametrize(
        "error", [NotFound("no such kind"), Unavailable("down"), Expired("too old")], ids=lambda e: type(e).__name__
    )
    async def test_it_waits_for_what_is_not_there_yet(self, yard, monkeypatch, error):
        monkeypatch.setattr(prime_module, "RETRY_SECONDS", 0)
        errors = [error]

        def fail(*_):
            if errors:
                raise errors.pop()

        yard.client.before = fail
        yard.client.seed(TRAINING_JOB, training_job("a"))
        await prime(client=yard.client, informer=yard.informer, watched=(RUNS,))
        assert yard.names() == ["a"]

    async def test_it_does_not_wait_for_another_programs_kind_that_was_removed(self, yard):
        def fail(*_):
            raise NotFound("no such kind")

        yard.client.before = fail
        with pytest.raises(NotFound, match="no such kind"):
            await prime(client=yard.client, informer=yard.informer, watched=POOLS)

    async def test_it_waits_until_kopf_can_find_the_kind(self, yard, monkeypatch):
        monkeypatch.setattr(prime_module, "RETRY_SECONDS", 0)
        yard.client.undiscovered.add("trainingjobs")
        priming = asyncio.create_task(prime(client=yard.client, informer=yard.informer, watched=(RUNS,)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not priming.done()
        yard.client.undiscovered.clear()
        await priming


async def test_a_kind_is_swept_soon_after_each_listing_and_else_once_in_a_while(yard):
    """A deletion between two listings is told by nobody: what vanished then must not be waited for until the next round."""
    moments, now = [], 0.0

    async def sleep(seconds):
        nonlocal now
        now += seconds
        if now == 50:
            resync.listed(NODE)
        if now > 120:
            raise asyncio.CancelledError

    resync = Resync(client=yard.client, store=yard.store, informer=yard.informer, sleep=sleep, clock=lambda: now)
    with pytest.raises(asyncio.CancelledError):
        await resync.run(
            watched=(Watched(kind=NODE),), seconds=100, swept=lambda kind, _: moments.append((kind.plural, now))
        )
    assert moments == [("nodes", LISTED_SECONDS), ("nodes", 50 + LISTED_SECONDS)]
