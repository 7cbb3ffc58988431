"""Who waits for which cluster, and who is on it: kept as objects change, so that asking costs nothing.

A slot that was given away counts as taken from that moment on, whether or not the API server has answered yet: two
workers never give away the same one. What was given and never came to be is taken back after a while.
"""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import fmean
from typing import Any

from trainyard_operator.api.compute_cluster import Ordering
from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.names import COMPUTE_CLUSTER, JOB, TRAINING_JOB, cluster_of
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.admission import ENDED, Gate, Standing, capacity_of, entry_of, gate_of, serves
from trainyard_operator.domain.conditions import parse_timestamp
from trainyard_operator.domain.fairness import DEFAULT_SECONDS, Usage, fair_order
from trainyard_operator.domain.queueing import (
    MOST_MEASURED,
    TOLD,
    Entry,
    Estimate,
    Place,
    Queue,
    estimates,
)
from trainyard_operator.domain.run_ending import has_finished
from trainyard_operator.providers.base import Cluster
from trainyard_operator.providers.choice import read_cluster
from trainyard_operator.runtime.store import Change, ObjectKey, Store

JsonObject = dict[str, Any]

# After so long a claim that no Job has come of is void.
CLAIM_SECONDS = 30.0


@dataclass
class _Line:
    """The runs of one cluster."""

    waiting: list[Entry] = field(default_factory=list)
    admitted: dict[str, Entry] = field(default_factory=dict)
    measured: list[float] = field(default_factory=list)
    usage: Usage | None = None
    version: int = 0
    estimated: tuple[int, tuple[Estimate, ...]] = (-1, ())


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
        self._entries: dict[str, tuple[ObjectKey, Entry, bool]] = {}  # by uid; the flag: admitted
        self._claims: dict[str, tuple[ObjectKey, Entry, float]] = {}

    def heard(self, change: Change) -> None:
        """Take in that a run, or its Job, has changed."""
        if change.kind == TRAINING_JOB:
            self._measure(change)
            self._update(change.object["metadata"]["uid"])
        elif change.kind == JOB:
            for owner in change.object["metadata"].get("ownerReferences") or ():
                if owner.get("kind") == TRAINING_JOB.kind:
                    self._update(owner["uid"])

    def understand(self, obj: JsonObject) -> Cluster | str:
        """Return a ComputeCluster, understood, or why it cannot be."""
        try:
            return read_cluster(obj, self._catalogue)
        except SpecError as error:
            return str(error)

    def queue(self, key: ObjectKey, machines: Cluster | str = "", *, now: datetime | None = None) -> Queue:
        """Return the queue of a cluster as it is now, claims included, in the order that the cluster serves it in.

        Without `machines` the order is that of priority and age; a cluster that is not understood serves nobody.
        """
        line = self._lines.get(key) or _Line()
        self._drop_old_claims()
        claimed = {uid: entry for uid, (place, entry, _) in self._claims.items() if place == key}
        queue = Queue(waiting=line.waiting, admitted=line.admitted)
        if claimed:
            waiting = [entry for entry in line.waiting if entry.uid not in claimed]
            queue = Queue(waiting=waiting, admitted={**claimed, **line.admitted})
        return _served(queue, line, machines, now) if isinstance(machines, Cluster) and now else queue

    def claim(self, key: ObjectKey, entries: Iterable[Entry]) -> None:
        """Take slots of a cluster for these runs, until their Jobs say so themselves."""
        due = self._clock() + CLAIM_SECONDS
        for entry in entries:
            self._claims[entry.uid] = (key, entry, due)

    def gate(self, run: JsonObject, cluster: JsonObject, machines: Cluster, *, now: datetime) -> Gate | None:
        """Return what a cluster says to a run; None where it has let it in already."""
        uid = run["metadata"]["uid"]
        key = (machines.namespace, machines.name)
        queue = self.queue(key, machines, now=now)
        if uid in queue.admitted:
            return None
        known = self._entries.get(uid)
        entry = known[1] if known else self._entry(run, None)
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
        known = self._entries.get(run["metadata"]["uid"])
        return known[1] if known else self._entry(run, None)

    def first(self, key: ObjectKey) -> list[ObjectKey]:
        """Return the runs whose place in a cluster's queue is told."""
        line = self._lines.get(key)
        return [(entry.namespace, entry.name) for entry in line.waiting[:TOLD]] if line else []

    def _estimate(
        self, key: ObjectKey, queue: Queue, machines: Cluster, place: Place | None, *, now: datetime
    ) -> Estimate | None:
        line = self._lines.get(key)
        if line is None or place is None or place.position > TOLD:
            return None
        if line.estimated[0] != line.version:
            found = estimates(queue, capacity_of(machines), measured=line.measured, now=now, first=TOLD)
            line.estimated = (line.version, found)
        known = line.estimated[1]
        return known[place.position - 1] if place.position <= len(known) else None

    def _update(self, uid: str) -> None:
        old = self._entries.pop(uid, None)
        if old is not None:
            self._remove(*old)
        run = self._store.by_uid(TRAINING_JOB, uid)
        if run is None:
            self._claims.pop(uid, None)
            return
        key = cluster_of(run)
        jobs = self._store.children(JOB, uid)
        if key is None or not jobs or (run.get("status") or {}).get("phase") in ENDED:
            return
        job = jobs[0]
        entry = self._entry(run, job)
        if entry is None or has_finished(job):
            self._claims.pop(uid, None)
            return
        admitted = not (job.get("spec") or {}).get("suspend")
        if admitted:
            self._claims.pop(uid, None)
        elif (run.get("spec") or {}).get("cancel"):
            return
        self._entries[uid] = (key, entry, admitted)
        line = self._lines.setdefault(key, _Line())
        line.version += 1
        if admitted:
            line.admitted[uid] = entry
        else:
            insort(line.waiting, entry, key=lambda other: other.order)

    def _remove(self, key: ObjectKey, entry: Entry, admitted: bool) -> None:  # noqa: FBT001 - unpacked
        line = self._lines[key]
        line.version += 1
        if admitted:
            line.admitted.pop(entry.uid, None)
        else:
            del line.waiting[bisect_left(line.waiting, entry.order, key=lambda other: other.order)]

    def _entry(self, run: JsonObject, job: JsonObject | None) -> Entry | None:
        try:
            spec = TrainingJobSpec.parse(run["spec"])
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
        line.measured.append(seconds)
        del line.measured[:-MOST_MEASURED]
        if line.usage is None:
            line.usage = Usage(reference=end)
        line.usage.add(change.object["metadata"]["namespace"], seconds, ended=end)

    def _drop_old_claims(self) -> None:
        now = self._clock()
        for uid in [uid for uid, (_, _, due) in self._claims.items() if due <= now]:
            del self._claims[uid]


def _served(queue: Queue, line: _Line, machines: Cluster, now: datetime) -> Queue:
    """Return the queue in the cluster's own order, without runs of namespaces that it is not shared with."""
    spec = machines.spec
    waiting = queue.waiting
    if any(not serves(machines, entry.namespace) for entry in waiting):
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
