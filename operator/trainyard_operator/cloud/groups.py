"""Looking at node groups, and calling for them, at a pace that a cloud bears.

A look is answered from memory for some seconds, and what takes longer than a moment goes on beside: the old answer is
given meanwhile, so that a cloud that is slow holds nobody up. A call that came to nothing is remembered too, with the
time until which it is not to be made again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from trainyard_operator.cloud.errors import CloudError
from trainyard_operator.providers.node_group import (
    TRANSIENT,
    GroupAddress,
    GroupCall,
    GroupSeen,
    NodeGroup,
    Refusal,
)

Result = TypeVar("Result")

# How long an answer is good for. All of these are shorter than the time until the provider looks again.
STEADY_SECONDS = 30.0
CHANGING_SECONDS = 10.0
FAILED_SECONDS = 30.0
# How long what passes by itself is passed over, if the group was seen well before.
GRACE_SECONDS = 300.0
PAUSE_SECONDS = 60.0
PATIENCE_SECONDS = 2.0
# The threads are those that look up names for everybody.
THREADS = 2
FORGET_SECONDS = 3600.0

log = logging.getLogger(__name__)


class NodeGroups(Protocol):
    """The node groups of a cloud. Nothing that the cloud says is raised: it is what the next look sees."""

    async def look(self, address: GroupAddress) -> GroupSeen | None:
        """Return what is known of a group; None where nothing is known yet."""
        ...

    async def carry_out(self, call: GroupCall) -> None:
        """Make a call."""
        ...


class GroupApi(Protocol):
    """The calls of one cloud, which block, and raise a `CloudError`."""

    def describe(self, address: GroupAddress) -> NodeGroup | None:
        """Return the group, None where there is none."""
        ...

    def carry_out(self, call: GroupCall) -> None:
        """Make a call; one that was made before changes nothing."""
        ...


@dataclass
class _Entry:
    """What is remembered of one address; `calls` counts those that make an earlier look worthless."""

    seen: GroupSeen | None = None
    due: float = 0.0
    well: float | None = None
    looked: float = 0.0
    task: asyncio.Task[None] | None = None
    refused: Refusal | None = None
    refused_until: float = 0.0
    calls: int = 0


class PacedNodeGroups:
    """`NodeGroups` over a blocking `GroupApi`."""

    def __init__(
        self, api: GroupApi, *, clock: Callable[[], float] = time.monotonic, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._api = api
        self._clock = clock
        self._patience = patience
        self._entries: dict[GroupAddress, _Entry] = {}
        self._slots = asyncio.Semaphore(THREADS)

    def close(self) -> None:
        """Let looks that are under way come to nothing."""
        for entry in self._entries.values():
            if entry.task is not None:
                entry.task.cancel()

    async def look(self, address: GroupAddress) -> GroupSeen | None:
        """Return what is known of a group; None where nothing is known yet."""
        entry = self._entry(address)
        if entry.task is None and self._clock() >= entry.due:
            entry.task = asyncio.create_task(self._refresh(address, entry), name=f"look-{address.name}")
        task = entry.task
        if task is not None:
            await asyncio.wait({task}, timeout=self._patience)
            if task.done() and entry.task is task:
                entry.task = None
                task.result()
        if entry.seen is None or entry.refused is None:
            return entry.seen
        return replace(entry.seen, refusal=replace(entry.refused, pausing=self._clock() < entry.refused_until))

    async def carry_out(self, call: GroupCall) -> None:
        """Make a call; what came of it is what the next look sees."""
        entry = self._entry(call.address)
        try:
            await self._run(lambda: self._api.carry_out(call))
        except CloudError as error:
            log.warning("the node group %s: %s came to nothing: %s", call.address.name, call.verb, error)
            entry.refused = Refusal(call=call, failure=error.failure)
            entry.refused_until = self._clock() + PAUSE_SECONDS
        else:
            entry.refused, entry.seen = None, None
        finally:
            # Even a call without an answer may have done something.
            entry.calls += 1
            entry.due = 0.0

    async def _refresh(self, address: GroupAddress, entry: _Entry) -> None:
        calls = entry.calls
        seen, seconds = await self._observe(address, entry)
        if entry.calls == calls:
            entry.seen, entry.due = seen, self._clock() + seconds

    async def _observe(self, address: GroupAddress, entry: _Entry) -> tuple[GroupSeen, float]:
        try:
            group = await self._run(lambda: self._api.describe(address))
        except CloudError as error:
            passes = error.failure.reason in TRANSIENT
            recent = entry.well is not None and self._clock() - entry.well < GRACE_SECONDS
            if entry.seen is not None and entry.seen.failure is None and passes and recent:
                return entry.seen, FAILED_SECONDS
            return GroupSeen(failure=error.failure), FAILED_SECONDS
        entry.well = self._clock()
        steady = group is not None and group.status == "ACTIVE"
        return GroupSeen(group=group), STEADY_SECONDS if steady else CHANGING_SECONDS

    async def _run(self, call: Callable[[], Result]) -> Result:
        async with self._slots:
            return await asyncio.to_thread(call)

    def _entry(self, address: GroupAddress) -> _Entry:
        now = self._clock()
        for old in [a for a, e in self._entries.items() if e.task is None and now - e.looked > FORGET_SECONDS]:
            del self._entries[old]
        entry = self._entries.setdefault(address, _Entry())
        entry.looked = now
        return entry
