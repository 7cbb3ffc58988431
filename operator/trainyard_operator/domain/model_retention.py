"""Which versions the rule of a model deletes: the same answer for a dry run as for the real one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from trainyard_operator.api.model_keeping import Retention
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.domain.conditions import parse_timestamp

# No event tells when a version gets old.
LONGEST_SLEEP = 24 * 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyVersion:
    """A version that the rule may be about."""

    version: int
    created: datetime


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The versions to delete, oldest first, and in how many seconds the next one may join them."""

    due: tuple[int, ...] = ()
    again: float | None = None


def ready_versions(entries: Iterable[Mapping[str, Any]]) -> tuple[ReadyVersion, ...]:
    """Return those of `entries` that are Ready."""
    return tuple(
        ReadyVersion(version=entry["version"], created=parse_timestamp(entry["createdTime"]))
        for entry in entries
        if entry["state"] == VersionState.READY
    )


def judge(rule: Retention, ready: Iterable[ReadyVersion], *, aliased: Collection[int], now: datetime) -> Verdict:
    """Return what `rule` deletes of the Ready versions of a model; those with an alias count, and stay."""
    older = sorted(ready, key=lambda one: one.version)[: -rule.keep_last]
    free = [one for one in older if one.version not in aliased]
    age = timedelta(days=rule.keep_days)
    left = [(one.created + age - now).total_seconds() for one in free]
    waiting = [seconds for seconds in left if seconds > 0]
    return Verdict(
        due=tuple(one.version for one, seconds in zip(free, left, strict=True) if seconds <= 0),
        again=min(min(waiting) + 1.0, LONGEST_SLEEP) if waiting else None,
    )
