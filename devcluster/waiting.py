"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from devcluster.errors import DevclusterError

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_for(
    condition: Callable[[], bool],
    *,
    what: str,
    timeout: float,
    interval: float = 0.05,
    hint: Callable[[], str] | None = None,
) -> None:
    """Return as soon as `condition` holds.

    Parameters
    ----------
    condition
        Asked again and again; may itself raise `DevclusterError` to give up early.
    what
        What is waited for, for the message.
    timeout
        Seconds until giving up.
    interval
        Seconds between two questions.
    hint
        Called on giving up, for the end of the message.

    Raises
    ------
    DevclusterError
        If the condition does not hold in time.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            detail = f"\n{hint()}" if hint else ""
            raise DevclusterError(f"waited {timeout:.0f} s for {what} in vain{detail}")
        time.sleep(interval)


def last_lines(text: str, *, count: int = 12) -> str:
    """Take the end of a log for a message."""
    return "\n".join(f"    {line}" for line in text.splitlines()[-count:])
