"""Objects whose attributes are settings: one that means nothing here is refused where it is set."""

from __future__ import annotations

from typing import Any, ClassVar

from trainyard.errors import ConfigError


class Settings:
    """Settings by name; `known` has those that there are, and `what` is said of the others."""

    what: ClassVar[str] = "the settings"
    known: ClassVar[frozenset[str]] = frozenset()

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.known:
            raise ConfigError(
                f"{self.what} have no {name} in Trainyard, only {', '.join(sorted(self.known))}: leave it out"
            )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={getattr(self, name)!r}" for name in sorted(self.known))
        return f"{type(self).__name__}({said})"
