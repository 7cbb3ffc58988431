"""The queue: who starts, in which order, and how good its estimates are."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.domain.builders import NOW
from trainyard_operator.api.sizes import Size
from trainyard_operator.domain.conditions import timestamp
from trainyard_operator.domain.queueing import (
    OVERTAKING_SECONDS,
    Capacity,
    Demand,
    Entry,
    Queue,
    admissions,
    estimates,
    may_start,
    next_look,
)

SIZE = Size(name="EIGHT", cpu=8000, memory=32 * 2**30)


def entry(name, *, priority=0, age=60, cpu=0, not_before=None, since=None):
    return Entry(
        uid=f"uid-{name}",
        namespace="default",
        name=name,
        priority=priority,
        created=timestamp(NOW - timedelta(seconds=age)),
        demand=Demand(cpu=cpu),
        not_before=not_before,
        since=since,
    )


def queue(*waiting, admitted=()):
    ordered = sorted(waiting, key=lambda e: e.order)
    return Queue(waiting=ordered, admitted={e.uid: e for e in admitted})


def names(entries):
    return [e.name for e in entries]


LATER = NOW + timedelta(seconds=30)
FOUR_SLOTS = Capacity(nodes=1, jobs_per_node=4, size=SIZE)


@pytest.mark.parametrize(
    ("waiting", "admitted", "capacity", "chosen"),
    [
        pytest.param([], [], Capacity(nodes=4), [], id="nobody waits"),
        pytest.param([entry("a"), entry("b", age=90)], [], Capacity(nodes=1), ["b"], id="the oldest first"),
        pytest.param([entry("a", age=90), entry("b", priority=1)], [], Capacity(nodes=1), ["b"], id="priority before age"),
        pytest.param([entry("b"), entry("a")], [], Capacity(nodes=1), ["a"], id="the name within a second"),
        pytest.param([entry("a")], [entry("x")], Capacity(nodes=1), [], id="no slot free"),
        pytest.param([entry("a"), entry("b")], [entry("x")], Capacity(nodes=2), ["a"], id="one slot free"),
        pytest.param([entry("a"), entry("b")], [], Capacity(nodes=0), [], id="no node allowed"),
        pytest.param([entry("a"), entry("b")], [entry("x")], Capacity(nodes=None), ["a", "b"], id="nothing limits it"),
        pytest.param([entry("a"), entry("b")], [entry(c) for c in "xyz"], Capacity(nodes=1), [], id="limit lowered below what runs"),
        pytest.param([entry("a", not_before=LATER), entry("b")], [], Capacity(nodes=1), ["b"], id="one in back-off is passed"),
        pytest.param([entry("a", not_before=NOW), entry("b")], [], Capacity(nodes=1), ["a"], id="back-off is over"),
        pytest.param([entry("a", cpu=4000), entry("b")], [entry("x"), entry("y"), entry("z")], FOUR_SLOTS, ["b"], id="a small one overtakes"),
        pytest.param([entry("a", cpu=4000, age=OVERTAKING_SECONDS + 1), entry("b")], [entry("x"), entry("y"), entry("z")], FOUR_SLOTS, [], id="slots are kept in the end"),
        pytest.param([entry("a", cpu=4000), entry("b", cpu=4000)], [], FOUR_SLOTS, ["a", "b"], id="two slots each"),
        pytest.param([entry("a", cpu=9000), entry("b")], [], FOUR_SLOTS, ["b"], id="larger than a node"),
    ],
)  # fmt: skip
def test_who_is_let_in(waiting, admitted, capacity, chosen):
    assert names(admissions(queue(*waiting, admitted=admitted), capacity, now=NOW)) == chosen


@pytest.mark.parametrize(
    ("waiting", "admitted", "new", "starts"),
    [
        pytest.param([], [], entry("new"), True, id="empty"),
        pytest.param([], [entry("x")], entry("new"), False, id="full"),
        pytest.param([entry("a")], [], entry("new", age=1), False, id="one is before it"),
        pytest.param([entry("a")], [], entry("new", age=1, priority=1), True, id="it is before the one that waits"),
        pytest.param(
            [entry("a", not_before=LATER)], [], entry("new", age=1), True, id="the one before it is in back-off"
        ),
    ],
)
def test_a_new_run_starts_at_once_only_where_nobody_is_before_it(waiting, admitted, new, starts):
    assert may_start(new, queue(*waiting, admitted=admitted), Capacity(nodes=1), now=NOW) is starts


@pytest.mark.parametrize(
    ("demand", "per_node", "slots"),
    [
        pytest.param(Demand(), 1, 1, id="nothing asked"),
        pytest.param(Demand(cpu=8000), 1, 1, id="a whole node"),
        pytest.param(Demand(cpu=8001), 1, None, id="more than a node"),
        pytest.param(Demand(memory=33 * 2**30), 1, None, id="more memory than a node"),
        pytest.param(Demand(cpu=2000), 4, 1, id="exactly a slot"),
        pytest.param(Demand(cpu=2001), 4, 2, id="a little more than a slot"),
        pytest.param(Demand(cpu=100, memory=25 * 2**30), 4, 4, id="memory decides"),
    ],
)
def test_how_many_slots_a_run_takes(demand, per_node, slots):
    assert Capacity(nodes=1, jobs_per_node=per_node, size=SIZE).slots_of(demand) == slots


def test_a_cluster_without_a_size_gives_every_run_one_slot():
    assert Capacity(nodes=1).slots_of(Demand(cpu=10**9)) == 1


def test_the_next_look_is_when_the_first_back_off_ends():
    assert next_look(queue(entry("a"), entry("b", not_before=LATER)), now=NOW) == 30
    assert next_look(queue(entry("a"), entry("b", not_before=NOW)), now=NOW) is None


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(-2, 2)),
        st.tuples(st.just("cancel"), st.integers(0, 50)),
        st.tuples(st.just("end"), st.integers(0, 50)),
    ),
    min_size=20,
    max_size=100,
)


@given(actions=ACTIONS, nodes=st.integers(1, 4))
def test_order_and_limit_are_those_of_a_model_that_simply_sorts(actions, nodes):
    """The reference keeps lists and sorts; the queue must let in the same runs at each step, and never too many."""
    capacity = Capacity(nodes=nodes)
    waiting, running = [], []
    for number, (action, value) in enumerate(actions):
        if action == "submit":
            waiting.append(entry(f"run-{number:03}", priority=value, age=1000 - number))
        elif action == "cancel" and waiting:
            waiting.pop(value % len(waiting))
        elif action == "end" and running:
            running.pop(value % len(running))
        expected = sorted(waiting, key=lambda e: (-e.priority, e.created))[: nodes - len(running)]
        chosen = list(admissions(queue(*waiting, admitted=running), capacity, now=NOW))
        assert chosen == expected
        running += chosen
        waiting = [e for e in waiting if e not in chosen]
        assert len(running) <= nodes


def test_estimates_need_runs_to_learn_from():
    waiting = queue(entry("a"), admitted=[entry("x", since=NOW)])
    assert estimates(waiting, Capacity(nodes=1), measured=[60.0, 60.0], now=NOW, first=50) == ()
    (found,) = estimates(waiting, Capacity(nodes=1), measured=[60.0] * 3, now=NOW, first=50)
    assert (found.earliest, found.likely) == (NOW + timedelta(seconds=60),) * 2


def test_estimates_are_the_same_for_the_same_queue_and_grow_with_the_place():
    waiting = queue(*(entry(f"r{n}", age=100 - n) for n in range(10)), admitted=[entry("x", since=NOW)])
    measured = [float(n) for n in range(10, 60)]
    first = estimates(waiting, Capacity(nodes=2), measured=measured, now=NOW, first=8)
    assert first == estimates(waiting, Capacity(nodes=2), measured=measured, now=NOW, first=8)
    assert len(first) == 8
    assert all(e.earliest <= e.likely for e in first)
    assert [e.likely for e in first] == sorted(e.likely for e in first)


def test_the_range_of_an_estimate_holds_in_four_of_five_cases_of_a_months_arrivals():
    """Three busy machines for a month: what was estimated when a run joined the queue, against when it started."""
    dice = random.Random(7)
    nodes, clock = 3, NOW
    waiting, running, measured, promised, kept = [], [], [], {}, []
    arrivals = []
    while clock < NOW + timedelta(days=30):
        clock += timedelta(seconds=dice.expovariate(1 / 700))
        arrivals.append(clock)
    events = arrivals
    number = 0
    while events or running:
        ends = min((end for end, _, _ in running), default=None)
        if events and (ends is None or events[0] <= ends):
            clock = events.pop(0)
            number += 1
            new = Entry(
                uid=f"u{number}", namespace="default", name=f"r{number:05}", priority=0, created=timestamp(clock)
            )
            waiting.append(new)
            state = Queue(
                waiting=waiting,
                admitted={
                    e.uid: Entry(
                        uid=e.uid, namespace="default", name=e.name, priority=0, created=e.created, since=begun
                    )
                    for _, begun, e in running
                },
            )
            if len(running) >= nodes:
                found = estimates(state, Capacity(nodes=nodes), measured=measured, now=clock, first=50)
                if len(found) == len(waiting):
                    promised[new.uid] = found[-1]
        else:
            clock = ends
            running = [r for r in running if r[0] > ends]
        while waiting and len(running) < nodes:
            begun = waiting.pop(0)
            if begun.uid in promised:
                promise = promised.pop(begun.uid)
                kept.append(promise.earliest <= clock <= promise.likely)
            seconds = dice.lognormvariate(7.2, 0.6)
            running.append((clock + timedelta(seconds=seconds), clock, begun))
            measured.append(seconds)
    assert len(kept) > 500
    assert sum(kept) / len(kept) >= 0.8
