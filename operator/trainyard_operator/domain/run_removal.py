"""The end of a TrainingJob's object: when it is due, and what goes before it where its data is to go with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from trainyard_operator.api.names import DATA_FINALIZER, TRAINING_JOB
from trainyard_operator.api.reasons import TrainingJobCondition as Type
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import MAX_SECONDS, RunDeletionPolicy
from trainyard_operator.domain.conditions import Condition, find, merge, parse_timestamp
from trainyard_operator.domain.plan import Deletion, Event, Patch, Plan
from trainyard_operator.domain.run_stop import halt, is_at_rest
from trainyard_operator.domain.run_view import RunView
from trainyard_operator.domain.source_reading import stop_reading

JsonObject = dict[str, Any]

# While pods end or the object store is away: no event tells when that is over.
LOOK_AGAIN_SECONDS = 10.0
# A clock that is set back must not keep an object for as long as it was wrong.
LONGEST_SLEEP = 3600.0


def expire(parent: Mapping[str, Any], plan: Plan, now: datetime) -> Plan:
    """Return `plan` with the deletion of a run whose `ttlSecondsAfterFinished` is over, or a look at that time."""
    status: Mapping[str, Any] = plan.status or parent.get("status") or {}
    spec, ended = parent["spec"], status.get("completionTime")
    ttl = spec.get("ttlSecondsAfterFinished") if isinstance(spec, Mapping) else None
    # What cannot be is said of the spec itself, and a run that ended for it stays.
    if not isinstance(ttl, int) or not 0 <= ttl <= MAX_SECONDS or not isinstance(ended, str):
        return plan
    left = (parse_timestamp(ended) + timedelta(seconds=ttl) - now).total_seconds()
    if left > 0 or plan.status is not None:
        again = min(max(left, 0.0), LONGEST_SLEEP)
        return replace(plan, requeue_after=again if plan.requeue_after is None else min(again, plan.requeue_after))
    meta = parent["metadata"]
    return Plan(delete=(Deletion(kind=TRAINING_JOB, namespace=meta["namespace"], name=meta["name"], uid=meta["uid"]),))


def guard(parent: Mapping[str, Any], plan: Plan) -> Plan:
    """Return `plan` with the finalizer that keeps the object until its data is gone, where that is asked for."""
    if _wants_deletion(parent) == _is_guarded(parent):
        return plan
    return replace(plan, patch=(_finalizers(parent, add=_wants_deletion(parent)), *plan.patch))


def remove(parent: Mapping[str, Any], view: RunView, now: datetime) -> Plan:
    """Plan an object that is being deleted: its pod first, then its data, then itself."""
    if not _is_guarded(parent):
        return Plan()  # its children go with it, and none may come back
    if not _wants_deletion(parent):
        return Plan(patch=(_finalizers(parent, add=False),))
    busy = _busy(view, now)
    if busy is not None:
        return busy
    if view.data is None or (not view.data.left and not view.data.trouble):
        return Plan(patch=(_finalizers(parent, add=False),)) if view.data is not None else Plan()
    status, events = _told(parent, view.data.trouble, now)
    if not view.data.left:
        return Plan(status=status, events=events, requeue_after=LOOK_AGAIN_SECONDS)
    return Plan(status=status, events=events, erase=True, requeue_after=0.0)


def _busy(view: RunView, now: datetime) -> Plan | None:
    """Return the plan that ends the pods of a run, None where it has none any more that could write."""
    reading = stop_reading(view)
    if reading:
        return Plan(delete=reading, requeue_after=LOOK_AGAIN_SECONDS)
    if not is_at_rest(view, now):
        return Plan(patch=halt(view, Reason.CANCELED), requeue_after=LOOK_AGAIN_SECONDS)
    return None


def _told(parent: Mapping[str, Any], trouble: str, now: datetime) -> tuple[JsonObject | None, tuple[Event, ...]]:
    old: Mapping[str, Any] = parent.get("status") or {}
    if not trouble:
        return None, ()
    words = f"the run's data cannot be deleted yet, and the TrainingJob stays until it is: {trouble}"
    wish = Condition(type=Type.DATA_DELETED.value, status=False, reason=Reason.DATA_NOT_DELETED.value, message=words)
    others = [dict(c) for c in old.get("conditions") or () if c.get("type") != wish.type]
    generation = parent["metadata"]["generation"]
    merged = merge(old=old.get("conditions") or [], wished=[wish], generation=generation, now=now)
    status = {**old, "conditions": [*others, *merged]}
    new = find(old, wish.type) is None
    events = (Event(type="Warning", reason=wish.reason, message=words),) if new else ()
    return (status if status != old else None), events


def _wants_deletion(parent: Mapping[str, Any]) -> bool:
    spec = parent["spec"]
    return isinstance(spec, Mapping) and spec.get("deletionPolicy") == RunDeletionPolicy.DELETE


def _is_guarded(parent: Mapping[str, Any]) -> bool:
    return DATA_FINALIZER in (parent["metadata"].get("finalizers") or ())


def _finalizers(parent: Mapping[str, Any], *, add: bool) -> Patch:
    meta = parent["metadata"]
    others = [name for name in meta.get("finalizers") or () if name != DATA_FINALIZER]
    # Lists are replaced as a whole by a merge patch: the version keeps somebody else's finalizer from being lost.
    body = {
        "metadata": {
            "finalizers": [*others, *([DATA_FINALIZER] if add else [])],
            "resourceVersion": meta["resourceVersion"],
        }
    }
    return Patch(kind=TRAINING_JOB, namespace=meta["namespace"], name=meta["name"], body=body)
