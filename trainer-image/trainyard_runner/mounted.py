"""Secrets that a run's spec names: there when the pod starts, or soon after, or never."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# What is applied together arrives in any order, and the kubelet brings what came late with its next round.
PATIENCE_SECONDS = 150.0
LOOK_SECONDS = 1.0


def await_secret(
    folder: Path,
    *,
    name: str,
    say: Callable[[str], None],
    patience: float = PATIENCE_SECONDS,
    look: float = LOOK_SECONDS,
) -> bool:
    """Return whether the Secret `name`, which is mounted at `folder`, exists; one that does not is waited for."""
    until = time.monotonic() + patience
    while not _is_there(folder):
        if time.monotonic() > until:
            return False
        say(f"there is no Secret {name} in the run's namespace yet")
        time.sleep(look)
    return True


def _is_there(folder: Path) -> bool:
    try:
        return any(not path.name.startswith("..") for path in folder.iterdir())
    except OSError:
        return False
