"""Turns what is heard of a run into what is shown of it, and into the difference since it was asked last: all pure."""

from __future__ import annotations

import math
import re
from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from trainyard.remote.view import metrics_of_status
from trainyard.widgets.look import look_of, moment
from trainyard.widgets.series import MAX_SERIES, TIME, Series, series_of, thinned

JsonObject = Mapping[str, Any]

LOG_LINES: Final = 2000
LINE_CHARS: Final = 2000
MAX_FILES: Final = 500
# Of each series, what is kept in a saved notebook.
FEW_POINTS: Final = 1000
# Colours and movements of the cursor, which a page cannot show.
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]")


class RunFeed:
    """The state of one run as it is shown.

    It is told of TrainingJobs, lines and files, and gives a `snapshot` of everything or a `difference`. Each
    difference has a number, one more than the one before, and a snapshot the number of the last one that is in it.
    """

    def __init__(self) -> None:
        self._number = 0
        self._shown: dict[str, Any] = {"files": [], "more_files": 0, "notes": {}, "live_metrics": True}
        self._told: dict[str, Any] = {}
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._line_count = 0
        self._lines_told = 0
        self._log_epoch = 0
        self._series: dict[str, Series] = {}
        self._points_told: dict[str, int] = {}
        self._series_epoch = 0
        self._epochs_told = (0, 0)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the run."""
        return bool(self._shown.get("ended"))

    def job(self, job: JsonObject) -> None:
        """Take the TrainingJob as it is now."""
        self._shown.update(look_of(job))
        if not self._shown["live_metrics"]:
            return
        started = self._shown["start"] or self._shown["created"] or 0.0
        for name, value in metrics_of_status(job).items():
            series = self._series.get(name)
            if series is None:
                if len(self._series) >= MAX_SERIES:
                    continue
                series = self._series[name] = Series(TIME)
            if not series.count or not _same(series.y[-1], value):
                series.add(max(0.0, _heard(job) - started), value)

    def lines(self, lines: Iterable[str]) -> None:
        """Append to the log."""
        for line in lines:
            clean = _TERMINAL.sub("", line)
            self._lines.append(clean if len(clean) <= LINE_CHARS else clean[:LINE_CHARS] + " …")
            self._line_count += 1

    def new_log(self) -> None:
        """Begin with the log anew, as another attempt does."""
        self._lines.clear()
        self._line_count = self._lines_told = 0
        self._log_epoch += 1

    def history(self, entries: Iterable[dict[str, Any]]) -> None:
        """Take all that the script has logged in the place of what was heard of it meanwhile."""
        found = series_of(entries)
        if found:
            self._series = found
            self._series_epoch += 1
            self._points_told = {}
            self._shown["live_metrics"] = False

    def files(self, files: Mapping[str, int]) -> None:
        """Take the run's files with their sizes."""
        listed = sorted(files.items())
        self._shown["files"] = [[path, size] for path, size in listed[:MAX_FILES]]
        self._shown["more_files"] = max(0, len(listed) - MAX_FILES)

    def note(self, about: str, words: str) -> None:
        """Say what is wrong with ``watch``, ``log`` or ``files``; nothing is where `words` is empty."""
        notes = {name: text for name, text in self._shown["notes"].items() if name != about}
        self._shown["notes"] = {**notes, about: words} if words else notes

    def snapshot(self, *, now: float) -> dict[str, Any]:
        """Return everything, as JSON; long series are thinned out."""
        return {
            "number": self._number,
            "now": now,
            "view": dict(self._shown),
            "log": {"epoch": self._log_epoch, "from": self._line_count - len(self._lines), "lines": list(self._lines)},
            "series": {"epoch": self._series_epoch, "of": [_few(*item) for item in self._series.items()]},
        }

    def whole_series(self) -> list[tuple[dict[str, Any], array[float], array[float]]]:
        """Return all points of the series that a snapshot has thinned out."""
        return [
            ({"name": name, "axis": series.axis, "from": 0, "count": series.count}, series.x[:], series.y[:])
            for name, series in self._series.items()
            if len(series.x) > FEW_POINTS
        ]

    @property
    def series_epoch(self) -> int:
        """Which edition of the series this is: a new one replaces all points."""
        return self._series_epoch

    def difference(self, *, now: float) -> Difference | None:
        """Return what is new since the last call, or None."""
        view = {name: value for name, value in self._shown.items() if self._told.get(name, _NOTHING) != value}
        log = self._new_lines()
        points = self._new_points()
        epochs = (self._log_epoch, self._series_epoch)
        if not view and log is None and not points and epochs == self._epochs_told:
            return None
        self._told.update(view)
        self._epochs_told = epochs
        self._number += 1
        message: dict[str, Any] = {"number": self._number, "now": now, "view": view}
        if log is not None:
            message["log"] = log
        if points:
            message["series"] = {"epoch": self._series_epoch, "of": [about for about, _, _ in points]}
        return Difference(message, [part for _, x, y in points for part in (x, y)])

    def _new_lines(self) -> dict[str, Any] | None:
        new = min(self._line_count - self._lines_told, len(self._lines))
        if not new and self._epochs_told[0] == self._log_epoch:
            return None
        self._lines_told = self._line_count
        lines = list(self._lines)[len(self._lines) - new :] if new else []
        return {"epoch": self._log_epoch, "from": self._line_count - new, "lines": lines}

    def _new_points(self) -> list[tuple[dict[str, Any], array[float], array[float]]]:
        found = []
        for name, series in self._series.items():
            told = self._points_told.get(name, 0)
            new = min(series.count - told, len(series.x))
            if new:
                self._points_told[name] = series.count
                about = {"name": name, "axis": series.axis, "from": told, "count": series.count}
                found.append((about, series.x[-new:], series.y[-new:]))
        return found


class Difference:
    """What is new: a `message` of JSON, and the points of its series as `buffers` of doubles, first x and then y."""

    def __init__(self, message: dict[str, Any], buffers: list[array[float]]) -> None:
        self.message = message
        self.buffers = buffers


_NOTHING: Final = object()


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and not math.isfinite(other))


def _heard(job: JsonObject) -> float:
    """Return when the operator wrote this status last, as far as the object says so."""
    times = [
        moment(entry.get("time"))
        for entry in (job.get("metadata") or {}).get("managedFields") or ()
        if entry.get("subresource") == "status"
    ]
    told = moment(((job.get("status") or {}).get("progress") or {}).get("updatedTime"))
    return max((time for time in [*times, told] if time is not None), default=0.0)


def _few(name: str, series: Series) -> dict[str, Any]:
    x, y = thinned(series.x, series.y, FEW_POINTS)
    values = [None if math.isnan(value) else value for value in y]
    return {"name": name, "axis": series.axis, "count": series.count, "x": list(x), "y": values}
