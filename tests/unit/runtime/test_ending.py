from __future__ import annotations

import asyncio
import threading

import pytest

from trainyard_operator.runtime.ending import see_to_the_end


async def fail():
    raise RuntimeError("a kind was removed")


@pytest.mark.parametrize("cause", ["a watch fails", "it is told to"])
async def test_a_process_that_does_not_end_by_itself_is_ended(cause):
    stop, ended = asyncio.Event(), threading.Event()
    watch = asyncio.create_task(fail() if cause == "a watch fails" else asyncio.Event().wait())
    if cause == "it is told to":
        stop.set()
    await see_to_the_end([watch], stop=stop, end=ended.set, seconds=0.01)
    assert stop.is_set()
    assert await asyncio.to_thread(ended.wait, 60)
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)


async def test_while_all_watches_go_on_nothing_is_ended():
    stop, ended = asyncio.Event(), threading.Event()
    watch = asyncio.create_task(asyncio.Event().wait())
    seeing = asyncio.create_task(see_to_the_end([watch], stop=stop, end=ended.set, seconds=0.0))
    done, _ = await asyncio.wait({seeing}, timeout=0.05)
    assert not done
    assert not ended.is_set()
    watch.cancel()
    await seeing
    assert await asyncio.to_thread(ended.wait, 60)
