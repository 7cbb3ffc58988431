"""What the operator knows of the cluster, as of the newest word it heard.

Objects come from three sides: watches, LISTs, and the answers to the operator's own writes. They may arrive in any
order, so the newest resourceVersion wins, and an object whose deletion was seen does not come back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trainyard_operator.api.names import JOB, TRAINING_JOB, Kind
from trainyard_operator.runtime.live import LiveRun
from trainyard_operator.runtime.slim import slim

JsonObject = dict[str, Any]
ObjectKey = tuple[str, str]  # namespace ("" where there is none) and name

# Late answers arrive within seconds of a deletion; the ghost sweep mends what comes later still.
_REMEMBERED_DELETIONS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """An object as it was and as it is now; None where it was not there before, or is gone."""

    kind: Kind
    old: JsonObject | None
    new: JsonObject | None

    @property
    def object(self) -> JsonObject:
        """The object, in its newest form."""
        found = self.new or self.old
        assert found is not None
        return found


class Store:
    """Slim objects by kind, namespace and name, found also by their uid and by their owner's."""

    def __init__(self) -> None:
        self.live: dict[str, LiveRun] = {}
        self._objects: dict[str, dict[ObjectKey, JsonObject]] = {}
        self._children: dict[str, dict[str, dict[ObjectKey, None]]] = {}
        self._uids: dict[str, dict[str, ObjectKey]] = {}
        self._deleted: OrderedDict[str, None] = OrderedDict()

    def get(self, kind: Kind, namespace: str | None, name: str) -> JsonObject | None:
        """Return an object, or None. It is the store's own: never to be changed."""
        return self._objects.get(kind.plural, {}).get((namespace or "", name))

    def list(self, kind: Kind) -> Iterable[JsonObject]:
        """Return every object of `kind`, as they are at this moment."""
        return tuple(self._objects.get(kind.plural, {}).values())

    def children(self, kind: Kind, owner_uid: str) -> tuple[JsonObject, ...]:
        """Return the objects of `kind` whose owner references name `owner_uid`."""
        objects = self._objects.get(kind.plural, {})
        return tuple(objects[key] for key in self._children.get(kind.plural, {}).get(owner_uid, ()))

    def by_uid(self, kind: Kind, uid: str) -> JsonObject | None:
        """Return the object of `kind` with this uid, or None."""
        key = self._uids.get(kind.plural, {}).get(uid)
        return self._objects[kind.plural][key] if key is not None else None

    def put(self, kind: Kind, obj: JsonObject) -> Change | None:
        """Take in an object; None where it says nothing new."""
        metadata = obj["metadata"]
        key = key_of(obj)
        old = self.get(kind, *key)
        if metadata.get("uid") in self._deleted or (old is not None and not _newer(metadata, old["metadata"])):
            return None
        if old is not None:
            self._unindex(kind, key, old)
        new = slim(kind, obj)
        self._objects.setdefault(kind.plural, {})[key] = new
        self._index(kind, key, new)
        if kind == TRAINING_JOB and (new.get("status") or {}).get("completionTime"):
            self.live.pop(new["metadata"].get("uid", ""), None)
        if kind == JOB and _is_suspended(old) and not _is_suspended(new):
            # The run begins anew: what its pod before said last is not about this one.
            for owner in metadata.get("ownerReferences") or ():
                self.live.pop(owner["uid"], None)
        return Change(kind=kind, old=old, new=new)

    def remove(self, kind: Kind, obj: JsonObject) -> Change | None:
        """Forget a deleted object; None where it was not known, or where another one has its name by now."""
        uid = obj["metadata"].get("uid")
        if uid:
            self._remember_deletion(uid)
        key = key_of(obj)
        old = self.get(kind, *key)
        if old is None or (uid and old["metadata"].get("uid") not in {uid, None}):
            return None
        del self._objects[kind.plural][key]
        self._unindex(kind, key, old)
        if kind == TRAINING_JOB:
            self.live.pop(old["metadata"].get("uid", ""), None)
        return Change(kind=kind, old=old, new=None)

    def _remember_deletion(self, uid: str) -> None:
        self._deleted[uid] = None
        if len(self._deleted) > _REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)

    def _index(self, kind: Kind, key: ObjectKey, obj: JsonObject) -> None:
        metadata = obj["metadata"]
        if metadata.get("uid"):
            self._uids.setdefault(kind.plural, {})[metadata["uid"]] = key
        for owner in metadata.get("ownerReferences") or ():
            self._children.setdefault(kind.plural, {}).setdefault(owner["uid"], {})[key] = None

    def _unindex(self, kind: Kind, key: ObjectKey, obj: JsonObject) -> None:
        metadata = obj["metadata"]
        self._uids.get(kind.plural, {}).pop(metadata.get("uid", ""), None)
        by_owner = self._children.get(kind.plural, {})
        for owner in metadata.get("ownerReferences") or ():
            siblings = by_owner.get(owner["uid"], {})
            siblings.pop(key, None)
            if not siblings:
                by_owner.pop(owner["uid"], None)


def key_of(obj: JsonObject) -> ObjectKey:
    """Return the key that `obj` is stored under."""
    metadata = obj["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def _is_suspended(job: JsonObject | None) -> bool:
    return bool(job and (job.get("spec") or {}).get("suspend"))


def _newer(metadata: JsonObject, known: JsonObject) -> bool:
    """Return whether `metadata` was written after `known`; versions that are no numbers are opaque: the last wins."""
    new, old = metadata.get("resourceVersion", ""), known.get("resourceVersion", "")
    if new == old:
        return not new
    try:
        return int(new) > int(old)
    except ValueError:
        return True
