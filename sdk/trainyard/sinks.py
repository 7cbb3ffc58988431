"""Where the lines of a run go: to the file that the runner follows, or to the screen of whoever runs the script."""

from __future__ import annotations

import collections
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

Entry = dict[str, Any]

# An offline run keeps so many of its latest lines for `get_metrics`: a script may log for days.
KEPT_OFFLINE = 100_000
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode


class Sink(Protocol):
    """Takes the lines of a run, and gives back what it has of them."""

    def write(self, entry: Entry) -> None:
        """Take one line."""

    def entries(self) -> Iterable[Entry]:
        """Return the lines so far."""


class FileSink:
    """Appends to a file.

    There is no lock to hold over a fork: a line is one ``write`` to a file opened for appending, which the kernel keeps
    whole whichever thread or process it comes from.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, entry: Entry) -> None:
        """Append one line."""
        os.write(self._file, _encode(entry).encode() + b"\n")

    def entries(self) -> Iterable[Entry]:
        """Return the lines of all processes of the run; those that are none of ours are left out."""
        with open(self._path, "rb") as file:  # noqa: PTH123 - pathlib costs a script its start
            for line in file:
                try:
                    entry = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(entry, dict):
                    yield entry


class OfflineSink:
    """Prints, and remembers."""

    def __init__(self) -> None:
        self._entries: collections.deque[Entry] = collections.deque(maxlen=KEPT_OFFLINE)

    def write(self, entry: Entry) -> None:
        """Print one line."""
        self._entries.append(entry)
        # One write for line and line end: threads that print at the same time then do not share lines.
        sys.stdout.write(_words(entry) + "\n")

    def entries(self) -> Iterable[Entry]:
        """Return the latest lines."""
        return tuple(self._entries)


def _words(entry: Entry) -> str:
    kind = next(iter(entry))
    told = entry[kind]
    step = f"  (step {entry['step']})" if "step" in entry else ""
    value = next((entry[field] for field in ("value", "values", "columns", "path") if field in entry), None)
    if value is not None:
        return f"{told}: {value}{step}"
    if kind == "progress":
        left = f", {told['etaSeconds']:.0f} s left" if "etaSeconds" in told else ""
        return f"{told['percent']:.0f} %{left}" + (f": {told['message']}" if "message" in told else "")
    if kind == "model":
        return f"model {told['name']}: {told['path']} (models are registered by runs in a cluster only)"
    if kind == "fail":
        return f"failed: {told['message']}" if told else "not failed"
    return f"{kind}: " + ", ".join(f"{key}={value}" if value else key for key, value in told.items())
