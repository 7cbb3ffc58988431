"""Whether an attempt that did not succeed is followed by another one, and when.

What the script did wrong counts against `spec.retries`; what happened to its node counts against a bound of the
operator's own. What would only go wrong again in the same way is not tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.domain.conditions import parse_timestamp

# The script's own doing; another attempt may fare better.
COUNTED = frozenset(
    {Reason.SCRIPT_FAILED, Reason.OUT_OF_MEMORY, Reason.DISK_FULL, Reason.OUTPUTS_NOT_SAVED, Reason.RUN_FAILED}
)
# Nobody's doing who has a say in the run.
DISRUPTIONS = frozenset({Reason.NODE_LOST, Reason.PREEMPTED})

FIRST_DELAY = 10
LONGEST_DELAY = 300
# Losing one node is no reason to wait; losing one after the other is.
FIRST_DISRUPTION_DELAY = 5
LONGEST_DISRUPTION_DELAY = 60
_MOST_DOUBLINGS = 10


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many attempts have ended in which way."""

    failures: int = 0
    disruptions: int = 0

    @classmethod
    def of(cls, status: Mapping[str, Any]) -> Tally:
        """Return what a status says."""
        return cls(failures=int(status.get("failures") or 0), disruptions=int(status.get("disruptions") or 0))

    def plus(self, reason: Reason) -> Tally:
        """Return the tally with one more attempt that ended for `reason`."""
        if reason in COUNTED:
            return replace(self, failures=self.failures + 1)
        return replace(self, disruptions=self.disruptions + 1) if reason in DISRUPTIONS else self


def may_retry(reason: Reason, tally: Tally, *, retries: int, disruption_retries: int) -> bool:
    """Return whether an attempt that ended for `reason`, and is in `tally` already, is followed by another one."""
    if reason in COUNTED:
        return tally.failures <= retries
    return reason in DISRUPTIONS and tally.disruptions <= disruption_retries


def exhausted(reason: Reason, tally: Tally) -> str:
    """Return what to add to the words on the last failure, where there were others before it."""
    if reason in COUNTED and tally.failures > 1:
        return f" (failure {tally.failures} of this run; spec.retries allows no further attempt)"
    if reason in DISRUPTIONS and tally.disruptions > 1:
        return f" (disruption {tally.disruptions} of this run: it is not started again)"
    return ""


def next_attempt_at(entry: Mapping[str, Any], tally: Tally) -> datetime | None:
    """Return when the attempt after the one of `entry` may begin; None where nothing keeps it."""
    seconds = _delay(entry.get("reason"), tally)
    if seconds <= 0 or "endTime" not in entry:
        return None
    return parse_timestamp(entry["endTime"]) + timedelta(seconds=seconds)


def _delay(reason: object, tally: Tally) -> int:
    if reason in {r.value for r in COUNTED}:
        return _doubled(FIRST_DELAY, tally.failures - 1, LONGEST_DELAY)
    if reason in {r.value for r in DISRUPTIONS} and tally.disruptions > 1:
        return _doubled(FIRST_DISRUPTION_DELAY, tally.disruptions - 2, LONGEST_DISRUPTION_DELAY)
    return 0


def _doubled(first: int, times: int, longest: int) -> int:
    factor: int = 2 ** min(max(0, times), _MOST_DOUBLINGS)
    return min(longest, first * factor)
