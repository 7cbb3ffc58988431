"""The smallest merge patch between two statuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merge patch (RFC 7386) that turns `old` into `new`: null for what goes, lists as a whole."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif isinstance(value, dict) and isinstance(old[key], dict):
            inner = difference(old[key], value)
            if inner:
                patch[key] = inner
        elif not _same(old[key], value):
            patch[key] = value
    return patch


def _same(old: object, new: object) -> bool:
    # Python takes True for 1; JSON does not.
    return old == new and isinstance(old, bool) == isinstance(new, bool)
