"""What a metric of a run must be for one of its models to be registered."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING, Final, Self

from trainyard.contract import MAX_METRIC_NAME_BYTES
from trainyard_operator.api.fields import SpecError, read_object, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainyard.contract import MetricValue

# The largest whole number that every reader of JSON keeps exact.
MAX_BOUND: Final = 2**53 - 1
MAX_METRIC_NAME: Final = MAX_METRIC_NAME_BYTES
_LISTED_METRICS = 10


@dataclass(frozen=True, kw_only=True)
class MetricCondition:
    """A range that the last value of a metric must be in; one of its ends may be open."""

    metric: str
    at_least: float | None
    at_most: float | None

    @classmethod
    def parse(cls, value: object, field: str) -> Self | None:
        """Return what `value` means, or None where there is no condition.

        Raises
        ------
        SpecError
            If no metric can be judged by it.
        """
        if value is None:
            return None
        fields = read_object(value, field)
        metric = read_text(fields.get("metric"), f"{field}.metric", at_most=MAX_METRIC_NAME)
        if not metric:
            raise SpecError(f"{field}.metric", "is empty", "name a metric that the script logs")
        least = _read_bound(fields.get("atLeast"), f"{field}.atLeast")
        most = _read_bound(fields.get("atMost"), f"{field}.atMost")
        if least is None and most is None:
            raise SpecError(field, "has neither atLeast nor atMost", "give one of them, or both for a range")
        if least is not None and most is not None and least > most:
            raise SpecError(field, f"asks for at least {least} and at most {most}", "no number is both; exchange them")
        return cls(metric=metric, at_least=least, at_most=most)

    def unmet(self, metrics: Mapping[str, MetricValue]) -> str:
        """Return why `metrics` do not satisfy this, or the empty string where they do."""
        if self.metric not in metrics:
            names = sorted(metrics)
            more = f" and {len(names) - _LISTED_METRICS} more" * (len(names) > _LISTED_METRICS)
            there = f"it logged {', '.join(names[:_LISTED_METRICS])}{more}" if names else "it logged none at all"
            return f"asks for {self}, and the run logged no metric of that name: {there}"
        value = metrics[self.metric]
        # NaN is in no range: every comparison with it is false.
        low, high = -inf if self.at_least is None else self.at_least, inf if self.at_most is None else self.at_most
        number = float(value) if isinstance(value, str) else value
        return "" if low <= number <= high else f"asks for {self}, and the run's is {value}"

    def __str__(self) -> str:
        """Say the range in words."""
        ends = [("at least", self.at_least), ("at most", self.at_most)]
        return f"{self.metric} " + " and ".join(f"{words} {bound}" for words, bound in ends if bound is not None)


def _read_bound(value: object, field: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SpecError(field, f"is {value!r}", "give a number")
    if not isfinite(value) or abs(value) > MAX_BOUND:
        raise SpecError(field, f"is {value}", f"give a number from -{MAX_BOUND} to {MAX_BOUND}")
    return value
