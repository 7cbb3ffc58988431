from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.runtime.fakes import FakeClock
from trainyard_operator.runtime.workqueue import FIRST_DELAY, LONGEST_DELAY, QueueClosed, WorkQueue


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(clock: FakeClock) -> WorkQueue[str]:
    return WorkQueue(clock=clock, spread=lambda: 1.0)


async def take(queue: WorkQueue[str]) -> list[str]:
    """Take all that is ready, and let go of it."""
    taken = []
    while True:
        try:
            key = await asyncio.wait_for(queue.get(), 0.001)
        except TimeoutError:
            return taken
        taken.append(key)
        queue.done(key)


async def test_a_key_that_is_added_often_is_taken_once(queue):
    for _ in range(5):
        queue.add("a")
    assert await take(queue) == ["a"]


async def test_keys_are_taken_in_the_order_they_came(queue):
    for key in ("b", "a", "c", "a"):
        queue.add(key)
    assert await take(queue) == ["b", "a", "c"]


async def test_a_key_is_never_held_by_two_workers(queue):
    queue.add("a")
    held = await queue.get()
    queue.add("a")
    assert await take(queue) == []
    queue.done(held)
    assert await take(queue) == ["a"]


async def test_of_several_later_wishes_the_earliest_counts(queue, clock):
    queue.add_after("a", 10)
    queue.add_after("a", 3)
    queue.add_after("a", 7)
    clock.advance(2.9)
    assert await take(queue) == []
    clock.advance(0.2)
    assert await take(queue) == ["a"]
    clock.advance(20)
    assert await take(queue) == []


async def test_a_worker_that_takes_a_key_settles_its_later_wishes(queue, clock):
    queue.add_after("a", 5)
    queue.add("a")
    assert await take(queue) == ["a"]
    clock.advance(10)
    assert await take(queue) == []


async def test_a_wish_that_is_made_while_the_key_is_held_is_kept(queue, clock):
    queue.add("a")
    held = await queue.get()
    queue.add_after("a", 5)
    queue.done(held)
    clock.advance(5)
    assert await take(queue) == ["a"]


@pytest.mark.parametrize("seconds", [0, -1], ids=["at once", "in the past"])
async def test_a_wish_that_is_due_needs_no_timer(queue, clock, seconds):
    queue.add_after("a", seconds)
    assert clock.pending() == 0
    assert await take(queue) == ["a"]


async def test_failures_double_the_delay_up_to_the_longest(queue):
    delays = [queue.retry("a") for _ in range(12)]
    assert delays[:3] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    assert delays[-1] == LONGEST_DELAY


async def test_success_starts_the_delays_anew(queue):
    queue.retry("a")
    queue.retry("a")
    queue.forget("a")
    assert queue.retry("a") == FIRST_DELAY


async def test_the_delay_is_not_shorter_than_the_server_asked_for(queue):
    assert queue.retry("a", at_least=17.0) == 17.0


async def test_the_spread_keeps_failures_apart_but_never_above_the_delay(clock):
    numbers = iter([0.0, 0.5, 1.0])
    queue: WorkQueue[str] = WorkQueue(clock=clock, spread=lambda: next(numbers))
    assert [queue.retry(key) for key in "abc"] == [FIRST_DELAY * part for part in (0.5, 0.75, 1.0)]


async def test_closing_wakes_all_who_wait(queue):
    waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [QueueClosed] * 3


async def test_a_closed_queue_takes_nothing_in_and_sets_no_timer(queue, clock):
    queue.add_after("a", 5)
    queue.close()
    queue.add("b")
    queue.add_after("c", 1)
    assert clock.pending() == 0
    assert len(queue) == 0


async def test_a_cancelled_worker_passes_its_wake_up_on(queue):
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 60) == "a"
    await asyncio.gather(first, return_exceptions=True)


async def test_a_key_that_is_added_again_and_again_while_held_comes_back_once(queue):
    queue.add("a")
    held = await queue.get()
    for _ in range(3):
        queue.add("a")
    queue.done(held)
    assert await take(queue) == ["a"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "after", "get", "done", "tick", "retry"]), st.sampled_from("abc"), st.integers(0, 5)
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_no_wish_is_lost_and_no_key_is_held_twice(steps):
    async def play() -> None:
        clock = FakeClock()
        queue: WorkQueue[str] = WorkQueue(clock=clock, spread=lambda: 0.5)
        held: list[str] = []
        wanted: set[str] = set()  # keys that somebody asked for since they were last taken
        for action, key, number in steps:
            if action == "add":
                queue.add(key)
                wanted.add(key)
            elif action == "after":
                queue.add_after(key, number)
                wanted.add(key)
            elif action == "retry":
                queue.retry(key)
                wanted.add(key)
            elif action == "get":
                task = asyncio.create_task(queue.get())
                await asyncio.sleep(0)
                if task.done():
                    taken = task.result()
                    assert taken not in held
                    assert taken in wanted
                    wanted.discard(taken)
                    held.append(taken)
                else:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
            elif action == "done" and held:
                queue.done(held.pop(0))
            elif action == "tick":
                clock.advance(number)
        for key in held:
            queue.done(key)
        clock.advance(LONGEST_DELAY + 10)
        assert sorted(await take(queue)) == sorted(wanted)

    asyncio.run(play())
