"""How long a run may take: to start, counted from when it was let in, and to run, counted from its script's start.

Both are counted anew in each attempt. The time in a queue counts for neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.attempts import stuck_at
from trainyard_operator.domain.conditions import parse_timestamp
from trainyard_operator.domain.pod import PodFacts


def overdue(
    spec: TrainingJobSpec, job: Mapping[str, Any], pod: PodFacts | None, *, saving: bool, now: datetime
) -> Reason | None:
    """Return which of its times an attempt has overrun; `saving`: its script has ended already."""
    return next((reason for reason, due in _deadlines(spec, job, pod, saving=saving) if due <= now), None)


def next_deadline(
    spec: TrainingJobSpec, job: Mapping[str, Any], pod: PodFacts | None, *, saving: bool, now: datetime
) -> float | None:
    """Return after how many seconds there is something to look at that no event tells of."""
    times = [due for _, due in _deadlines(spec, job, pod, saving=saving)]
    return max(0.1, (min(times) - now).total_seconds()) if times else None


def _deadlines(
    spec: TrainingJobSpec, job: Mapping[str, Any], pod: PodFacts | None, *, saving: bool
) -> Iterator[tuple[Reason, datetime]]:
    if pod is not None and pod.ending is not None:
        return
    if pod is not None and pod.deletion is not None:
        yield Reason.NODE_LOST, stuck_at(pod.deletion)
    started = pod.started if pod is not None else None
    let_in = (job.get("status") or {}).get("startTime")
    if started is None and let_in and spec.start_timeout is not None:
        yield Reason.START_TIMEOUT, parse_timestamp(let_in) + timedelta(seconds=spec.start_timeout)
    if started is not None and spec.run_timeout is not None and not saving:
        yield Reason.RUN_TIMEOUT, parse_timestamp(started) + timedelta(seconds=spec.run_timeout)
