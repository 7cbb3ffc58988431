r"""Progress from a tqdm bar, for scripts that report none themselves.

A bar that is nested in another one is left out: tqdm draws it on a line below, and then takes the cursor up again. So
the line of each bar is counted relative to the others, and one that appears below the last one takes its place only
once it is drawn twice with the cursor staying there: that is the next bar of a script with several, one after another.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, cast

from trainyard.contract import MAX_MESSAGE_CHARS

if TYPE_CHECKING:
    from trainyard.contract import Progress

# What is kept of a bar that is torn between two chunks; none is longer than a terminal is wide.
HELD_CHARS = 1024
_NUMBER = r"\d+(?:\.\d+)?"
_BAR = re.compile(
    rf"""
    (?P<line>\n) | (?P<up>\x1b\[A) |
    (?<=\r) (?: (?P<message>[^\r\n\x1b|%]{{1,300}}?) :[ ] )? [ ]*
    (?P<percent>\d{{1,3}})%\|[^|\r\n]{{0,500}}\|[ ]
    (?P<done>{_NUMBER})(?P<unit>[A-Za-z]*)/(?P<total>{_NUMBER})(?P<total_unit>[A-Za-z]*)[ ]
    \[[\d:]+<(?P<left>[\d:]+|\?)[],]
    """,
    re.VERBOSE,
)
_ANYTHING = (b"%|", b"\x1b[A")


class BarReader:
    """Follows what is printed; `progress` is what the outermost bar shows."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self._held = ""
        self._row = 0
        self._shown_row = 0
        self._waiting_row: int | None = None

    def feed(self, chunk: bytes) -> None:
        """Look through a chunk of output."""
        if not self._held and not any(mark in chunk for mark in _ANYTHING):
            # Output without bars, which most is, costs one search.
            self._row += chunk.count(b"\n")
            rest = max(chunk.rfind(b"\r"), chunk.rfind(b"\x1b", -2))
            self._held = chunk[rest:].decode(errors="replace") if rest >= 0 and len(chunk) - rest <= HELD_CHARS else ""
            return
        text = self._held + chunk.decode(errors="replace")
        end = 0
        for match in _BAR.finditer(text):
            end = match.end()
            if match["line"]:
                self._row += 1
            elif match["up"]:
                self._row -= 1
                self._waiting_row = None
            else:
                self._see(match)
        # What has been looked at is not looked at again.
        rest = max(text.rfind("\r", end), text.rfind("\x1b", max(end, len(text) - 2)))
        self._held = text[rest:] if rest >= 0 and len(text) - rest <= HELD_CHARS else ""

    def _see(self, match: re.Match[str]) -> None:
        if self.progress is not None and self._row > self._shown_row and self._row != self._waiting_row:
            self._waiting_row = self._row
            return
        self._waiting_row = None
        self._shown_row = self._row
        self.progress = _progress(match)


def _progress(match: re.Match[str]) -> Progress:
    progress: dict[str, object] = {"percent": _percent(match)}
    if match["left"] != "?":
        progress["etaSeconds"] = _seconds(match["left"])
    message = "".join(c for c in match["message"] or "" if unicodedata.category(c) not in {"Cc", "Cs"}).strip()
    if message:
        progress["message"] = message[:MAX_MESSAGE_CHARS]
    return cast("Progress", progress)


def _percent(match: re.Match[str]) -> float:
    done, total = float(match["done"]), float(match["total"])
    if match["unit"] == match["total_unit"] and total > 0:
        # More exact than what the bar has room for.
        return round(min(100.0, 100.0 * done / total), 1)
    return min(100.0, float(match["percent"]))


def _seconds(clock: str) -> float:
    seconds = 0
    for part in clock.split(":"):
        seconds = seconds * 60 + int(part or 0)
    return float(min(seconds, 10**9))
