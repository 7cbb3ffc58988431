"""Clusters whose nodes Cluster Autoscaler brings: what it decides, said where the cluster's own settings would."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from trainyard_operator.api.compute_cluster import ComputeClusterSpec
from trainyard_operator.api.reasons import TrainingJobReason
from trainyard_operator.domain.cluster_status import Shortage
from trainyard_operator.providers.autoscaler import AutoscalerSeen, named, short_name

# An autoscaler needs a round to see that a pod waits; before that its words are about earlier ones.
PATIENCE_SECONDS = 5


def limits_words(spec: ComputeClusterSpec, seen: AutoscalerSeen) -> str:
    """Return who decides how many nodes there are, and which of the cluster's own settings that leaves unmet."""
    limits = f"keeps {named(seen.groups)} at {seen.least} to {seen.most} nodes"
    words = [f"Cluster Autoscaler {limits}, and removes idle ones by its own settings"]
    if spec.max_nodes is not None and spec.max_nodes > seen.most:
        words.append(
            f"spec.scale.maxNodes {spec.max_nodes} cannot be reached: lower it, or raise the limit of the node group"
        )
    if seen.least:
        words.append(f"{seen.least} node(s) stay, and cost money, when no run needs them")
    words += [f"it calls {short_name(group)} unhealthy, and adds nothing" for group in seen.groups if group.unhealthy]
    return "; ".join(words)


def shortages_of_groups(
    seen: AutoscalerSeen | None, *, waiting: Sequence[datetime], now: datetime
) -> tuple[Shortage, ...]:
    """Return why runs that have waited since these times get no node: no group can grow, and some back off.

    It is said to hold when the last of them had waited for a moment: a time that stays the same costs no writes.
    """
    patience = timedelta(seconds=PATIENCE_SECONDS)
    patient = [since + patience for since in waiting if now - since >= patience]
    if seen is None or not patient or any(group.can_grow for group in seen.groups):
        return ()
    code = TrainingJobReason.INSUFFICIENT_CAPACITY.value
    found = []
    for group in seen.groups:
        if group.backs_off:
            why = f": {group.error}" if group.error else ", and does not say why"
            message = f"Cluster Autoscaler backs off from the node group {short_name(group)}{why}"
            first = group.since or min(patient)
            found.append(Shortage(code=code, message=message, first=first, last=max(first, *patient)))
    return tuple(found)
