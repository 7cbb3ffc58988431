"""The one task behind all verifications."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.unit.domain.builders import NOW
from trainyard_operator.domain.plan import Inspection
from trainyard_operator.runtime.inspections import Inspections
from trainyard_operator.runtime.queues import Key
from trainyard_operator.runtime.verifier import SLICE_SECONDS, Verifier
from trainyard_operator.storage.errors import StoreUnavailable

WISH = Inspection(sweep="s", after=0, model_name="m", versions=((1, "a"), (2, "b"), (3, "c")), thorough=True)


class Bench:
    """A verifier whose looks take as long, and find, what a test wants."""

    def __init__(self):
        self.inspections, self.woken, self.looked = Inspections(), [], []
        self.done = asyncio.Queue()
        self.time, self.answers, self.on_look = 0.0, {}, lambda model, version: None
        self.verifier = Verifier(
            inspections=self.inspections,
            look=self.look,
            wake=self.done.put_nowait,
            now=lambda: NOW,
            clock=lambda: self.time,
        )

    @property
    def findings(self):
        return self.inspections.findings

    async def look(self, *, namespace, model_name, version, manifest_sha256, thorough):
        self.looked.append((model_name, version))
        assert (namespace, manifest_sha256, thorough) == ("ns", "abc"[version - 1], True)
        self.on_look(model_name, version)
        await asyncio.sleep(0)
        answer = self.answers.get(version, "")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask(self, uid="u", wish=WISH):
        self.inspections.ask(key(uid), uid, wish)

    async def work(self, *, until=1):
        task = asyncio.create_task(self.verifier.run())
        async with asyncio.timeout(60):
            for _ in range(until):
                self.woken.append(await self.done.get())
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def key(uid):
    return Key("registeredmodels", "ns", f"name-of-{uid}")


async def test_what_was_found_is_kept_and_the_model_is_looked_at_again():
    bench = Bench()
    bench.answers = {2: "a is missing"}
    bench.ask()
    await bench.work()
    findings = bench.findings["u"]
    assert (findings.looked, findings.complete, findings.trouble) == ({1: "", 2: "a is missing", 3: ""}, True, "")
    assert bench.woken == [key("u")]


async def test_asking_again_while_it_is_going_on_is_the_same_wish():
    bench = Bench()
    bench.ask()
    bench.on_look = lambda *_: bench.ask()
    await bench.work()
    assert bench.looked == [("m", 1), ("m", 2), ("m", 3)]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(StoreUnavailable("away"), "away", id="the-store"),
        pytest.param(KeyError("x"), "KeyError at version 2: see the operator's log", id="anything-else"),
    ],
)
async def test_trouble_ends_it_with_what_was_found_before(error, said):
    bench = Bench()
    bench.answers = {2: error}
    bench.ask()
    await bench.work()
    findings = bench.findings["u"]
    assert (findings.looked, findings.complete, findings.trouble) == ({1: ""}, False, said)
    assert findings.reached == 1
    # Asked again, it forgets the trouble and tries again.
    bench.answers = {}
    bench.ask()
    assert bench.findings == {}
    await bench.work()
    assert bench.findings["u"].complete


async def test_a_long_one_gives_way_to_another_after_its_slice_of_time():
    bench = Bench()

    def slow(model, _):
        bench.time += SLICE_SECONDS if model == "m" else 0

    bench.on_look = slow
    bench.ask()
    bench.ask("v", replace(WISH, model_name="n"))
    await bench.work(until=2)
    assert bench.looked == [("m", 1), ("n", 1), ("n", 2), ("n", 3)]
    assert not bench.findings["u"].complete
    assert bench.findings["u"].reached == 1


async def test_another_sweep_of_the_same_model_takes_the_place_of_the_one_that_is_going():
    bench = Bench()
    other = replace(WISH, sweep="t")

    def change(*_):
        if len(bench.looked) == 1:
            bench.ask(wish=other)

    bench.on_look = change
    bench.ask()
    await bench.work()
    assert bench.looked == [("m", 1), ("m", 1), ("m", 2), ("m", 3)]
    assert bench.findings["u"].sweep == "t"
