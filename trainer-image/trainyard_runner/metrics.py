"""Metrics, progress and more from the file of JSON lines that scripts append to, in whatever language they are written.

Nothing in it is trusted: a line that means nothing costs one warning, whatever it holds.
"""

from __future__ import annotations

import json
import math
import threading
import unicodedata
from typing import TYPE_CHECKING, Any, cast

from trainyard.contract import (
    ENV_METRICS_FILE,
    MAX_MESSAGE_CHARS,
    MAX_METRICS,
    NOT_FINITE,
    MetricValue,
    Progress,
    check_relative_path,
    decode_metric,
    encode_metric,
    metric_name,
)
from trainyard_runner.record import Record

if TYPE_CHECKING:
    from pathlib import Path

    from trainyard_runner.warnings import Warnings

CHUNK_BYTES = 1024 * 1024
MAX_LINE_BYTES = 1024 * 1024
# So much is read in one go, so that the reports between the goes stay punctual.
POLL_BYTES = 8 * CHUNK_BYTES
_NAMES_SHOWN = 60
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)


class MetricsTail:
    """Follows the file: `state` has the latest value of each metric and what was said last of the progress.

    `record` holds what was said beside them.
    """

    def __init__(self, path: Path, *, warnings: Warnings) -> None:
        self._path = path
        self._warnings = warnings
        self._lock = threading.Lock()
        self._offset = 0
        self._rest = b""
        self._metrics: dict[str, MetricValue] = {}
        self._progress: Progress | None = None
        self._told: set[str] = set()
        self.record = Record(warn=self._warn_once)

    def state(self) -> tuple[dict[str, MetricValue], Progress | None]:
        """Return the latest values and the latest progress, as far as the file has been read."""
        with self._lock:
            return dict(self._metrics), self._progress

    def poll(self, *, limit: int | None = POLL_BYTES) -> None:
        """Read what has been appended, up to about `limit` bytes of it."""
        with self._lock:
            try:
                with self._path.open("rb") as file:
                    self._read(file, limit)
            except FileNotFoundError:
                return
            except OSError as error:
                self._warn_once("read", f"the metrics file cannot be read: {error}")

    def _read(self, file: Any, limit: int | None) -> None:
        if file.seek(0, 2) < self._offset:
            # Opened for writing instead of for appending: it begins anew.
            self._offset, self._rest = 0, b""
        file.seek(self._offset)
        read = 0
        while limit is None or read < limit:
            chunk = file.read(CHUNK_BYTES)
            if not chunk:
                return
            read += len(chunk)
            self._offset += len(chunk)
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._take(line)
            if len(self._rest) > MAX_LINE_BYTES:
                self._rest = b"?"  # what follows of that line must not pass for a line of its own
                self._malformed("a line that is longer than 1 MiB")

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            entry = json.loads(line)
            if "metric" in entry:
                self._metric(entry["metric"], entry["value"])
            elif "progress" in entry:
                self._progress = _progress(entry["progress"])
            elif not self.record.take(entry):
                self._many(entry)
        except _MALFORMED:
            self._malformed(line[:80].decode(errors="replace"))

    def _many(self, entry: dict[str, Any]) -> None:
        """Take the last value of a list, and of each column of a row or a table."""
        if "list" in entry:
            for value in entry["values"][-1:]:
                self._metric(entry["list"], value)
        elif "row" in entry:
            self._columns(entry["row"], entry["values"])
        elif "table" in entry:
            last = {column: values[-1] for column, values in entry["columns"].items() if values}
            self._columns(entry["table"], last)
        else:
            # An image or a document: its place is for the history alone.
            check_relative_path(entry["path"], what=str(entry["file"]))

    def _columns(self, name: str, values: dict[str, object]) -> None:
        for column, value in values.items():
            if not isinstance(value, str) or value in NOT_FINITE:
                self._metric(f"{name}/{column}", value)

    def _metric(self, name: object, value: object) -> None:
        if not isinstance(name, str):
            raise TypeError
        clean = metric_name(name)
        number = _number(value)
        if clean in self._metrics or len(self._metrics) < MAX_METRICS:
            self._metrics[clean] = number
        else:
            self._warn_once(
                "many",
                f"more than {MAX_METRICS} metrics were logged, {clean[:_NAMES_SHOWN]!r} is the first that is only in "
                "metrics.jsonl: use fewer names, and steps for series",
            )

    def _malformed(self, what: str) -> None:
        self._warn_once(
            "malformed",
            f"the file of {ENV_METRICS_FILE} has lines that mean nothing, first {what!r}",
        )

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._warnings.add(text)


def _number(value: object) -> MetricValue:
    if isinstance(value, str):
        return encode_metric(decode_metric(value))
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        # No status can hold it as an integer.
        return encode_metric(float(value) if abs(value) < 2**1023 else math.inf * (1 if value > 0 else -1))
    if not isinstance(value, (int, float)):
        raise TypeError
    return encode_metric(value)


def _progress(told: Any) -> Progress:
    progress: dict[str, Any] = {}
    if told.get("percent") is not None:
        progress["percent"] = min(100.0, max(0.0, _finite(told["percent"])))
    if told.get("etaSeconds") is not None:
        progress["etaSeconds"] = max(0.0, _finite(told["etaSeconds"]))
    if told.get("message") is not None:
        text = "".join(c if unicodedata.category(c) not in {"Cc", "Cs"} else " " for c in str(told["message"]))
        progress["message"] = text[:MAX_MESSAGE_CHARS].strip()
    return cast("Progress", progress)


def _finite(value: object) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError
    return float(value)
