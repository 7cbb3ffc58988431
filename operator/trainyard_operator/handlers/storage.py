"""kopf's memory on the objects themselves, turned off.

The defaults copy each object deeply at each event, to compare it with an annotation that nobody reads here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import kopf


class NoDiffBase(kopf.DiffBaseStorage):
    """Nothing is kept of how an object looked before."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> Any:  # noqa: ARG002
        """Return the same for every object, so that there is never a difference to work on."""
        return {}

    def fetch(self, *, body: kopf.Body) -> None:
        """Return nothing."""

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: Any) -> None:
        """Write nothing."""


class NoProgress(kopf.ProgressStorage):
    """Nothing is kept of which handlers have run."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        """Return nothing."""

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Write nothing."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Write nothing."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Write nothing."""

    def clear(self, *, essence: Any) -> Any:
        """Return `essence` as it is: there is nothing of kopf's in it."""
        return essence
