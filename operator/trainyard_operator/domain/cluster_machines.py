"""Machines that were asked for and never came up: each holds a place among `maxNodes` that another one could have.

Karpenter gives up a machine of its own accord only if no node ever registers, and after a time of its own. Here the
cluster's time counts, from the machine's own beginning: so no machine is given back sooner after another, and runs that
found none wait longer each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from trainyard_operator.api.names import NODE_CLAIM
from trainyard_operator.api.reasons import ComputeClusterReason as Reason
from trainyard_operator.domain.cluster_status import Shortage
from trainyard_operator.domain.conditions import is_true, parse_timestamp
from trainyard_operator.domain.plan import Deletion, Event

JsonObject = dict[str, Any]

_NAMES_TOLD = 5


def overdue(
    claims: Sequence[Mapping[str, Any]], *, nodes: Sequence[Mapping[str, Any]], seconds: int, now: datetime
) -> list[Mapping[str, Any]]:
    """Return the NodeClaims whose machine has not come up in so many seconds."""
    return [claim for claim in _coming(claims, nodes) if _left(claim, seconds, now) <= 0]


def until_overdue(
    claims: Sequence[Mapping[str, Any]], *, nodes: Sequence[Mapping[str, Any]], seconds: int, now: datetime
) -> float | None:
    """Return the seconds until the next machine that has not come up will be overdue; None where there is none."""
    left = [_left(claim, seconds, now) for claim in _coming(claims, nodes)]
    return min((wait for wait in left if wait > 0), default=None)


def give_back(claims: Iterable[Mapping[str, Any]]) -> tuple[Deletion, ...]:
    """Return the deletions of these NodeClaims: Karpenter ends the machines, and makes others where any are needed."""
    return tuple(
        Deletion(kind=NODE_CLAIM, namespace="", name=claim["metadata"]["name"], uid=claim["metadata"]["uid"])
        for claim in claims
    )


def told_of(
    claims: Sequence[Mapping[str, Any]], *, seconds: int, old: Mapping[str, Any], now: datetime
) -> tuple[tuple[Shortage, ...], tuple[Event, ...]]:
    """Return the error and the Event that say that these machines are given back; `old` is the cluster's status."""
    if not claims:
        return (), ()
    # Without names, so that it is one sentence however many machines there are.
    words = f"a machine did not come up within spec.provisioningTimeoutSeconds, {seconds} s, and is given back"
    code = Reason.PROVISIONING_TIMEOUT.value
    known = next((e for e in old.get("errors") or () if (e["code"], e["message"]) == (code, words)), None)
    first = parse_timestamp(known["firstTime"]) if known else now
    count = len(claims) + (known["count"] if known else 0)
    names = ", ".join(sorted(claim["metadata"]["name"] for claim in claims)[:_NAMES_TOLD])
    message = f"{len(claims)} machine(s) did not come up within {seconds} s and are given back: {names}"
    return (
        (Shortage(code=code, message=words, first=first, last=now, count=count),),
        (Event(type="Warning", reason=code, message=message),),
    )


def _coming(claims: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the machines that are still to come up: a node that is ready may have a run, whatever its claim says."""
    ready = {node["metadata"]["name"] for node in nodes if is_true(node.get("status") or {}, "Ready")}
    return [
        claim
        for claim in claims
        if not claim["metadata"].get("deletionTimestamp")
        and claim["metadata"].get("creationTimestamp")
        and not is_true(claim.get("status") or {}, "Initialized")
        and (claim.get("status") or {}).get("nodeName") not in ready
    ]


def _left(claim: Mapping[str, Any], seconds: int, now: datetime) -> float:
    created = parse_timestamp(claim["metadata"]["creationTimestamp"])
    return (created + timedelta(seconds=seconds) - now).total_seconds()
