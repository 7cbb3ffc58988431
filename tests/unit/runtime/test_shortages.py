"""What is read out of Events about runs that get no node."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from trainyard_operator.kube.client import Page
from trainyard_operator.runtime.shortages import Waiting, shortages_of

CAPACITY, SCHEDULING, CREATION = "reason=InsufficientCapacityError", "source=karpenter", "involvedObject.kind=Job"


def event(name, message, *, count=1, first="2026-11-23T12:00:00Z", last="2026-11-23T12:01:00Z"):
    return {
        "metadata": {"name": "e"},
        "involvedObject": {"name": name},
        "message": message,
        "count": count,
        "firstTimestamp": first,
        "lastTimestamp": last,
    }


class Events:
    """A client that knows events by a part of the selector that asks for them."""

    def __init__(self, **events):
        self.events = events
        self.asked = []

    async def pages(self, _kind, *, namespace, field_selector):
        self.asked.append((namespace, field_selector))
        kinds = {CAPACITY: "capacity", SCHEDULING: "scheduling", CREATION: "creation"}
        name = next(known for part, known in kinds.items() if part in field_selector)
        yield Page(items=self.events.get(name, []), resource_version="1")


async def found(client, **waiting):
    said = await shortages_of(client, pool="pool-1", waiting={"team": Waiting(**waiting)})
    return [(s.code, s.message, s.count) for s in said]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        pytest.param(
            {"capacity": [event("pool-1-x", "NodeClaim pool-1-x event: no capacity")]},
            [("InsufficientCapacity", "no capacity", 1)],
            id="a machine that could not be had",
        ),
        pytest.param({"capacity": [event("pool-2-x", "no capacity")]}, [], id="a machine of another pool"),
        pytest.param(
            {"scheduling": [event("run-1", "Failed to schedule pod, no instance type has the required offering")]},
            [("InsufficientCapacity", "no instance type has the required offering", 1)],
            id="every machine sold out",
        ),
        pytest.param(
            {"scheduling": [event("run-1", "Failed to schedule pod, incompatible requirements")]},
            [("Unschedulable", "incompatible requirements", 1)],
            id="no machine would do",
        ),
        pytest.param(
            {"scheduling": [event("run-1", "all available instance types exceed limits for nodepool")]},
            [],
            id="a pool that is full for a moment",
        ),
        pytest.param({"scheduling": [event("another", "no machine")]}, [], id="another pod"),
        pytest.param(
            {"creation": [event("job-1", 'Error creating: pods "x" is forbidden: exceeded quota: q, limited: pods=0')]},
            [("QuotaExceeded", "exceeded quota: q, limited: pods=0", 1)],
            id="no room in a quota",
        ),
        pytest.param(
            {"creation": [event("job-1", 'Error creating: pods "x" is forbidden: violates PodSecurity "baseline:v1"')]},
            [("PodForbidden", 'namespace team admits no such pod: violates PodSecurity "baseline:v1"', 1)],
            id="not admitted",
        ),
        pytest.param({"creation": [event("job-1", "Error creating: webhook")]}, [], id="another refusal of a pod"),
    ],
)
async def test_each_sentence_has_the_reason_that_runs_are_given(events, said):
    assert await found(Events(**events), pods=["run-1"], jobs=["job-1"]) == said


async def test_the_same_words_on_several_machines_are_one_sentence():
    words = [
        event("pool-1-a", "NodeClaim pool-1-a event: sold out", count=2, first="2026-11-23T11:00:00Z"),
        event("pool-1-b", "NodeClaim pool-1-b event: sold out", last="2026-11-23T12:05:00Z"),
    ]
    (said,) = await shortages_of(Events(capacity=words), pool="pool-1", waiting={})
    assert (said.message, said.count) == ("sold out", 3)
    assert said.first == datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
    assert said.last == datetime(2026, 11, 23, 12, 5, tzinfo=UTC)


async def test_only_what_somebody_waits_for_is_asked_for():
    client = Events()
    await found(client, pods=["run-1"])
    assert [namespace for namespace, _ in client.asked] == ["default", "team"]
