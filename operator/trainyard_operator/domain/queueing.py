"""The queue in front of a cluster: who may start, who is next, and when that will probably be.

A cluster has `maxNodes` times `jobsPerNode` slots. Runs are served by priority, then by age. All of it is a function of
what waits and what runs, so that an operator which has just started knows the queue as well as one that saw it grow.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from trainyard_operator.api.sizes import Size

# How long smaller runs may overtake a larger one for which too few slots are free; then slots are kept for it.
OVERTAKING_SECONDS = 300
# Only so many of the first in a queue are told their place: it changes for all of them whenever one of them starts.
TOLD = 50
# An estimate needs some runs to learn from, and remembers no more than the newest ones.
LEAST_MEASURED = 3
MOST_MEASURED = 50
_SIMULATIONS = 100
_EARLIEST, _LIKELY = 0.05, 0.95


class Order(NamedTuple):
    """What decides about a run's place: smaller comes first. Times are whole seconds; within one the name decides."""

    urgency: int
    created: str
    name: str
    uid: str


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a run asks of a node: thousandths of a core, and bytes."""

    cpu: int = 0
    memory: int = 0


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One run that waits for a cluster, or is on it."""

    uid: str
    namespace: str
    name: str
    priority: int
    created: str
    job_name: str = ""  # of the attempt that waits, or is on the cluster
    demand: Demand = field(default_factory=Demand)
    since: datetime | None = None  # when it was let in
    not_before: datetime | None = None  # it was let in, found no node, and must wait until then

    @property
    def order(self) -> Order:
        """The run's place among others."""
        return Order(-self.priority, self.created, self.name, self.uid)


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """How many runs a cluster can hold; `nodes` is None where nothing limits it."""

    nodes: int | None
    jobs_per_node: int = 1
    size: Size | None = None

    @property
    def slots(self) -> int | None:
        """How many slots there are."""
        return None if self.nodes is None else self.nodes * self.jobs_per_node

    def slots_of(self, demand: Demand) -> int | None:
        """Return how many slots a run takes; None where it is larger than a node."""
        if self.size is None:
            return 1
        cpu = -(-demand.cpu * self.jobs_per_node // self.size.cpu)
        memory = -(-demand.memory * self.jobs_per_node // self.size.memory)
        wanted = max(1, cpu, memory)
        return wanted if wanted <= self.jobs_per_node else None


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A cluster's queue at one moment: `waiting` in order, `admitted` in any."""

    waiting: Sequence[Entry] = ()
    admitted: Mapping[str, Entry] = field(default_factory=dict)  # by uid

    def taken(self, capacity: Capacity) -> int:
        """Return how many slots are taken."""
        return sum(capacity.slots_of(entry.demand) or capacity.jobs_per_node for entry in self.admitted.values())


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run stands: the first one has position 1; `pending` is how many wait in all."""

    position: int
    pending: int


def admissions(queue: Queue, capacity: Capacity, *, now: datetime) -> tuple[Entry, ...]:
    """Return the runs to let in now, in order.

    A run that found no node and has to wait keeps its place, and the others pass it. A run for which too few slots are
    free is overtaken for a while by those behind it that fit, so that no slot is idle, and then slots are kept for it.
    """
    chosen = []
    free = None if capacity.slots is None else capacity.slots - queue.taken(capacity)
    for entry in queue.waiting:
        if free is not None and free <= 0:
            break
        wanted = capacity.slots_of(entry.demand)
        if wanted is None or (entry.not_before is not None and entry.not_before > now):
            continue
        if free is not None and wanted > free:
            if now - datetime.fromisoformat(entry.created) > timedelta(seconds=OVERTAKING_SECONDS):
                break
            continue
        free = None if free is None else free - wanted
        chosen.append(entry)
    return tuple(chosen)


def may_start(entry: Entry, queue: Queue, capacity: Capacity, *, now: datetime) -> bool:
    """Return whether a run that is not in the queue yet may start without waiting in it."""
    if capacity.slots is not None and queue.taken(capacity) >= capacity.slots:
        return False
    waiting = sorted([*queue.waiting, entry], key=lambda e: e.order)
    return entry in admissions(Queue(waiting=waiting, admitted=queue.admitted), capacity, now=now)


def next_look(queue: Queue, *, now: datetime) -> float | None:
    """Return after how many seconds a run that has to wait may be let in again."""
    times = [entry.not_before for entry in queue.waiting if entry.not_before is not None and entry.not_before > now]
    return (min(times) - now).total_seconds() if times else None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """When a waiting run will probably start: not before `earliest`, and by `likely` in nineteen of twenty cases."""

    earliest: datetime
    likely: datetime


def estimates(
    queue: Queue, capacity: Capacity, *, measured: Sequence[float], now: datetime, first: int
) -> tuple[Estimate, ...]:
    """Return estimates for the `first` waiting runs; none where too few runs were measured.

    The queue is played through a hundred times, each run taking as long as one of those that were measured (a
    bootstrap, Efron 1979); a run that is going already takes one of the times that are longer than its own so far. The
    same queue gives the same estimates.

    Parameters
    ----------
    measured
        Seconds that earlier runs on this cluster took, newest last.
    """
    slots = capacity.slots
    if slots is None or slots <= 0 or len(measured) < LEAST_MEASURED:
        return ()
    times = sorted(measured[-MOST_MEASURED:])
    waiting = queue.waiting[:first]
    dice = random.Random(",".join(entry.uid for entry in waiting))  # noqa: S311 - no secret depends on it
    spent = [(now - entry.since).total_seconds() if entry.since else 0.0 for entry in queue.admitted.values()]
    going = [(seconds, times[bisect_right(times, seconds) :]) for seconds in spent]
    played = []
    for _ in range(_SIMULATIONS):
        # One that takes longer than any before it: as long again is as good a guess as any.
        ends = [dice.choice(longer) - seconds if longer else seconds for seconds, longer in going]
        played.append(_play(ends + [0.0] * (slots - len(ends)), waiting, times, dice))
    found = []
    for starts in zip(*played, strict=True):
        ordered = sorted(starts)
        earliest, likely = (ordered[int(share * (_SIMULATIONS - 1))] for share in (_EARLIEST, _LIKELY))
        found.append(Estimate(earliest=now + timedelta(seconds=earliest), likely=now + timedelta(seconds=likely)))
    return tuple(found)


def _play(ends: list[float], waiting: Iterable[Entry], times: Sequence[float], dice: random.Random) -> list[float]:
    """Return when each waiting run starts, in seconds from now; `ends` says when each slot is free."""
    heapq.heapify(ends)
    starts = []
    for _ in waiting:
        start = heapq.heappop(ends)
        starts.append(start)
        heapq.heappush(ends, start + dice.choice(times))
    return starts
