"""The values of one metric in the order in which they were logged, and few of them that look the same when drawn."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final

from trainyard.contract import decode_metric

# What one metric keeps: beyond it, neighbours are thinned out by their lowest and highest.
MAX_POINTS: Final = 200_000
MAX_SERIES: Final = 256
STEP: Final = "step"
ORDER: Final = "order"
TIME: Final = "time"


class Series:
    """The points of one metric.

    Parameters
    ----------
    axis
        What `x` is: ``step`` as the script gave it, ``order`` in which values were logged, or ``time`` in seconds.
    """

    def __init__(self, axis: str) -> None:
        self.axis = axis
        self.x = array("d")
        self.y = array("d")
        # How many there were, of which those that are kept may be few.
        self.count = 0

    def add(self, x: float, y: float) -> None:
        """Append one point; an infinite value is a gap, as NaN is."""
        self.x.append(x)
        self.y.append(y if math.isfinite(y) else math.nan)
        self.count += 1
        if len(self.x) > MAX_POINTS:
            self.x, self.y = thinned(self.x, self.y, MAX_POINTS // 2)


def thinned(x: array[float], y: array[float], most: int) -> tuple[array[float], array[float]]:
    """Return at most about `most` of the points: of each few neighbours the lowest and the highest."""
    if len(x) <= most:
        return x, y
    size = math.ceil(2 * len(x) / most)
    few_x, few_y = array("d"), array("d")
    for start in range(0, len(x), size):
        places = range(start, min(start + size, len(x)))
        finite = [place for place in places if not math.isnan(y[place])]
        chosen = {min(finite, key=y.__getitem__), max(finite, key=y.__getitem__)} if finite else {places[0]}
        for place in sorted(chosen):
            few_x.append(x[place])
            few_y.append(y[place])
    if few_x[-1] != x[-1]:
        few_x.append(x[-1])
        few_y.append(y[-1])
    return few_x, few_y


def series_of(entries: Iterable[dict[str, Any]]) -> dict[str, Series]:
    """Return the series of a run's history; values that are no numbers, and entries that mean nothing, are left out."""
    found: dict[str, Series] = {}
    for entry in entries:
        for name, values, step in _values(entry):
            series = found.get(name)
            if series is None:
                if len(found) >= MAX_SERIES:
                    continue
                series = found[name] = Series(ORDER if step is None else STEP)
            for value in values:
                number = _number(value)
                if number is not None:
                    x = step if step is not None and series.axis == STEP else series.count + 1
                    series.add(x, number)
    return {name: series for name, series in found.items() if series.count}


def _values(entry: dict[str, Any]) -> list[tuple[str, Sequence[Any], float | None]]:
    step = _number(entry.get("step"))
    if "metric" in entry:
        return [(str(entry["metric"]), [entry.get("value")], step)]
    if "list" in entry and isinstance(entry.get("values"), list):
        return [(str(entry["list"]), entry["values"], None)]
    if "row" in entry and isinstance(entry.get("values"), dict):
        return [(f"{entry['row']}/{column}", [value], None) for column, value in entry["values"].items()]
    if "table" in entry and isinstance(entry.get("columns"), dict):
        columns = entry["columns"].items()
        return [(f"{entry['table']}/{column}", values, None) for column, values in columns if isinstance(values, list)]
    return []


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(decode_metric(value))
    except (ValueError, OverflowError):
        return None
