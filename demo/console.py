"""Lines with the time since the start, which several threads may print."""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO


class Console:
    """Where the demo prints to.

    Parameters
    ----------
    stream
        Standard output where none is given.
    """

    def __init__(self, *, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._start = time.monotonic()
        self._lock = threading.Lock()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def say(self, text: str) -> None:
        """Print what happens, with the time at which it did."""
        self.write(f"[{self.elapsed:6.1f}s] {text}")

    def write(self, text: str) -> None:
        """Print one line, or several, as they are."""
        with self._lock:
            self._stream.write(text + "\n")
            self._stream.flush()
