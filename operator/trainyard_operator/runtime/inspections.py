"""Which versions are to be verified, and what was found: between the reconciles of models and the verifier."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from trainyard_operator.domain.model_verification import Findings
from trainyard_operator.domain.plan import Inspection
from trainyard_operator.runtime.queues import Key

Wish = tuple[Key, Inspection]


@dataclass(kw_only=True)
class Inspections:
    """Wishes in the order in which they came, and the newest findings, both by the uid of their model."""

    findings: dict[str, Findings] = field(default_factory=dict)
    _wishes: dict[str, Wish] = field(default_factory=dict)
    _grown: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self, key: Key, uid: str, wish: Inspection) -> None:
        """Take note of a wish; one for the same part of the same sweep as the one there is changes nothing."""
        known = self._wishes.get(uid)
        if known is not None and (known[1].sweep, known[1].after) == (wish.sweep, wish.after):
            return
        self.findings.pop(uid, None)
        self._wishes[uid] = key, wish
        self._grown.set()

    async def next(self) -> tuple[str, Wish]:
        """Return the oldest wish, which stays until it is settled."""
        while not self._wishes:
            self._grown.clear()
            await self._grown.wait()
        return next(iter(self._wishes.items()))

    def is_wished(self, uid: str, wish: Wish) -> bool:
        """Return whether nothing else is wished for in the place of `wish` by now."""
        return self._wishes.get(uid) is wish

    def settle(self, uid: str, findings: Findings) -> None:
        """Keep what came of the wish for a model."""
        del self._wishes[uid]
        self.findings[uid] = findings
