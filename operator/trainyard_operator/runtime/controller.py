"""What a kind brings with it: how to see its object's surroundings, and how to plan."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from trainyard_operator.api.names import Kind
from trainyard_operator.domain.plan import JsonObject, Plan


class Controller(Protocol):
    """One per kind. `observe` gathers, `plan` decides; neither writes."""

    @property
    def kind(self) -> Kind:
        """The kind whose objects this controller plans."""
        ...

    async def observe(self, parent: JsonObject) -> Any:
        """Return all that `plan` needs to know beside the object: from the store, the object store, a ConfigMap."""
        ...

    def plan(self, parent: JsonObject, view: Any, now: datetime) -> Plan:
        """Return what has to be done, as a pure function of its arguments."""
        ...
