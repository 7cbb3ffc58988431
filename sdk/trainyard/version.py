"""Which release of the package this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final


def _installed() -> str:
    try:
        return version("trainyard")
    except PackageNotFoundError:
        return "unknown"  # In a pod the package is a part of the runner.


VERSION: Final = _installed()
