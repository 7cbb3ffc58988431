"""Whether the process lives and may be given work.

A stuck event loop needs no check of its own: it answers no probe. What can die while the loop goes on (the renewal of
the lease, the sweep, a watch) has to give a sign of life now and then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Health:
    """Signs of life, each with the age at which it counts as death, and readiness."""

    clock: Callable[[], float]
    ready: bool = False
    _beats: dict[str, tuple[float, float]] = field(default_factory=dict)
    _faults: dict[str, str] = field(default_factory=dict)

    def beat(self, name: str, *, seconds: float) -> None:
        """Note that `name` lives; without another sign within `seconds` it counts as dead."""
        self._beats[name] = (self.clock(), seconds)

    def fault(self, name: str, message: str | None) -> None:
        """Note that `name` is broken, or with None that it is well again."""
        if message is None:
            self._faults.pop(name, None)
        else:
            self._faults[name] = message

    def complaints(self) -> list[str]:
        """Return what is wrong; nothing where all is well."""
        now = self.clock()
        silent = [
            f"{name}: no sign of life for {now - at:.0f} s"
            for name, (at, seconds) in self._beats.items()
            if now - at > seconds
        ]
        return silent + [f"{name}: {message}" for name, message in self._faults.items()]
