"""The one task that verifies model versions: one after the other, so that it never takes more than its small share.

Reconciles only ask for it and find what came of it later. What it has learned may be lost: it is asked for again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from trainyard_operator.domain.model_verification import Findings
from trainyard_operator.runtime.inspections import Inspections, Wish
from trainyard_operator.runtime.queues import Key
from trainyard_operator.storage.errors import StoreError

# After so long, what was found is written down, and the next model has its turn.
SLICE_SECONDS = 30.0

log = logging.getLogger(__name__)


class Look(Protocol):
    """How one version is compared with its manifest."""

    async def __call__(
        self, *, namespace: str, model_name: str, version: int, manifest_sha256: str, thorough: bool
    ) -> str:
        """Return what is wrong with it, or the empty string."""


class Verifier:
    """Carries out inspections, a slice of time of each in turn."""

    def __init__(
        self,
        *,
        inspections: Inspections,
        look: Look,
        wake: Callable[[Key], None],
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inspections = inspections
        self._look = look
        self._wake = wake
        self._now = now
        self._clock = clock

    async def run(self) -> None:
        """Work until it is canceled."""
        while True:
            uid, wish = await self._inspections.next()
            found = await self._carry_out(uid, wish)
            if found is not None:
                self._inspections.settle(uid, found)
                self._wake(wish[0])

    async def _carry_out(self, uid: str, wish: Wish) -> Findings | None:
        """Return what was found in a slice of time, None where something else is wished for by now."""
        key, inspection = wish
        looked: dict[int, str] = {}
        trouble, begin = "", self._clock()
        for version, manifest_sha256 in inspection.versions:
            try:
                wrong = await self._look(
                    namespace=key.namespace,
                    model_name=inspection.model_name,
                    version=version,
                    manifest_sha256=manifest_sha256,
                    thorough=inspection.thorough,
                )
            except StoreError as error:
                trouble = str(error)
            except Exception as error:
                log.exception("verifying %s:%d of %s failed", inspection.model_name, version, key.namespace)
                trouble = f"{type(error).__name__} at version {version}: see the operator's log"
            if not self._inspections.is_wished(uid, wish):
                return None
            if trouble:
                break
            looked[version] = wrong
            if self._clock() - begin >= SLICE_SECONDS:
                break
        return Findings(
            sweep=inspection.sweep,
            after=inspection.after,
            looked=looked,
            complete=len(looked) == len(inspection.versions),
            at=self._now(),
            trouble=trouble,
        )
