"""Tables for people: aligned, as wide as a terminal shows their characters, and without what moves its cursor."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

GAP: Final = "  "
NONE: Final = "-"
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_LONG_MINUTES: Final = 10
_KILO: Final = 1000.0
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean(text: object) -> str:
    """Return a text in one line, without what a terminal would take as a command."""
    flat = " ".join(str(text).split())
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in _INVISIBLE else char for char in flat)


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(map(_columns, text))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a table; the last column is as long as it is."""
    cells = [list(header), *([clean(cell) or NONE for cell in row] for row in rows)]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = [cell + " " * (wide - width(cell)) for cell, wide in zip(row, widths, strict=True)]
        lines.append(GAP.join(padded).rstrip())
    return lines


def pairs(entries: Mapping[str, object]) -> list[str]:
    """Return names and their values, one a line."""
    wide = max((width(name) for name in entries), default=0)
    return [f"{name}:{' ' * (wide - width(name))}{GAP}{clean(value) or NONE}" for name, value in entries.items()]


def indented(lines: Iterable[str]) -> list[str]:
    """Return lines that belong to the one before them."""
    return [f"{GAP}{line}" for line in lines]


def moment(timestamp: str) -> datetime:
    """Return the time that an API object has as text."""
    return datetime.fromisoformat(timestamp)


def since(timestamp: str | None, until: str | datetime | None = None) -> str:
    """Return how long it is from one moment to another, or until now."""
    if not timestamp:
        return NONE
    end = moment(until) if isinstance(until, str) else until or datetime.now(UTC)
    return span((end - moment(timestamp)).total_seconds())


def span(seconds: float) -> str:
    """Return a duration as short as people say it."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _LONG_MINUTES * _MINUTE:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02}h"


def size(count: int) -> str:
    """Return a number of bytes as people say it."""
    if count < _KILO:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= _KILO
        if value < _KILO or unit == "TB":
            break
    return f"{value:.1f} {unit}"


def number(value: Any) -> str:
    """Return the value of a metric."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
