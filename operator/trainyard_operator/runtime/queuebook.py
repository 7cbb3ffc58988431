"""Who waits for which cluster, and who is on it: kept as objects change, so that asking costs nothing.

A slot that was given away counts as taken from that moment on, whether or not the API server has answered yet: two
workers never give away the same one. What was given and never came to be is taken back after a while.
"""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from trainyard_operator.api.compute_cluster import Ordering
from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.names import COMPUTE_CLUSTER, JOB, POD, TRAINING_JOB, cluster_of
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.admission import ENDED, Gate, Standing, capacity_of, entry_of, gate_of, serves
from trainyard_operator.domain.attempts import has_finished, newest_job, stopped_for, wants_rest
from trainyard_operator.domain.conditions import parse_timestamp
from trainyard_operator.domain.fairness import DEFAULT_SECONDS, Usage, fair_order
from trainyard_operator.domain.kueue import is_kueues_job
from trainyard_operator.domain.queueing import (
    MOST_MEASURED,
    TOLD,
    Entry,
    Estimate,
    Place,
    Queue,
    estimates,
)
from trainyard_operator.domain.rerun import read_note, whole
from trainyard_operator.providers.base import Cluster
from trainyard_operator.providers.choice import read_cluster
from trainyard_operator.runtime.occupancy import Occupancy
from trainyard_operator.runtime.store import Change, ObjectKey, Store, key_of

JsonObject = dict[str, Any]

# After so long a claim that no Job has come of is void.
CLAIM_SECONDS = 30.0
# Playing a queue through is the dearest question of all, and many runs ask it whenever one of them moves.
ESTIMATE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class _Spot:
    """Where a run is: in which line, and on which side of its gate."""

    key: ObjectKey
    entry: Entry
    admitted: bool

    @property
    def is_foreign(self) -> bool:
        """Whether the run's namespace is another one than the cluster's."""
        return self.entry.namespace != self.key[0]


@dataclass(frozen=True, kw_only=True)
class _Estimated:
    """Estimates by place, with the version and the time of the queue that they were made for."""

    version: int = -1
    time: float = 0.0
    found: tuple[Estimate, ...] = ()


@dataclass
class _Line:
    """The runs of one cluster; `admitted` holds claims too, which `waiting` does not."""

    waiting: list[Entry] = field(default_factory=list)
    admitted: dict[str, Entry] = field(default_factory=dict)
    foreign: int = 0  # how many of them are of another namespace than the cluster
    measured: list[float] = field(default_factory=list)
    usage: Usage | None = None
    version: int = 0
    estimated: _Estimated = field(default_factory=_Estimated)


class QueueBook:
    """The queues of all clusters, as functions of the store and of what was given away since."""

    def __init__(
        self,
        *,
        store: Store,
        catalogue: Catalogue | None = None,
        defaults: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._catalogue = catalogue or Catalogue()
        self._defaults = defaults or {}
        self._clock = clock
        self._lines: dict[ObjectKey, _Line] = {}
        self._spots: dict[str, _Spot] = {}  # by uid
        self._claims: dict[str, float] = {}  # when they are void, by uid; the oldest first
        self._going: dict[ObjectKey, dict[str, None]] = {}  # uids of runs that have not ended, by cluster
        self._understood: dict[ObjectKey, tuple[JsonObject, Cluster | str]] = {}
        self._occupancy = Occupancy()

    def heard(self, change: Change) -> None:
        """Take in that a run, its Job, its pod or its cluster has changed."""
        if change.kind == POD:
            self._occupancy.heard(change)
        elif change.kind == COMPUTE_CLUSTER and change.new is None:
            self._understood.pop(key_of(change.object), None)
        elif change.kind == TRAINING_JOB:
            self._measure(change)
            self._enroll(change)
            self._update(change.object["metadata"]["uid"])
        elif change.kind == JOB:
            for owner in change.object["metadata"].get("ownerReferences") or ():
                if owner.get("kind") == TRAINING_JOB.kind:
                    self._update(owner["uid"])

    def understand(self, obj: JsonObject) -> Cluster | str:
        """Return a ComputeCluster, understood, or why it cannot be."""
        key, spec = key_of(obj), obj["spec"]
        known = self._understood.get(key)
        if known is None or known[0] != spec:
            # Each of its runs asks, and its spec hardly ever changes.
            known = self._understood[key] = (spec, self._read(obj))
        return known[1]

    def _read(self, obj: JsonObject) -> Cluster | str:
        try:
            return read_cluster(obj, self._catalogue)
        except SpecError as error:
            return str(error)

    def queue(self, key: ObjectKey, machines: Cluster | str = "", *, now: datetime | None = None) -> Queue:
        """Return the queue of a cluster as it is now, claims included, in the order that the cluster serves it in.

        Without `machines` the order is that of priority and age, and all who wait are in it.
        """
        self._drop_old_claims()
        line = self._lines.get(key) or _Line()
        queue = Queue(waiting=line.waiting, admitted=line.admitted)
        return _served(queue, line, machines, now) if isinstance(machines, Cluster) and now else queue

    def claim(self, key: ObjectKey, entries: Iterable[Entry]) -> None:
        """Take slots of a cluster for these runs, until their Jobs say so themselves."""
        due = self._clock() + CLAIM_SECONDS
        for entry in tuple(entries):
            self._claims.pop(entry.uid, None)
            self._claims[entry.uid] = due
            self._move(entry.uid, _Spot(key=key, entry=entry, admitted=True))

    def gate(self, run: JsonObject, cluster: JsonObject, machines: Cluster, *, now: datetime) -> Gate | None:
        """Return what a cluster says to a run; None where it has let it in already, or has nothing to say any more."""
        uid = run["metadata"]["uid"]
        key = (machines.namespace, machines.name)
        queue = self.queue(key, machines, now=now)
        if uid in queue.admitted or _phase(run) in ENDED:
            return None
        known = self._spots.get(uid)
        entry = known.entry if known else self._entry(run, None)
        if entry is None:
            return None
        place = _place(entry, queue, machines) if known else None
        standing = Standing(
            entry=entry,
            queue=queue,
            waits=place is not None,
            place=place if place is not None and place.position <= TOLD else None,
            estimate=self._estimate(key, queue, machines, place, now=now),
        )
        return gate_of(obj=cluster, cluster=machines, standing=standing, now=now)

    def entry(self, run: JsonObject) -> Entry | None:
        """Return a run as the queue sees it."""
        known = self._spots.get(run["metadata"]["uid"])
        return known.entry if known else self._entry(run, None)

    def first(self, key: ObjectKey) -> list[ObjectKey]:
        """Return the runs whose place in a cluster's queue is told."""
        obj = self._store.get(COMPUTE_CLUSTER, *key)
        machines = self.understand(obj) if obj is not None else ""
        # Fair shares change with time, but nobody's place is told anew for that alone.
        waiting = self.queue(key, machines, now=datetime.now(UTC)).waiting
        return [(entry.namespace, entry.name) for entry in waiting[:TOLD]]

    def going(self, key: ObjectKey) -> Iterable[JsonObject]:
        """Return the runs of a cluster that have not ended, in the queue or not."""
        runs = [self._store.by_uid(TRAINING_JOB, uid) for uid in self._going.get(key, ())]
        return [run for run in runs if run is not None]

    def runs_by_node(self, *, own: str) -> Mapping[str, Sequence[str]]:
        """Return what runs with an active pod are called in a cluster of namespace `own`, by the name of the node."""
        return self._occupancy.runs(own)

    def _estimate(
        self, key: ObjectKey, queue: Queue, machines: Cluster, place: Place | None, *, now: datetime
    ) -> Estimate | None:
        line = self._lines.get(key)
        if line is None or place is None or place.position > TOLD:
            return None
        known, time = line.estimated, self._clock()
        old = place.position > len(known.found) or time - known.time >= ESTIMATE_SECONDS
        if known.version != line.version and old:
            found = estimates(queue, capacity_of(machines), measured=line.measured, now=now, first=TOLD)
            known = line.estimated = _Estimated(version=line.version, time=time, found=found)
        return known.found[place.position - 1] if place.position <= len(known.found) else None

    def _update(self, uid: str) -> None:
        spot = self._observed(uid)
        if uid in self._claims:
            claimed = spot or self._spots[uid]
            spot = replace(claimed, admitted=True)
        self._move(uid, spot)

    def _observed(self, uid: str) -> _Spot | None:
        """Return where a run is by its objects; a claim on which they have had their say ends here."""
        run = self._store.by_uid(TRAINING_JOB, uid)
        if run is None or _phase(run) in ENDED:
            self._claims.pop(uid, None)
            return None
        key, job = cluster_of(run), newest_job(self._store.children(JOB, uid))
        if key is None or job is None:
            return None
        entry = self._entry(run, job)
        if entry is None:
            self._claims.pop(uid, None)
            return None
        if has_finished(job):
            # A claim may be for the next attempt, whose Job is on its way.
            return None
        admitted = not (job.get("spec") or {}).get("suspend")
        if admitted:
            self._claims.pop(uid, None)
        elif stopped_for(job) is not None or wants_rest(run) or is_kueues_job(job):
            return None
        return _Spot(key=key, entry=entry, admitted=admitted)

    def _move(self, uid: str, new: _Spot | None) -> None:
        old = self._spots.get(uid)
        if old == new:
            return
        if old is not None:
            self._remove(old)
        if new is None:
            self._spots.pop(uid, None)
            return
        self._spots[uid] = new
        line = self._lines.setdefault(new.key, _Line())
        line.version += 1
        line.foreign += new.is_foreign
        if new.admitted:
            line.admitted[uid] = new.entry
        else:
            insort(line.waiting, new.entry, key=lambda other: other.order)

    def _remove(self, spot: _Spot) -> None:
        line = self._lines[spot.key]
        line.version += 1
        line.foreign -= spot.is_foreign
        if spot.admitted:
            line.admitted.pop(spot.entry.uid, None)
        else:
            del line.waiting[bisect_left(line.waiting, spot.entry.order, key=lambda other: other.order)]

    def _enroll(self, change: Change) -> None:
        uid = change.object["metadata"]["uid"]
        before = change.old and cluster_of(change.old)
        after = cluster_of(change.new) if change.new and _phase(change.new) not in ENDED else None
        if before and before != after:
            there = self._going.get(before, {})
            there.pop(change.old["metadata"]["uid"] if change.old else uid, None)
            if not there:
                self._going.pop(before, None)
        if after:
            self._going.setdefault(after, {})[uid] = None

    def _entry(self, run: JsonObject, job: JsonObject | None) -> Entry | None:
        try:
            spec = TrainingJobSpec.parse(whole(run, read_note(job))["spec"])
        except SpecError:
            return None
        return entry_of(run, job, spec=spec, defaults=self._defaults)

    def _measure(self, change: Change) -> None:
        status = (change.new or {}).get("status") or {}
        key = cluster_of(change.object)
        begun, ended = status.get("startTime"), status.get("completionTime")
        before = ((change.old or {}).get("status") or {}).get("completionTime")
        if key is None or not begun or not ended or before:
            return
        end = parse_timestamp(ended)
        seconds = max(1.0, (end - parse_timestamp(begun)).total_seconds())
        line = self._lines.setdefault(key, _Line())
        line.version += 1
        line.measured.append(seconds)
        del line.measured[:-MOST_MEASURED]
        if line.usage is None:
            line.usage = Usage(reference=end)
        line.usage.add(change.object["metadata"]["namespace"], seconds, ended=end)

    def _drop_old_claims(self) -> None:
        now = self._clock()
        while self._claims:
            uid, due = next(iter(self._claims.items()))
            if due > now:
                return
            del self._claims[uid]
            self._update(uid)


def _served(queue: Queue, line: _Line, machines: Cluster, now: datetime) -> Queue:
    """Return the queue in the cluster's own order, without runs of namespaces that it is not shared with."""
    spec = machines.spec
    waiting = queue.waiting
    if line.foreign:
        waiting = [entry for entry in waiting if serves(machines, entry.namespace)]
    if spec.ordering == Ordering.FAIR_SHARE:
        waiting = fair_order(
            replace(queue, waiting=waiting),
            capacity_of(machines),
            used=line.usage.at(now) if line.usage else {},
            weights=spec.weights,
            expected=fmean(line.measured) if line.measured else DEFAULT_SECONDS,
            now=now,
        )
    return replace(queue, waiting=waiting)


def _place(entry: Entry, queue: Queue, machines: Cluster) -> Place | None:
    waiting = queue.waiting
    if machines.spec.ordering == Ordering.PRIORITY:
        position = bisect_left(waiting, entry.order, key=lambda other: other.order)
    else:
        position = next((n for n, other in enumerate(waiting) if other.uid == entry.uid), len(waiting))
    there = position < len(waiting) and waiting[position].uid == entry.uid
    return Place(position=position + 1, pending=len(waiting)) if there else None


def clusters_of(change: Change, *, store: Store) -> Iterable[ObjectKey]:
    """Return the clusters in whose queue a change may have moved somebody."""
    if change.kind == TRAINING_JOB:
        runs = [change.object]
    elif change.kind == JOB:
        owners = change.object["metadata"].get("ownerReferences") or ()
        found = [store.by_uid(TRAINING_JOB, o["uid"]) for o in owners if o.get("kind") == TRAINING_JOB.kind]
        runs = [run for run in found if run is not None]
    else:
        runs = []
    for run in runs:
        key = cluster_of(run)
        if key is not None and store.get(COMPUTE_CLUSTER, *key):
            yield key


def _phase(run: JsonObject) -> str | None:
    phase: str | None = (run.get("status") or {}).get("phase")
    return phase
