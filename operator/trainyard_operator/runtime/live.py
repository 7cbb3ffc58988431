"""What running pods say of themselves: the newest word per run, lost with the process and said again by the pods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from trainyard.contract import Report

if TYPE_CHECKING:
    from trainyard_operator.runtime.store import Store


@dataclass(frozen=True, kw_only=True)
class LiveRun:
    """The newest report of a run's pod, and which source the run was given."""

    updated: datetime
    attempt: int
    report: Report | None = None
    source_sha256: str | None = None
    source_commit: str | None = None


class LiveRuns:
    """Where the gateway leaves what pods tell, for the planner of their TrainingJob to find."""

    def __init__(self, *, store: Store, changed: Callable[[str], None], now: Callable[[], datetime]) -> None:
        self._store = store
        self._changed = changed
        self._now = now

    def publish(
        self,
        uid: str,
        *,
        attempt: int,
        report: Report | None = None,
        source_sha256: str | None = None,
        source_commit: str | None = None,
    ) -> None:
        """Merge what is new of the run `uid` into its record, and have its TrainingJob looked at.

        What an earlier attempt has said is forgotten.
        """
        known = self._store.live.get(uid)
        if known is not None and known.attempt != attempt:
            known = None
        record = LiveRun(
            updated=self._now(),
            attempt=attempt,
            report=report or (known.report if known else None),
            source_sha256=source_sha256 or (known.source_sha256 if known else None),
            source_commit=source_commit or (known.source_commit if known else None),
        )
        if known and replace(known, updated=record.updated) == record:
            return
        self._store.live[uid] = record
        self._changed(uid)
