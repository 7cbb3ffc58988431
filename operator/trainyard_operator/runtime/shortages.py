"""Why runs that were let in get no node, or not even a pod: what is said of that in Events and nowhere else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trainyard_operator.api.names import EVENT
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.domain.cluster_status import Shortage
from trainyard_operator.domain.conditions import parse_timestamp
from trainyard_operator.domain.run_waiting import refused_in
from trainyard_operator.kube.client import Client

JsonObject = dict[str, Any]

# Events about objects without a namespace are kept in this one.
_CLUSTER_EVENTS = "default"
# Karpenter's words where every machine that would do is known to be sold out.
_SOLD_OUT = re.compile(r"required offering|insufficient capacity", re.IGNORECASE)
# The pool is full for the moment that an earlier node needs to leave.
_FULL = re.compile(r"exceed limits", re.IGNORECASE)
# The name of the machine that was tried is news in each sentence, and no news to anybody.
_CLAIM = re.compile(r"^NodeClaim \S+ event: ")
_POD = re.compile(r"^Failed to schedule pod, ")
# The Job controller's words where a ResourceQuota of the namespace has no room; the pod's name in them is made up anew.
_QUOTA = re.compile(r"exceeded quota: .*", re.DOTALL)
# And where its Pod Security level does not admit the pod.
_SECURITY = re.compile(r"violates PodSecurity .*", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Whom to ask about in one namespace: names of pods without a node, and of Jobs without a pod."""

    pods: Collection[str] = ()
    jobs: Collection[str] = ()


async def shortages_of(client: Client, *, pool: str, waiting: Mapping[str, Waiting]) -> Iterable[Shortage]:
    """Return what was said of the pool's machines, and of these pods and Jobs by namespace, each sentence once."""
    said: dict[tuple[str, str], Shortage] = {}
    async for page in client.pages(EVENT, namespace=_CLUSTER_EVENTS, field_selector="reason=InsufficientCapacityError"):
        for event in page.items:
            if event["involvedObject"].get("name", "").startswith(f"{pool}-"):
                _add(said, Reason.INSUFFICIENT_CAPACITY, _CLAIM.sub("", event.get("message", "")), event)
    for namespace, names in waiting.items():
        if names.pods:
            selector = "reason=FailedScheduling,source=karpenter"
            async for event in _events(client, namespace, selector, names.pods):
                _add_pod(said, event)
        if names.jobs:
            selector = "reason=FailedCreate,involvedObject.kind=Job"
            async for event in _events(client, namespace, selector, names.jobs):
                refusal = _refusal(namespace, event.get("message", ""))
                if refusal is not None:
                    _add(said, *refusal, event)
    return said.values()


async def _events(client: Client, namespace: str, selector: str, names: Collection[str]) -> AsyncIterator[JsonObject]:
    async for page in client.pages(EVENT, namespace=namespace, field_selector=selector):
        for event in page.items:
            if event["involvedObject"].get("name") in names:
                yield event


def _refusal(namespace: str, words: str) -> tuple[Reason, str] | None:
    if quota := _QUOTA.search(words):
        return Reason.QUOTA_EXCEEDED, quota[0]
    security = _SECURITY.search(words)
    return (Reason.POD_FORBIDDEN, refused_in(namespace, security[0])) if security else None


def _add_pod(said: dict[tuple[str, str], Shortage], event: JsonObject) -> None:
    words = _POD.sub("", event.get("message", ""))
    if not _FULL.search(words):
        sold_out = _SOLD_OUT.search(words)
        _add(said, Reason.INSUFFICIENT_CAPACITY if sold_out else Reason.UNSCHEDULABLE, words, event)


def _add(said: dict[tuple[str, str], Shortage], code: Reason, message: str, event: JsonObject) -> None:
    last = _time(event, "lastTimestamp")
    first = _time(event, "firstTimestamp") or last
    if first is None or last is None:
        return
    known = said.get((code.value, message))
    count = int(event.get("count") or 1) + (known.count if known else 0)
    said[code.value, message] = Shortage(
        code=code.value,
        message=message,
        first=min(first, known.first) if known else first,
        last=max(last, known.last) if known else last,
        count=count,
    )


def _time(event: JsonObject, name: str) -> datetime | None:
    text = event.get(name) or event.get("eventTime") or event["metadata"].get("creationTimestamp")
    return parse_timestamp(text) if text else None
