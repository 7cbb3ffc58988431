"""From what is heard of objects to the keys that have to be looked at.

Every word goes through here, whoever says it: watches, LISTs, and the answers to the operator's own writes. Whatever
says nothing new ends here, so that a re-list of converged objects costs no work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from trainyard_operator.api.environment import environment_name
from trainyard_operator.api.names import (
    COMPUTE_CLUSTER,
    DEPLOYMENT,
    ENVIRONMENT_LABEL,
    JOB,
    NODE,
    NODE_CLAIM,
    NODE_POOL,
    POD,
    POOL_LABEL,
    REGISTERED_MODEL,
    TRAINING_JOB,
    TRAINING_JOB_LABEL,
    WORKLOAD,
    Kind,
    cluster_of,
    object_name,
    pool_name,
)
from trainyard_operator.api.reasons import Phase, TrainingJobCondition
from trainyard_operator.domain.admission import ENDED
from trainyard_operator.domain.attempts import has_finished, wants_rest
from trainyard_operator.domain.conditions import find
from trainyard_operator.domain.run_status import NEAR
from trainyard_operator.providers.base import Cluster
from trainyard_operator.providers.choice import provider_of
from trainyard_operator.runtime.occupancy import occupied
from trainyard_operator.runtime.queuebook import QueueBook, clusters_of
from trainyard_operator.runtime.queues import Key, Queues
from trainyard_operator.runtime.store import Change, Store, key_of

JsonObject = dict[str, Any]

# Places in a queue shift in bursts; the next runs in it hear of it after this long, those behind them later.
PLACES_SECONDS = 2.0
FAR_PLACES_SECONDS = 15.0
# Nodes and runs change in bursts; a cluster's counts follow at most this often.
CLUSTER_SECONDS = 2.0

StoreMethod = Callable[[Kind, JsonObject], Change | None]

log = logging.getLogger(__name__)


class Informer:
    """Keeps the store and tells the queues; never waits for anything."""

    def __init__(
        self,
        *,
        store: Store,
        queues: Queues,
        book: QueueBook,
        malformed: Callable[[str], None] = lambda _plural: None,
        ended: Callable[[str, str], None] = lambda _phase, _reason: None,
    ) -> None:
        self._store = store
        self._book = book
        self._queues = queues
        self._malformed = malformed
        self._ended = ended

    def take(self, kind: Kind, obj: JsonObject, *, origin: Key | None = None) -> None:
        """Take in an object as it is now; `origin` is the key whose own write this is the answer to."""
        self._accept(kind, obj, self._store.put, origin)

    def drop(self, kind: Kind, obj: JsonObject) -> None:
        """Forget an object that was deleted."""
        self._accept(kind, obj, self._store.remove, None)

    def _accept(self, kind: Kind, obj: JsonObject, store: StoreMethod, origin: Key | None) -> None:
        try:
            change = store(kind, obj)
            if change:
                self._book.heard(change)
        except (KeyError, TypeError, AttributeError):
            # One object that nobody can read must not stop the others.
            self._malformed(kind.plural)
            log.exception("an object of kind %s is not readable", kind.kind)
            return
        if change:
            self._count_end(change)
            self._announce(change, origin)

    def run_changed(self, uid: str) -> None:
        """Have the TrainingJob with this uid looked at."""
        found = self._store.by_uid(TRAINING_JOB, uid)
        if found:
            self._queues.add(_key(TRAINING_JOB, found))

    def _count_end(self, change: Change) -> None:
        # What had ended before this process knew of it was counted by another one.
        if change.kind != TRAINING_JOB or change.old is None or change.new is None:
            return
        before, after = change.old.get("status") or {}, change.new.get("status") or {}
        if "completionTime" in after and "completionTime" not in before:
            ready = find(after, TrainingJobCondition.READY) or {}
            self._ended(after.get("phase", ""), ready.get("reason", ""))

    def models_changed(self) -> None:
        """Have every RegisteredModel looked at: something that concerns all of them has changed."""
        for model in self._store.list(REGISTERED_MODEL):
            self._queues.add(_key(REGISTERED_MODEL, model))

    def environment_changed(self, namespace: str, name: str) -> None:
        """Have the runs looked at that wait for the environment of this name."""
        for key in _runs_that_prepare(namespace, name, self._store):
            self._queues.add(key)

    def _announce(self, change: Change, origin: Key | None) -> None:
        for key, seconds in affected(change, store=self._store, book=self._book):
            if key != origin or _changed_by_others(change):
                self._queues.add_after(key, seconds)
        if moves_a_queue(change):
            self._move(change)

    def _move(self, change: Change) -> None:
        for namespace, name in clusters_of(change, store=self._store):
            self._queues.add(Key(COMPUTE_CLUSTER.plural, namespace, name))
            for number, run in enumerate(self._book.first((namespace, name)), 1):
                seconds = PLACES_SECONDS if number <= NEAR else FAR_PLACES_SECONDS
                self._queues.add_after(Key(TRAINING_JOB.plural, *run), seconds)


def affected(change: Change, *, store: Store, book: QueueBook) -> Iterable[tuple[Key, float]]:
    """Iterate over the keys that a change makes worth a look, each with how long that look can wait."""
    if change.kind == TRAINING_JOB:
        yield _key(TRAINING_JOB, change.object), 0.0
        yield from _cluster_of_run(change)
    elif change.kind == COMPUTE_CLUSTER:
        yield _key(COMPUTE_CLUSTER, change.object), 0.0
        yield from _runs_that_wait_for(change, book)
    elif change.kind == REGISTERED_MODEL:
        yield _key(REGISTERED_MODEL, change.object), 0.0
        yield from _runs_of_versions(change)
        yield from _models_that_promote(change, store)
    elif change.kind in {JOB, WORKLOAD}:
        yield from _runs_of_jobs(change, store)
    elif change.kind == POD:
        metadata = change.object["metadata"]
        yield from _runs_of_build(change, store)
        name = (metadata.get("labels") or {}).get(TRAINING_JOB_LABEL)
        if name:
            yield Key(TRAINING_JOB.plural, metadata.get("namespace") or "", name), 0.0
        before, after = occupied(change.old), occupied(change.new)
        if before != after:
            nodes = [store.get(NODE, "", name) for name in (before, after) if name is not None]
            yield from _clusters_of_nodes(nodes, store, book)
    elif change.kind in {NODE_POOL, NODE_CLAIM, DEPLOYMENT}:
        yield from _cluster_of_pool(change, store)
    elif change.kind == NODE and _without_version(change.old) != _without_version(change.new):
        yield from _clusters_of_nodes([node for node in (change.old, change.new) if node is not None], store, book)


def moves_a_queue(change: Change) -> bool:
    """Return whether a run joins a cluster's queue, is let in, or leaves."""
    if change.kind == JOB:
        return _gate(change.old) != _gate(change.new)
    if change.kind == TRAINING_JOB:
        return change.new is None or _ended(change.old) != _ended(change.new)
    return False


def _gate(job: JsonObject | None) -> tuple[bool, bool] | None:
    return (bool((job.get("spec") or {}).get("suspend")), has_finished(job)) if job else None


def _ended(run: JsonObject | None) -> bool:
    return _phase(run) in ENDED or bool(run and wants_rest(run))


def _clusters_of_nodes(
    nodes: Iterable[JsonObject | None], store: Store, book: QueueBook
) -> Iterable[tuple[Key, float]]:
    """Yield the clusters that one of `nodes` belongs to; what nobody has heard of, or understands, may be concerned."""
    nodes = tuple(nodes)
    for cluster in store.list(COMPUTE_CLUSTER):
        machines = book.understand(cluster)
        if isinstance(machines, Cluster):
            belongs = partial(provider_of(machines.spec).belongs, machines)
            if not any(node is None or belongs(node) for node in nodes):
                continue
        yield _key(COMPUTE_CLUSTER, cluster), CLUSTER_SECONDS


def _cluster_of_pool(change: Change, store: Store) -> Iterable[tuple[Key, float]]:
    metadata = change.object["metadata"]
    # A NodePool that somebody else made under a cluster's name has no label of ours.
    pool = metadata["name"] if change.kind == NODE_POOL else (metadata.get("labels") or {}).get(POOL_LABEL)
    for cluster in store.list(COMPUTE_CLUSTER):
        if pool_name(*key_of(cluster)) == pool:
            # Karpenter writes its counts often; that a pool is ready is waited for.
            yield _key(COMPUTE_CLUSTER, cluster), 0.0 if change.kind == NODE_POOL else CLUSTER_SECONDS / 4


def _key(kind: Kind, obj: JsonObject) -> Key:
    return Key(kind.plural, *key_of(obj))


def _changed_by_others(change: Change) -> bool:
    """Return whether the answer to an own write brings news beside it: its watch event will be taken for known."""
    if change.old is None or change.new is None:
        return False
    old, new = change.old["metadata"], change.new["metadata"]
    return any(old.get(name) != new.get(name) for name in ("generation", "deletionTimestamp", "uid"))


def _without_version(obj: JsonObject | None) -> JsonObject | None:
    if obj is None:
        return None
    metadata = {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}
    return {**obj, "metadata": metadata}


def _cluster_of_run(change: Change) -> Iterable[tuple[Key, float]]:
    if _phase(change.old) == _phase(change.new):
        return
    cluster = cluster_of(change.object)
    if cluster:
        yield Key(COMPUTE_CLUSTER.plural, *cluster), CLUSTER_SECONDS


def _runs_that_wait_for(change: Change, book: QueueBook) -> Iterable[tuple[Key, float]]:
    if _placing(change.old) == _placing(change.new):
        return
    going = bool(change.object["metadata"].get("deletionTimestamp"))
    for run in book.going(key_of(change.object)):
        # What happens to a cluster is of interest to runs without a node, and its end to all of them.
        if going or _phase(run) in _UNPLACED:
            yield _key(TRAINING_JOB, run), 0.0


_UNPLACED = (None, Phase.PENDING, Phase.PREPARING, Phase.QUEUED, Phase.PROVISIONING)


def _phase(obj: JsonObject | None) -> str | None:
    return (obj.get("status") or {}).get("phase") if obj else None


def _placing(cluster: JsonObject | None) -> tuple[object, ...] | None:
    """Return what of a cluster matters to runs that wait for it."""
    if cluster is None:
        return None
    conditions = (cluster.get("status") or {}).get("conditions") or ()
    ready = next((c.get("status") for c in conditions if c.get("type") == "Ready"), None)
    # What a run without a node is told comes from there too.
    errors = tuple(e["lastTime"] for e in (cluster.get("status") or {}).get("errors") or ())
    metadata = cluster["metadata"]
    return metadata.get("uid"), metadata.get("generation"), metadata.get("deletionTimestamp"), ready, errors


def _runs_of_versions(change: Change) -> Iterable[tuple[Key, float]]:
    """Yield the runs whose versions changed: a model with a thousand versions wakes the one run that it is about."""
    old, new = _versions(change.old), _versions(change.new)
    namespace = change.object["metadata"].get("namespace") or ""
    for number in old.keys() | new.keys():
        entry = new.get(number) or old[number]
        name = (entry.get("run") or {}).get("name")
        if name and old.get(number) != new.get(number):
            yield Key(TRAINING_JOB.plural, namespace, name), 0.0


def _models_that_promote(change: Change, store: Store) -> Iterable[tuple[Key, float]]:
    """Yield the models of other namespaces that wait for a version of the changed one, or for the right to it."""
    shared = _shared_with(change.old) | _shared_with(change.new)
    if not shared or _offer(change.old) == _offer(change.new):
        return
    namespace, name = key_of(change.object)
    for model in store.list(REGISTERED_MODEL):
        if model["metadata"].get("namespace") not in shared:
            continue
        if _promotes_from(model) == (namespace, name):
            yield _key(REGISTERED_MODEL, model), 0.0


def _promotes_from(model: JsonObject) -> tuple[object, str] | None:
    """Return namespace and name of the RegisteredModel that another one promotes from; its spec may be anything."""
    wish = model["spec"].get("promoteFrom") if isinstance(model["spec"], dict) else None
    return (wish.get("namespace"), object_name(str(wish.get("model")))) if isinstance(wish, dict) else None


def _shared_with(model: JsonObject | None) -> set[str]:
    names = model["spec"].get("sharedWith") if model and isinstance(model["spec"], dict) else None
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _offer(model: JsonObject | None) -> tuple[object, ...]:
    """Return what of a model matters to those that promote from it."""
    states = {number: (entry.get("state"), entry.get("manifestSha256")) for number, entry in _versions(model).items()}
    return _shared_with(model), states


def _versions(model: JsonObject | None) -> dict[Any, JsonObject]:
    versions = ((model or {}).get("status") or {}).get("versions") or ()
    return {entry.get("version"): entry for entry in versions}


def _runs_of_build(change: Change, store: Store) -> Iterable[tuple[Key, float]]:
    metadata = change.object["metadata"]
    name = (metadata.get("labels") or {}).get(ENVIRONMENT_LABEL)
    if name:
        for key in _runs_that_prepare(metadata.get("namespace") or "", name, store):
            yield key, 0.0


def _runs_that_prepare(namespace: str, environment: str, store: Store) -> Iterable[Key]:
    for run in store.list(TRAINING_JOB):
        if _phase(run) == Phase.PREPARING and run["metadata"].get("namespace") == namespace:
            digest = (run["status"].get("environment") or {}).get("hash", "")
            if environment_name(digest) == environment:
                yield _key(TRAINING_JOB, run)


def _runs_of_jobs(change: Change, store: Store) -> Iterable[tuple[Key, float]]:
    if change.kind == JOB:
        yield from _owners(change.object)
        yield from _runs_of_build(change, store)
    elif _without_version(change.old) != _without_version(change.new):
        owners = change.object["metadata"].get("ownerReferences") or ()
        for job in (store.by_uid(JOB, owner["uid"]) for owner in owners):
            yield from _owners(job) if job is not None else ()


def _owners(job: JsonObject) -> Iterable[tuple[Key, float]]:
    metadata = job["metadata"]
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("kind") == TRAINING_JOB.kind:
            yield Key(TRAINING_JOB.plural, metadata.get("namespace") or "", owner["name"]), 0.0
