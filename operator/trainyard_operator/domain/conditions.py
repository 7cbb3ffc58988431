"""Conditions as values: the merging rules of Kubernetes' `meta/v1.Condition`, with no clock of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trainyard.contract import MAX_MESSAGE_CHARS

JsonObject = dict[str, Any]


def timestamp(moment: datetime) -> str:
    """Return `moment` as Kubernetes writes times: RFC 3339 in UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime:
    """Return the moment that `timestamp` (or the API server) wrote."""
    return datetime.fromisoformat(text)


def shorten(text: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """Return `text` cut in the middle to at most `limit` characters, so that both its ends stay readable."""
    if len(text) <= limit:
        return text
    mark = " … "
    head = (limit - len(mark)) * 2 // 3
    return text[:head] + mark + text[-(limit - len(mark) - head) :]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One wished condition; `merge` gives it its times and generation."""

    type: str
    status: bool
    reason: str
    message: str


def merge(
    *, old: Sequence[Mapping[str, Any]], wished: Iterable[Condition], generation: int, now: datetime
) -> list[JsonObject]:
    """Return the conditions to write: exactly the wished ones, in their order.

    `lastTransitionTime` changes only where the status of a type changes, as the API conventions ask for.
    """
    known = {condition["type"]: condition for condition in old}
    merged = []
    for wish in wished:
        status = "True" if wish.status else "False"
        before = known.get(wish.type)
        same = before is not None and before.get("status") == status
        merged.append(
            {
                "type": wish.type,
                "status": status,
                "reason": wish.reason,
                "message": shorten(wish.message),
                "lastTransitionTime": before["lastTransitionTime"] if same and before else timestamp(now),
                "observedGeneration": generation,
            }
        )
    return merged


def find(status: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """Return the condition of type `kind` in a status, or None."""
    return next((c for c in status.get("conditions", ()) if c.get("type") == kind), None)


def is_true(status: Mapping[str, Any], kind: str) -> bool:
    """Return whether the condition of type `kind` is there and True."""
    condition = find(status, kind)
    return condition is not None and condition.get("status") == "True"
