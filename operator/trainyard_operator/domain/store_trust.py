"""How far the object store can be trusted with the rule that a manifest is written once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard_operator.api.reasons import RegisteredModelCondition as Type
from trainyard_operator.api.reasons import RegisteredModelReason as Reason
from trainyard_operator.domain.conditions import Condition, find

_WORDS = {
    Reason.CONDITIONAL_WRITES: "the object store refuses to write a manifest over another one",
    Reason.CONDITIONAL_WRITES_IGNORED: (
        "the object store ignores If-None-Match, so it would let a manifest be written over; numbers stay unique, "
        "since the cluster gives them. Use a store that knows conditional writes, or have the proxy before it pass the "
        "header on, and restart the operator"
    ),
    Reason.CONDITIONAL_WRITES_REFUSED: (
        "the object store refuses If-None-Match, and no version becomes Ready without it: use a store that knows "
        "conditional writes, and restart the operator"
    ),
}


@dataclass(frozen=True, kw_only=True)
class Trust:
    """What the probe of the object store found."""

    reason: Reason

    @property
    def good(self) -> bool:
        """Whether conditional writes do what they say."""
        return self.reason == Reason.CONDITIONAL_WRITES

    @property
    def message(self) -> str:
        """What that means, and what to do."""
        return _WORDS[self.reason]


def trust_conditions(old: Mapping[str, Any], trust: Trust | None) -> list[Condition]:
    """Return the condition that says how far the store is trusted; as it was where the store was not asked yet."""
    if trust is not None:
        return [
            Condition(
                type=Type.STORE_TRUSTED.value, status=trust.good, reason=trust.reason.value, message=trust.message
            )
        ]
    before = find(old, Type.STORE_TRUSTED)
    if before is None:
        return []
    return [
        Condition(
            type=Type.STORE_TRUSTED.value,
            status=before["status"] == "True",
            reason=before["reason"],
            message=before["message"],
        )
    ]
