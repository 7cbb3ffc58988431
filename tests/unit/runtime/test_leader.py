from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.runtime.fakes import FakeClient
from trainyard_operator.api.names import LEASE, POD
from trainyard_operator.kube.errors import Unavailable
from trainyard_operator.runtime.leader import LEASE_SECONDS, RENEW_SECONDS, Leader, LeadershipLost, mark_pod


class World:
    """Operators that share a fake cluster and a clock, which moves as they sleep."""

    def __init__(self):
        self.client = FakeClient()
        self.seconds = 0.0
        self.events = []
        self.told = []

    def leader(self, identity):
        return Leader(
            client=self.client,
            namespace="sys",
            name="lease",
            identity=identity,
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds),
            sleep=self.sleep,
            clock=lambda: self.seconds,
        )

    async def sleep(self, seconds):
        self.seconds += seconds
        for at, action in list(self.events):
            if self.seconds >= at:
                self.events.remove((at, action))
                action()
        await asyncio.sleep(0)

    async def acquire(self, identity):
        async def stand_by(holder):
            self.told.append(holder)

        leader = self.leader(identity)
        await leader.acquire(standing_by=stand_by)
        return leader

    @property
    def lease(self):
        [found] = self.client.of(LEASE)
        return found["spec"]

    def take_over(self):
        found = self.client.objects["leases", "sys", "lease"]
        self.client.seed(LEASE, {**found, "spec": {**found["spec"], "holderIdentity": "thief"}})


async def until(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


@pytest.fixture
def world():
    return World()


async def test_the_first_one_makes_the_lease(world):
    await world.acquire("a")
    assert world.lease["holderIdentity"] == "a"
    assert world.seconds == 0


async def test_the_same_identity_takes_its_lease_back_at_once(world):
    await world.acquire("a")
    await world.acquire("a")
    assert world.seconds == 0
    assert world.lease["leaseTransitions"] == 0


async def test_another_one_waits_until_the_lease_has_stood_still_for_its_duration(world):
    await world.acquire("a")
    await world.acquire("b")
    assert world.lease["holderIdentity"] == "b"
    assert world.lease["leaseTransitions"] == 1
    assert LEASE_SECONDS <= world.seconds < LEASE_SECONDS + 5
    assert world.told == ["a"]


async def test_a_lease_that_moves_is_not_taken(world):
    first = await world.acquire("a")
    second = asyncio.create_task(world.acquire("b"))
    holding = asyncio.create_task(first.hold())
    for _ in range(400):
        await asyncio.sleep(0)
    assert world.seconds > 3 * LEASE_SECONDS
    assert world.lease["holderIdentity"] == "a"
    for task in (second, holding):
        task.cancel()
    await asyncio.gather(second, holding, return_exceptions=True)


async def test_a_lease_that_was_given_back_is_taken_at_once(world):
    first = await world.acquire("a")
    await first.release()
    await world.acquire("b")
    assert world.seconds == 0


async def test_who_finds_another_holder_has_lost(world):
    leader = await world.acquire("a")
    world.events = [(3, world.take_over)]
    with pytest.raises(LeadershipLost, match="held by thief"):
        await leader.hold()


async def test_who_cannot_renew_gives_up_before_another_may_take_over(world):
    leader = await world.acquire("a")

    def fail(*_):
        raise Unavailable("down")

    world.client.before = fail
    with pytest.raises(LeadershipLost, match="could not be renewed"):
        await leader.hold()
    assert RENEW_SECONDS <= world.seconds < LEASE_SECONDS


async def test_a_short_outage_is_survived(world):
    leader = await world.acquire("a")
    failures = [True, True]
    renewed = []

    def fail(*_):
        if failures:
            failures.pop()
            raise Unavailable("down")

    world.client.before = fail
    holding = asyncio.create_task(leader.hold(renewed=lambda: renewed.append(world.seconds)))
    await until(lambda: renewed)
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    assert world.lease["holderIdentity"] == "a"


async def test_a_renewal_whose_answer_was_lost_is_not_taken_for_another_holder(world):
    leader = await world.acquire("a")
    lost = [True]
    renewed = []

    def lose(verb, *_):
        if verb == "update" and lost:
            lost.pop()
            raise Unavailable("connection reset")

    world.client.after = lose
    holding = asyncio.create_task(leader.hold(renewed=lambda: renewed.append(1)))
    await until(lambda: len(renewed) > 1)
    assert not holding.done()
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)


async def test_of_two_that_start_together_one_leads(world):
    tasks = [asyncio.create_task(world.acquire(name)) for name in "ab"]
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize(
    ("leads", "labels"), [(True, {"trainyard.dev/leader": "true"}), (False, {})], ids=["leads", "stands by"]
)
async def test_the_pods_label_says_whether_it_leads(leads, labels):
    client = FakeClient()
    client.seed(
        POD,
        {
            "metadata": {
                "name": "p",
                "namespace": "sys",
                "labels": {"trainyard.dev/leader": "true"} if not leads else {},
            }
        },
    )
    await mark_pod(client, namespace="sys", pod="p", leads=leads)
    assert client.of(POD)[0]["metadata"]["labels"] == labels
