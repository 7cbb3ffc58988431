"""Fair shares of a cluster among namespaces: who has used less of it lately, by weight, goes first.

The idea is that of batch schedulers' fair-share priority (Kay and Lauder 1988; Slurm's and Condor's factors): usage is
node-seconds, and counts half after each half-life, so that neither yesterday's flood nor a quiet week decides for long.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from trainyard_operator.domain.queueing import Capacity, Entry, Order, Queue

HALF_LIFE_SECONDS = 3600.0
# What a run is expected to cost where none was measured.
DEFAULT_SECONDS = 60.0
# Beyond so many half-lives from the reference time the numbers are brought back to it.
_REBASE = 200.0


@dataclass
class Usage:
    """Node-seconds of runs that have ended, by namespace, each counting half after every half-life.

    All are kept as they would be at one moment, `reference`: adding a run, and comparing namespaces, needs no look at
    the others.
    """

    reference: datetime
    amounts: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, namespace: str, seconds: float, *, ended: datetime) -> None:
        """Count a run that took so many seconds of one slot."""
        lives = (ended - self.reference).total_seconds() / HALF_LIFE_SECONDS
        if lives > _REBASE:
            factor = 0.5**lives
            self.amounts = defaultdict(float, {name: amount * factor for name, amount in self.amounts.items()})
            self.reference, lives = ended, 0.0
        if lives > -_REBASE:
            self.amounts[namespace] += seconds * 2.0**lives

    def at(self, now: datetime) -> dict[str, float]:
        """Return the decayed node-seconds of each namespace."""
        factor = 0.5 ** ((now - self.reference).total_seconds() / HALF_LIFE_SECONDS)
        return {name: amount * factor for name, amount in self.amounts.items()}


def fair_order(  # noqa: PLR0913 - what shares depend on
    queue: Queue,
    capacity: Capacity,
    *,
    used: Mapping[str, float],
    weights: Mapping[str, int],
    expected: float,
    now: datetime,
) -> list[Entry]:
    """Return the waiting runs in the order in which fair shares serve them.

    The next one is of the namespace that has used least for its weight, what its runs are using now included, and
    within a namespace priority and age decide. Each run that is placed counts as if it had run, so that a namespace
    that comes with many runs takes turns with the others.

    Parameters
    ----------
    used
        Decayed node-seconds by namespace.
    weights
        By namespace; 1 where nothing is said.
    expected
        Seconds that a run probably takes.
    """
    shares: defaultdict[str, float] = defaultdict(float, used)
    for entry in queue.admitted.values():
        spent = (now - entry.since).total_seconds() if entry.since else 0.0
        shares[entry.namespace] += max(spent, expected) * (capacity.slots_of(entry.demand) or 1)
    lines: dict[str, deque[Entry]] = {}
    for entry in queue.waiting:
        lines.setdefault(entry.namespace, deque()).append(entry)
    heap: list[tuple[float, Order, str]] = []
    for namespace, line in lines.items():
        heapq.heappush(heap, (shares[namespace] / weights.get(namespace, 1), line[0].order, namespace))
    ordered = []
    while heap:
        _, _, namespace = heapq.heappop(heap)
        line = lines[namespace]
        entry = line.popleft()
        ordered.append(entry)
        shares[namespace] += expected * (capacity.slots_of(entry.demand) or 1)
        if line:
            heapq.heappush(heap, (shares[namespace] / weights.get(namespace, 1), line[0].order, namespace))
    return ordered
