from __future__ import annotations

import asyncio

import pytest

from trainyard_operator.runtime.background import Background
from trainyard_operator.runtime.queues import Key

ONE = Key("registeredmodels", "ns", "one")


class Work:
    """Work that ends when it is let go, and counts how often it began."""

    def __init__(self, error=None):
        self.begun = 0
        self.end = asyncio.Event()
        self.error = error

    async def __call__(self):
        self.begun += 1
        await self.end.wait()
        if self.error:
            raise self.error


class Yard:
    """A background whose wakes are kept."""

    def __init__(self, at_once=2):
        self.woken = asyncio.Queue()
        self.background = Background(at_once=at_once, wake=self.woken.put_nowait, patience=0.01)

    async def do(self, work, name="work"):
        return await self.background.do(name, work, key=ONE)


async def test_short_work_is_done_at_once_and_wakes_nobody():
    yard, work = Yard(), Work()
    work.end.set()
    assert await yard.do(work)
    assert yard.woken.empty()


async def test_short_work_that_fails_is_told_at_once():
    yard, work = Yard(), Work(OSError("no"))
    work.end.set()
    with pytest.raises(OSError, match="no"):
        await yard.do(work)
    assert yard.woken.empty()


async def test_long_work_begins_once_however_often_it_is_asked_for_and_its_end_wakes():
    yard, work = Yard(), Work()
    assert [await yard.do(work), await yard.do(work)] == [False, False]
    assert yard.woken.empty()
    work.end.set()
    assert await yard.woken.get() == ONE
    assert yard.woken.empty()
    assert work.begun == 1


async def test_what_long_work_failed_with_is_told_once_when_it_is_asked_for_again():
    yard, work = Yard(), Work(OSError("no"))
    assert not await yard.do(work)
    work.end.set()
    await yard.woken.get()
    with pytest.raises(OSError, match="no"):
        await yard.do(work)
    work.error = None
    assert await yard.do(work)
    assert work.begun == 2


async def test_only_so_many_are_under_way():
    yard, works = Yard(at_once=2), [Work(), Work(), Work()]
    assert [await yard.do(work, str(number)) for number, work in enumerate(works)] == [False] * 3
    assert [work.begun for work in works] == [1, 1, 0]
    works[0].end.set()
    await yard.woken.get()
    assert not await yard.do(works[2], "2")
    assert works[2].begun == 1


async def test_a_waiter_that_is_cancelled_leaves_the_work_alone():
    yard, work = Yard(), Work()
    asking = asyncio.create_task(yard.do(work))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    work.end.set()
    assert await yard.do(work)
    assert work.begun == 1
