"""What a person should know of a run that went on nevertheless: a short list, however much there is to say."""

from __future__ import annotations

import sys
import threading

from trainyard.contract import MAX_WARNINGS

MAX_CHARS = 250


def tell(message: str) -> None:
    """Say something of the runner's own in the container's log."""
    try:
        sys.stderr.write(f"trainyard: {message}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody reads the log; that is no reason to end a run


class Warnings:
    """Warnings in the order in which they came; those that are too many are only counted."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._more = 0
        self._lock = threading.Lock()

    def add(self, text: str) -> None:
        """Add one warning: a sentence without a full stop."""
        short = text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"
        with self._lock:
            # The last place is kept for the count of those that had none.
            kept = len(self._texts) < MAX_WARNINGS - 1
            if kept:
                self._texts.append(short)
            else:
                self._more += 1
        if kept:
            tell(f"warning: {short}")

    def listed(self) -> list[str]:
        """Return at most `MAX_WARNINGS` sentences."""
        with self._lock:
            rest = [f"and {self._more} more warnings like these"] if self._more else []
            return [*self._texts, *rest]
