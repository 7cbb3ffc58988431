"""The pace at which a cloud is asked."""

from __future__ import annotations

import asyncio
import threading

import pytest

from trainyard_operator.api.reasons import ComputeClusterReason as Reason
from trainyard_operator.cloud import groups as pace
from trainyard_operator.cloud.errors import CloudError
from trainyard_operator.cloud.groups import PacedNodeGroups
from trainyard_operator.providers.node_group import Failure, GroupAddress, GroupCall, GroupSeen, NodeGroup, Refusal

HERE = GroupAddress(cluster="prod", name="pool")
CALL = GroupCall(address=HERE, verb="create", arguments={"nodeRole": "role"})
ACTIVE = NodeGroup(status="ACTIVE")
CREATING = NodeGroup(status="CREATING")
DENIED = Failure(reason=Reason.CLOUD_ACCESS_DENIED, message="no")
THROTTLED = Failure(reason=Reason.CLOUD_THROTTLED, message="later")


class Api:
    """A cloud that says what it is told to say; `gate` holds its answers back."""

    def __init__(self):
        self.group = ACTIVE
        self.failure = None
        self.refusal = None
        self.looks = 0
        self.made = []
        self.gate = threading.Event()
        self.gate.set()

    def describe(self, address):
        self.looks += 1
        answer, failure = self.group, self.failure
        self.gate.wait(10)
        if failure is not None:
            raise CloudError(failure)
        return answer

    def carry_out(self, call):
        self.made.append(call)
        if self.refusal is not None:
            raise CloudError(self.refusal)


class Bench:
    def __init__(self):
        self.api, self.now = Api(), 1000.0
        self.groups = PacedNodeGroups(self.api, clock=lambda: self.now, patience=0.05)

    async def look(self, *, after=0.0):
        self.now += after
        return await self.groups.look(HERE)

    async def slow_look(self):
        """Look while the cloud does not answer, and let it answer afterwards."""
        self.api.gate.clear()
        seen = await self.look()
        self.api.gate.set()
        await asyncio.wait({self.groups._entries[HERE].task})
        return seen


@pytest.fixture
def bench():
    bench = Bench()
    bench.groups._patience = 60.0
    return bench


@pytest.mark.parametrize(
    ("group", "failure", "seconds"),
    [
        pytest.param(ACTIVE, None, pace.STEADY_SECONDS, id="a steady group"),
        pytest.param(CREATING, None, pace.CHANGING_SECONDS, id="a group that is being made"),
        pytest.param(NodeGroup(status="DEGRADED"), None, pace.CHANGING_SECONDS, id="a group that ails"),
        pytest.param(None, None, pace.CHANGING_SECONDS, id="no group"),
        pytest.param(None, DENIED, pace.FAILED_SECONDS, id="a failure"),
    ],
)
async def test_an_answer_is_good_for_a_while(bench, group, failure, seconds):
    bench.api.group, bench.api.failure = group, failure
    expected = GroupSeen(failure=failure) if failure else GroupSeen(group=group)
    assert await bench.look() == expected
    assert await bench.look(after=seconds - 1) == expected
    assert bench.api.looks == 1
    await bench.look(after=1)
    assert bench.api.looks == 2


async def test_a_cloud_that_does_not_answer_holds_nobody_up(bench):
    bench.groups._patience = 0.01
    assert await bench.slow_look() is None
    assert await bench.look() == GroupSeen(group=ACTIVE)
    assert bench.api.looks == 1


async def test_the_old_answer_is_given_while_a_new_one_is_waited_for(bench):
    await bench.look()
    bench.api.group = CREATING
    bench.now += pace.STEADY_SECONDS
    bench.groups._patience = 0.01
    assert await bench.slow_look() == GroupSeen(group=ACTIVE)
    assert await bench.look() == GroupSeen(group=CREATING)


async def test_what_passes_by_itself_is_passed_over_for_a_while(bench):
    await bench.look()
    bench.api.failure = THROTTLED
    assert await bench.look(after=pace.STEADY_SECONDS) == GroupSeen(group=ACTIVE)
    assert await bench.look(after=pace.GRACE_SECONDS) == GroupSeen(failure=THROTTLED)


async def test_what_does_not_pass_by_itself_is_said_at_once(bench):
    await bench.look()
    bench.api.failure = DENIED
    assert await bench.look(after=pace.STEADY_SECONDS) == GroupSeen(failure=DENIED)


async def test_after_a_call_the_group_is_looked_at_anew(bench):
    await bench.look()
    bench.api.group = CREATING
    await bench.groups.carry_out(CALL)
    assert bench.api.made == [CALL]
    assert await bench.look() == GroupSeen(group=CREATING)


async def test_a_look_from_before_a_call_says_nothing_about_what_came_of_it(bench):
    bench.groups._patience = 0.01
    bench.api.group = None
    bench.api.gate.clear()
    assert await bench.look() is None
    bench.api.group = CREATING
    await bench.groups.carry_out(CALL)
    bench.api.gate.set()
    await asyncio.wait({bench.groups._entries[HERE].task})
    bench.groups._patience = 60.0
    assert await bench.look() is None
    assert await bench.look() == GroupSeen(group=CREATING)


async def test_a_refused_call_is_remembered_with_a_pause_until_one_is_carried_out(bench):
    bench.api.group, bench.api.refusal = None, DENIED
    await bench.look()
    await bench.groups.carry_out(CALL)
    assert (await bench.look()).refusal == Refusal(call=CALL, failure=DENIED, pausing=True)
    assert (await bench.look(after=pace.PAUSE_SECONDS)).refusal == Refusal(call=CALL, failure=DENIED, pausing=False)
    bench.api.refusal = None
    await bench.groups.carry_out(CALL)
    assert (await bench.look()).refusal is None


async def test_a_fault_of_ones_own_is_raised_and_not_kept(bench):
    bench.api.failure = "not a failure"
    bench.api.describe = lambda _: 1 / 0
    with pytest.raises(ZeroDivisionError):
        await bench.look()
    del bench.api.describe
    bench.api.failure = None
    assert await bench.look() == GroupSeen(group=ACTIVE)


async def test_groups_that_nobody_looks_at_are_forgotten(bench):
    await bench.look()
    bench.now += pace.FORGET_SECONDS + 1
    await bench.groups.look(GroupAddress(cluster="prod", name="other"))
    assert [address.name for address in bench.groups._entries] == ["other"]


async def test_closing_ends_what_is_under_way(bench):
    bench.groups._patience = 0.01
    bench.api.gate.clear()
    await bench.look()
    bench.groups.close()
    task = bench.groups._entries[HERE].task
    bench.api.gate.set()
    await asyncio.wait({task})
    assert task.cancelled()
