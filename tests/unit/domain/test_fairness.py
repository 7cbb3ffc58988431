"""Fair shares among the namespaces of one cluster."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.domain.builders import NOW
from trainyard_operator.domain.conditions import timestamp
from trainyard_operator.domain.fairness import HALF_LIFE_SECONDS, Usage, fair_order
from trainyard_operator.domain.queueing import Capacity, Entry, Queue, admissions

CAPACITY = Capacity(nodes=4)


def entry(name, namespace, *, priority=0, age=60, since=None):
    created = timestamp(NOW - timedelta(seconds=age))
    return Entry(
        uid=f"{namespace}/{name}", namespace=namespace, name=name, priority=priority, created=created, since=since
    )


def ordered(waiting, *, used=None, weights=None, admitted=(), expected=60.0):
    queue = Queue(waiting=sorted(waiting, key=lambda e: e.order), admitted={e.uid: e for e in admitted})
    found = fair_order(queue, CAPACITY, used=used or {}, weights=weights or {}, expected=expected, now=NOW)
    return [e.uid for e in found]


def test_namespaces_that_have_used_the_same_take_turns():
    flood = [entry(f"r{n}", "a", age=100 - n) for n in range(4)]
    late = [entry(f"r{n}", "b", age=10 - n) for n in range(2)]
    assert ordered([*flood, *late]) == ["a/r0", "b/r0", "a/r1", "b/r1", "a/r2", "a/r3"]


@pytest.mark.parametrize(
    ("case", "first"),
    [
        pytest.param({"used": {"a": 100.0}}, "b/r", id="who has used less"),
        pytest.param({"used": {"a": 100.0, "b": 50.0}, "weights": {"a": 4}}, "a/r", id="who has more weight"),
        pytest.param({"admitted": [entry("x", "a", since=NOW)]}, "b/r", id="who has nothing running"),
        pytest.param({}, "a/r", id="who came first"),
    ],
)
def test_who_is_next(case, first):
    assert ordered([entry("r", "a", age=90), entry("r", "b", age=10)], **case)[0] == first


def test_within_a_namespace_priority_and_age_decide():
    waiting = [entry("old", "a", age=90), entry("new", "a", age=10), entry("urgent", "a", priority=1, age=1)]
    assert ordered(waiting) == ["a/urgent", "a/old", "a/new"]


def test_usage_counts_half_after_each_half_life():
    usage = Usage(reference=NOW)
    usage.add("a", 100, ended=NOW)
    usage.add("a", 100, ended=NOW + timedelta(seconds=HALF_LIFE_SECONDS))
    later = usage.at(NOW + timedelta(seconds=2 * HALF_LIFE_SECONDS))
    assert later["a"] == pytest.approx(75)


def test_usage_of_months_neither_overflows_nor_forgets_what_is_new():
    usage = Usage(reference=NOW)
    end = NOW
    for _ in range(400):
        end += timedelta(hours=12)
        usage.add("a", 60, ended=end)
    usage.add("b", 60, ended=end - timedelta(days=300))
    now = usage.at(end)
    assert 60 <= now["a"] < 61
    assert now.get("b", 0) < 1e-6


def test_a_flood_of_one_namespace_keeps_another_waiting_for_two_completions_at_most():
    capacity = Capacity(nodes=2)
    flood = [entry(f"r{n:03}", "flood", age=1000 - n) for n in range(500)]
    running = [replace(e, since=NOW) for e in flood[:2]]
    waiting = [*flood[2:], entry("only", "other", age=0)]
    for completions in range(1, 3):
        running.pop(0)
        queue = Queue(waiting=waiting, admitted={e.uid: e for e in running})
        order = fair_order(queue, capacity, used={"flood": 60.0 * completions}, weights={}, expected=60.0, now=NOW)
        (chosen,) = admissions(replace(queue, waiting=order), capacity, now=NOW)
        if chosen.namespace == "other":
            return
        running.append(chosen)
        waiting.remove(chosen)
    pytest.fail("the other namespace still waits")


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=30),
    st.dictionaries(st.sampled_from("abc"), st.floats(0, 1e6)),
)
def test_the_order_is_one_of_the_same_runs_and_keeps_each_namespaces_own(wishes, used):
    waiting = [entry(f"r{n:02}", ns, priority=p, age=100 - n) for n, (ns, p) in enumerate(wishes)]
    found = ordered(waiting, used=used)
    assert sorted(found) == sorted(e.uid for e in waiting)
    for namespace in "abc":
        own = sorted((e for e in waiting if e.namespace == namespace), key=lambda e: e.order)
        assert [uid for uid in found if uid.startswith(namespace)] == [e.uid for e in own]
