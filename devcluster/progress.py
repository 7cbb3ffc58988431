"""One line for each long step, with the time since the command was started."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT_STEP_SECONDS = 0.5


class Progress:
    """Prints what is going on.

    Parameters
    ----------
    stream
        Where to print to; standard error by default, so that a command's output stays clean.
    """

    def __init__(self, *, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._start = time.monotonic()

    def say(self, message: str) -> None:
        """Print one line."""
        elapsed = time.monotonic() - self._start
        print(f"[{elapsed:6.1f}s] {message}", file=self._stream, flush=True)

    @contextmanager
    def step(self, doing: str, done: str, *, slow: bool = False) -> Iterator[None]:
        """Report a step once it is over, and before it begins too where it is known to be slow."""
        if slow:
            self.say(f"{doing} ...")
        start = time.monotonic()
        yield
        seconds = time.monotonic() - start
        if slow or seconds >= SHORT_STEP_SECONDS:
            self.say(f"{done} in {seconds:.0f} s" if seconds >= 10 else f"{done} in {seconds:.1f} s")  # noqa: PLR2004
