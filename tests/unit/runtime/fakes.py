"""A cluster in memory, and a clock that only moves when it is told to."""

from __future__ import annotations

import copy
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from trainyard_operator.api.names import Kind
from trainyard_operator.kube.client import Page
from trainyard_operator.kube.errors import AlreadyExists, Conflict, NotFound
from trainyard_operator.providers.node_group import GroupAddress, GroupCall, GroupSeen

JsonObject = dict[str, Any]
Key = tuple[str, str, str]


class FakeClient:
    """The `Client` Protocol over dicts; `fault` may raise before a call is carried out, or after it."""

    def __init__(self) -> None:
        self.objects: dict[Key, JsonObject] = {}
        self.version = 100
        self.undiscovered: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.before: Callable[[str, Kind, str], None] = lambda _verb, _kind, _name: None
        self.after: Callable[[str, Kind, str], None] = lambda _verb, _kind, _name: None

    def seed(self, kind: Kind, obj: JsonObject) -> JsonObject:
        """Put an object there as somebody else would."""
        return self._write(kind, copy.deepcopy(obj))

    def remove(self, kind: Kind, namespace: str, name: str) -> JsonObject:
        self.version += 1
        gone = self.objects.pop((kind.plural, namespace, name))
        return {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.version)}}

    def of(self, kind: Kind) -> list[JsonObject]:
        return [copy.deepcopy(obj) for (plural, _, _), obj in self.objects.items() if plural == kind.plural]

    async def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> JsonObject:
        return self._call("get", kind, name, lambda: copy.deepcopy(self._find(kind, namespace, name)))

    async def pages(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[Page]:
        wanted = field_selector.removeprefix("metadata.name=")

        def find() -> list[JsonObject]:
            return [
                {"metadata": obj["metadata"]} if metadata_only else obj
                for obj in self.of(kind)
                if (not namespace or obj["metadata"].get("namespace") == namespace)
                and (not wanted or obj["metadata"]["name"] == wanted)
                and (not label_selector or label_selector in (obj["metadata"].get("labels") or {}))
            ]

        items = self._call("list", kind, wanted, find)
        version = str(self.version)
        for start in range(0, max(len(items), 1), 2):
            yield Page(items=items[start : start + 2], resource_version=version)

    async def serves(self, kind: Kind) -> bool:
        return self._call("discover", kind, "", lambda: kind.plural not in self.undiscovered)

    async def create(self, kind: Kind, obj: JsonObject, *, namespace: str | None = None) -> JsonObject:
        def do() -> JsonObject:
            metadata = obj["metadata"]
            key = (kind.plural, namespace or metadata.get("namespace") or "", metadata["name"])
            if key in self.objects:
                raise AlreadyExists(f"{key} already exists", code=409, reason="AlreadyExists")
            return copy.deepcopy(self._write(kind, copy.deepcopy(obj)))

        return self._call("create", kind, obj["metadata"].get("name", ""), do)

    async def replace(self, kind: Kind, obj: JsonObject) -> JsonObject:
        def do() -> JsonObject:
            metadata = obj["metadata"]
            known = self._find(kind, metadata.get("namespace"), metadata["name"])
            self._check(known, metadata.get("resourceVersion"))
            return copy.deepcopy(self._write(kind, copy.deepcopy(obj)))

        return self._call("update", kind, obj["metadata"]["name"], do)

    async def patch(self, kind: Kind, name: str, patch: JsonObject, *, namespace: str | None = None) -> JsonObject:
        def do() -> JsonObject:
            return copy.deepcopy(self._write(kind, merged(self._find(kind, namespace, name), patch)))

        return self._call("patch", kind, name, do)

    async def delete(self, kind: Kind, name: str, *, namespace: str | None = None, uid: str) -> JsonObject | None:
        def do() -> JsonObject | None:
            known = self._find(kind, namespace, name)
            if known["metadata"]["uid"] != uid:
                raise Conflict("the object is another one", code=409, reason="Conflict")
            if known["metadata"].get("finalizers"):
                return copy.deepcopy(self._write(kind, merged(known, {"metadata": {"deletionTimestamp": "now"}})))
            del self.objects[kind.plural, namespace or "", name]
            return None

        return self._call("delete", kind, name, do)

    async def patch_status(
        self, kind: Kind, name: str, patch: JsonObject, *, namespace: str | None = None, resource_version: str = ""
    ) -> JsonObject:
        def do() -> JsonObject:
            known = self._find(kind, namespace, name)
            self._check(known, resource_version)
            return copy.deepcopy(self._write(kind, merged(known, {"status": patch})))

        return self._call("patch_status", kind, name, do)

    def _call(self, verb: str, kind: Kind, name: str, do: Callable[[], Any]) -> Any:
        self.calls[f"{verb} {kind.plural}"] += 1
        self.before(verb, kind, name)
        answer = do()
        self.after(verb, kind, name)
        return answer

    def _find(self, kind: Kind, namespace: str | None, name: str) -> JsonObject:
        try:
            return self.objects[kind.plural, namespace or "", name]
        except KeyError:
            raise NotFound(f"{kind.plural} {namespace}/{name} not found", code=404) from None

    @staticmethod
    def _check(known: JsonObject, version: str | None) -> None:
        if version and known["metadata"]["resourceVersion"] != version:
            raise Conflict("the object has been modified", code=409, reason="Conflict")

    def _write(self, kind: Kind, obj: JsonObject) -> JsonObject:
        self.version += 1
        metadata = {"uid": f"uid-{self.version}", **obj["metadata"], "resourceVersion": str(self.version)}
        stored = {**obj, "metadata": metadata}
        self.objects[kind.plural, metadata.get("namespace") or "", metadata["name"]] = stored
        return stored


def merged(target: Any, patch: Any) -> Any:
    """Return `target` after the merge patch, by the pseudo code of RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class FakeGroups:
    """A cloud in which `seen` is all that is ever seen."""

    def __init__(self, seen: GroupSeen | None = None) -> None:
        self.seen = seen
        self.calls: list[GroupCall] = []

    async def look(self, address: GroupAddress) -> GroupSeen | None:
        return self.seen

    async def carry_out(self, call: GroupCall) -> None:
        self.calls.append(call)


class FakeTimer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """A `Clock` for work queues."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, int, FakeTimer, Callable[[], None]]] = []
        self._order = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer()
        self._order += 1
        heapq.heappush(self._timers, (when, self._order, timer, callback))
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer, callback = heapq.heappop(self._timers)
            if not timer.cancelled:
                self.now = max(self.now, when)
                callback()
        self.now = end

    def pending(self) -> int:
        return sum(not timer.cancelled for _, _, timer, _ in self._timers)


def meta(name: str = "one", *, namespace: str = "ns", version: int = 1, uid: str = "", **more: Any) -> JsonObject:
    return {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}", "resourceVersion": str(version), **more}


def training_job(
    name: str = "one", *, status: JsonObject | None = None, spec: JsonObject | None = None, **more: Any
) -> JsonObject:
    return {
        "metadata": meta(name, generation=more.pop("generation", 1), **more),
        "spec": spec if spec is not None else {"source": {"inline": {"train.py": "print(1)\n"}}},
        "status": status if status is not None else {},
    }


def job(name: str = "one-job", *, owner: str = "one", attempt: int = 1, **more: Any) -> JsonObject:
    reference = {
        "apiVersion": "trainyard.dev/v1alpha1",
        "kind": "TrainingJob",
        "name": owner,
        "uid": f"uid-{owner}",
        "controller": True,
    }
    labels = {
        "trainyard.dev/run-uid": f"uid-{owner}",
        "trainyard.dev/training-job": owner,
        "trainyard.dev/attempt": str(attempt),
    }
    status = more.pop("status", {})
    metadata = meta(name, ownerReferences=[reference], labels=labels, **more)
    return {"kind": "Job", "apiVersion": "batch/v1", "metadata": metadata, "spec": {}, "status": status}
