"""What Cluster Autoscaler says of its node groups, in the ConfigMap that it keeps for people and programs.

Since its version 1.30 the ConfigMap holds YAML, written anew in each of its rounds of ten seconds or so. The types are
those of https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/clusterstate/api/types.go. Whoever may
create ComputeClusters chooses which ConfigMap is read, so one that is no such status is never told from one that is not
there, and nothing of its contents is repeated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from trainyard_operator.api.compute_cluster import AutoscalerSettings

JsonObject = dict[str, Any]

UPDATED_ANNOTATION = "cluster-autoscaler.kubernetes.io/last-updated"
STALE_SECONDS = 300
# With a thousand node groups it is half of that.
MAX_STATUS = 1 << 20
_MAX_GROUPS_NAMED = 8
_MAX_COUNT = 1_000_000
# As Go prints a time: 2026-09-15 04:05:52.354884346 +0000 UTC
_TIME = re.compile(r"^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)? ?([+-]\d{4}|Z)")


@dataclass(frozen=True, kw_only=True)
class ScaledGroup:
    """One node group: its limits, how many nodes it is to have, and why no more are asked for, where there is a why."""

    name: str
    least: int = 0
    most: int = 0
    target: int = 0
    unhealthy: bool = False
    backs_off: bool = False
    error: str = ""
    since: datetime | None = None  # since when it backs off

    @property
    def can_grow(self) -> bool:
        """Whether another node may be asked for."""
        return self.target < self.most and not self.backs_off


@dataclass(frozen=True, kw_only=True)
class AutoscalerStatus:
    """All that one ConfigMap says; `words` is why it says nothing."""

    updated: datetime | None = None
    groups: Mapping[str, ScaledGroup] = field(default_factory=dict)
    words: str = ""


@dataclass(frozen=True, kw_only=True)
class AutoscalerSeen:
    """What is known of the node groups of one cluster; `words` is why nothing is known."""

    groups: Sequence[ScaledGroup] = ()
    words: str = ""

    @property
    def least(self) -> int:
        """How few nodes the groups may have together."""
        return sum(group.least for group in self.groups)

    @property
    def most(self) -> int:
        """How many nodes the groups may have together."""
        return sum(group.most for group in self.groups)

    @property
    def target(self) -> int:
        """How many nodes the cloud is to have made."""
        return sum(group.target for group in self.groups)


def read_status(config_map: Mapping[str, Any], *, where: str) -> AutoscalerStatus:
    """Return what a ConfigMap says, whose name is `where`."""
    metadata = config_map.get("metadata") or {}
    updated = _time((metadata.get("annotations") or {}).get(UPDATED_ANNOTATION))
    text = (config_map.get("data") or {}).get("status")
    if updated is None or not isinstance(text, str) or len(text) > MAX_STATUS:
        return AutoscalerStatus(words=absent(where))
    if text.startswith("Cluster-autoscaler status at"):
        words = f"Cluster Autoscaler's status in the ConfigMap {where} is of a version before 1.30: upgrade it"
        return AutoscalerStatus(words=words)
    document = _load(text)
    listed = document.get("nodeGroups") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(listed, list | None):
        return AutoscalerStatus(words=f"Cluster Autoscaler's status in the ConfigMap {where} cannot be understood")
    if document.get("autoscalerStatus") != "Running":
        return AutoscalerStatus(words="Cluster Autoscaler is starting, and has not looked at its node groups yet")
    groups = [_group(item) for item in listed or () if isinstance(item, dict)]
    return AutoscalerStatus(updated=updated, groups={group.name: group for group in groups if group.name})


def absent(where: str) -> str:
    """Return the words for a ConfigMap that is not there, or that is no status."""
    return (
        f"there is no status of Cluster Autoscaler in the ConfigMap {where}: is it running, and does it "
        "write one? Name its ConfigMap in spec.provider.existing.clusterAutoscaler.statusConfigMap"
    )


def see_groups(settings: AutoscalerSettings, status: AutoscalerStatus, *, now: datetime) -> AutoscalerSeen:
    """Return what a status says of the node groups that a cluster names."""
    if status.updated is None:
        return AutoscalerSeen(words=status.words)
    if now - status.updated > timedelta(seconds=STALE_SECONDS):
        # The time that it was written at, not its age: a sentence that stays the same costs no writes.
        since = status.updated.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return AutoscalerSeen(words=f"Cluster Autoscaler has written no status since {since}: is it running?")
    found = {wanted: _find(wanted, status.groups) for wanted in settings.node_groups}
    missing = [wanted for wanted, group in found.items() if group is None]
    if missing:
        return AutoscalerSeen(
            words=f"Cluster Autoscaler knows no node group {', '.join(missing)}: mend "
            "spec.provider.existing.clusterAutoscaler.nodeGroups, or let it discover the group"
        )
    return AutoscalerSeen(groups=tuple({group.name: group for group in found.values() if group is not None}.values()))


def short_name(group: ScaledGroup) -> str:
    """Return the name that a person would call a group by; on Google Cloud it is the last part of an address."""
    return group.name.rpartition("/")[2] or group.name


def named(groups: Sequence[ScaledGroup]) -> str:
    """Return the groups as they are spoken of."""
    names = ", ".join(short_name(group) for group in groups[:_MAX_GROUPS_NAMED])
    return f"the node group {names}" if len(groups) == 1 else f"the node groups {names}"


def _find(wanted: str, groups: Mapping[str, ScaledGroup]) -> ScaledGroup | None:
    if wanted in groups:
        return groups[wanted]
    return next((group for name, group in groups.items() if name.endswith(f"/{wanted}")), None)


def _load(text: str) -> object:
    import yaml  # noqa: PLC0415 - who names no autoscaler pays nothing for it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(text, Loader=loader)  # noqa: S506 - both loaders are safe ones
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _group(item: JsonObject) -> ScaledGroup:
    health, scale_up = _object(item.get("health")), _object(item.get("scaleUp"))
    info = _object(scale_up.get("backoffInfo"))
    said = [str(info[key]) for key in ("errorCode", "errorMessage") if info.get(key)]
    name = item.get("name")
    return ScaledGroup(
        name=name if isinstance(name, str) else "",
        least=_count(health.get("minSize")),
        most=_count(health.get("maxSize")),
        target=_count(health.get("cloudProviderTarget")),
        unhealthy=health.get("status") == "Unhealthy",
        backs_off=scale_up.get("status") == "Backoff",
        error=" ".join(": ".join(said).split()),
        since=_moment(scale_up.get("lastTransitionTime")),
    )


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return min(value, _MAX_COUNT) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _moment(value: object) -> datetime | None:
    """Return a time of the document: text, or what YAML itself takes for a time."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return _time(value)


def _time(value: object) -> datetime | None:
    found = _TIME.match(value) if isinstance(value, str) else None
    try:
        return datetime.fromisoformat(f"{found[1]}T{found[2]}{found[3]}") if found else None
    except ValueError:
        return None
