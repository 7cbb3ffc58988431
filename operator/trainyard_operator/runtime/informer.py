"""From what is heard of objects to the keys that have to be looked at.

Every word goes through here, whoever says it: watches, LISTs, and the answers to the operator's own writes. Whatever
says nothing new ends here, so that a re-list of converged objects costs no work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from trainyard_operator.api.names import (
    COMPUTE_CLUSTER,
    JOB,
    NODE,
    POD,
    REGISTERED_MODEL,
    TRAINING_JOB,
    TRAINING_JOB_LABEL,
    Kind,
)
from trainyard_operator.api.reasons import Phase
from trainyard_operator.runtime.queues import Key, Queues
from trainyard_operator.runtime.store import Change, Store, key_of

JsonObject = dict[str, Any]

# Nodes and runs change in bursts; a cluster's counts follow at most this often.
CLUSTER_SECONDS = 2.0

StoreMethod = Callable[[Kind, JsonObject], Change | None]

log = logging.getLogger(__name__)


class Informer:
    """Keeps the store and tells the queues; never waits for anything."""

    def __init__(
        self, *, store: Store, queues: Queues, malformed: Callable[[str], None] = lambda _plural: None
    ) -> None:
        self._store = store
        self._queues = queues
        self._malformed = malformed

    def take(self, kind: Kind, obj: JsonObject, *, origin: Key | None = None) -> None:
        """Take in an object as it is now; `origin` is the key whose own write this is the answer to."""
        self._accept(kind, obj, self._store.put, origin)

    def drop(self, kind: Kind, obj: JsonObject) -> None:
        """Forget an object that was deleted."""
        self._accept(kind, obj, self._store.remove, None)

    def _accept(self, kind: Kind, obj: JsonObject, store: StoreMethod, origin: Key | None) -> None:
        try:
            change = store(kind, obj)
        except (KeyError, TypeError, AttributeError):
            # One object that nobody can read must not stop the others.
            self._malformed(kind.plural)
            log.exception("an object of kind %s is not readable", kind.kind)
            return
        if change:
            self._announce(change, origin)

    def run_changed(self, uid: str) -> None:
        """Have the TrainingJob with this uid looked at."""
        found = self._store.by_uid(TRAINING_JOB, uid)
        if found:
            self._queues.add(_key(TRAINING_JOB, found))

    def _announce(self, change: Change, origin: Key | None) -> None:
        for key, seconds in affected(change, store=self._store):
            if key != origin or _changed_by_others(change):
                self._queues.add_after(key, seconds)


def affected(change: Change, *, store: Store) -> Iterable[tuple[Key, float]]:
    """Iterate over the keys that a change makes worth a look, each with how long that look can wait."""
    if change.kind == TRAINING_JOB:
        yield _key(TRAINING_JOB, change.object), 0.0
        yield from _cluster_of_run(change)
    elif change.kind == COMPUTE_CLUSTER:
        yield _key(COMPUTE_CLUSTER, change.object), 0.0
        yield from _runs_that_wait_for(change, store)
    elif change.kind == REGISTERED_MODEL:
        yield _key(REGISTERED_MODEL, change.object), 0.0
        yield from _runs_of_versions(change)
    elif change.kind == JOB:
        yield from _owners(change)
    elif change.kind == POD:
        metadata = change.object["metadata"]
        name = (metadata.get("labels") or {}).get(TRAINING_JOB_LABEL)
        if name:
            yield Key(TRAINING_JOB.plural, metadata.get("namespace") or "", name), 0.0
        if _occupied(change.old) != _occupied(change.new):
            yield from _all_clusters(store)
    elif change.kind == NODE and _without_version(change.old) != _without_version(change.new):
        yield from _all_clusters(store)


def _all_clusters(store: Store) -> Iterable[tuple[Key, float]]:
    for cluster in store.list(COMPUTE_CLUSTER):
        yield _key(COMPUTE_CLUSTER, cluster), CLUSTER_SECONDS


def _occupied(pod: JsonObject | None) -> str | None:
    """Return the name of the node that a pod keeps busy."""
    if pod is None or pod["status"].get("phase") in {"Succeeded", "Failed"}:
        return None
    node: str | None = pod["spec"].get("nodeName")
    return node


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
    obj = change.object
    name = _cluster_name(obj)
    if name:
        yield Key(COMPUTE_CLUSTER.plural, obj["metadata"].get("namespace") or "", name), CLUSTER_SECONDS


def _runs_that_wait_for(change: Change, store: Store) -> Iterable[tuple[Key, float]]:
    if _placing(change.old) == _placing(change.new):
        return
    namespace, name = key_of(change.object)
    for run in store.list(TRAINING_JOB):
        if run["metadata"].get("namespace") == namespace and _cluster_name(run) == name and _phase(run) in _UNPLACED:
            yield _key(TRAINING_JOB, run), 0.0


_UNPLACED = (None, Phase.PENDING)


def _phase(obj: JsonObject | None) -> str | None:
    return (obj.get("status") or {}).get("phase") if obj else None


def _cluster_name(run: JsonObject) -> str | None:
    reference = (run.get("spec") or {}).get("computeClusterRef")
    return reference.get("name") if isinstance(reference, dict) else None


def _placing(cluster: JsonObject | None) -> tuple[object, ...] | None:
    """Return what of a cluster matters to runs that wait for it."""
    if cluster is None:
        return None
    conditions = (cluster.get("status") or {}).get("conditions") or ()
    ready = next((c.get("status") for c in conditions if c.get("type") == "Ready"), None)
    return cluster["metadata"].get("uid"), cluster["metadata"].get("generation"), ready


def _runs_of_versions(change: Change) -> Iterable[tuple[Key, float]]:
    """Yield the runs whose versions changed: a model with a thousand versions wakes the one run that it is about."""
    old, new = _versions(change.old), _versions(change.new)
    namespace = change.object["metadata"].get("namespace") or ""
    for number in old.keys() | new.keys():
        entry = new.get(number) or old[number]
        name = (entry.get("run") or {}).get("name")
        if name and old.get(number) != new.get(number):
            yield Key(TRAINING_JOB.plural, namespace, name), 0.0


def _versions(model: JsonObject | None) -> dict[Any, JsonObject]:
    versions = ((model or {}).get("status") or {}).get("versions") or ()
    return {entry.get("version"): entry for entry in versions}


def _owners(change: Change) -> Iterable[tuple[Key, float]]:
    metadata = change.object["metadata"]
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("kind") == TRAINING_JOB.kind:
            yield Key(TRAINING_JOB.plural, metadata.get("namespace") or "", owner["name"]), 0.0
