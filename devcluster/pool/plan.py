"""What the agent has to do next, as a pure function of what there is."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from devcluster.pool import joining
from devcluster.pool.options import ORDER, SINCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from devcluster.pool.options import Options

PROVIDER = "kwok://"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"
HOSTNAME = "kubernetes.io/hostname"
RECLAIM, DIE = "reclaim", "die"
# A claim that is deleted while it is being launched leaves a Node behind that nobody but the provider knows of.
ORPHAN_SECONDS = 10


@dataclass(frozen=True)
class PoolNode:
    """A Node object that Karpenter's provider made."""

    name: str
    uid: str
    provider_id: str
    size: str
    created: float
    hostname: str = ""
    ready: bool = False
    deleting: bool = False
    order: str = ""
    since: float | None = None
    next_step: list[joining.Operation] = field(default_factory=list)


@dataclass
class Plan:
    """What to do, in this order; and when to look again if nothing happens before."""

    join: list[PoolNode] = field(default_factory=list)
    power_off: list[PoolNode] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    begin: list[PoolNode] = field(default_factory=list)
    drain: list[PoolNode] = field(default_factory=list)
    release: list[PoolNode] = field(default_factory=list)
    start: list[PoolNode] = field(default_factory=list)
    due: float | None = None

    def at(self, when: float) -> None:
        """Look again then, if not earlier."""
        self.due = when if self.due is None else min(self.due, when)


def pool_nodes(items: Iterable[Mapping[str, Any]]) -> list[PoolNode]:
    """Pick the provider's Nodes from a list of Nodes, oldest first."""
    found = [_pool_node(item) for item in items if item.get("spec", {}).get("providerID", "").startswith(PROVIDER)]
    return sorted(found, key=lambda node: (node.created, node.name))


def claimed(items: Iterable[Mapping[str, Any]]) -> set[str]:
    """Tell which machines NodeClaims are for, by their provider ids."""
    return {item.get("status", {}).get("providerID", "") for item in items}


def plan(
    *, nodes: list[PoolNode], claims: set[str], machines: Mapping[str, bool], options: Options, now: float
) -> Plan:
    """Decide.

    Parameters
    ----------
    nodes
        The Node objects there are.
    claims
        The provider ids that NodeClaims are for.
    machines
        The machines there are, by the uid of their Node, and whether they run.
    options
        What a test wants.
    now
        The time, as seconds since the epoch.
    """
    result = Plan()
    result.remove.extend(uid for uid in machines if uid not in {node.uid for node in nodes})
    result.join.extend(node for node in nodes if node.next_step)
    for node in nodes:
        if node.provider_id not in claims and not node.deleting:
            orphaned = node.created + ORPHAN_SECONDS
            if now >= orphaned:
                result.release.append(node)
                continue
            result.at(orphaned)
        if node.order in {RECLAIM, DIE}:
            _obey(result, node, options=options, now=now, running=machines.get(node.uid, False))
        else:
            _boot(result, node, options=options, now=now, running=machines.get(node.uid, False))
    return result


def _boot(result: Plan, node: PoolNode, *, options: Options, now: float, running: bool) -> None:
    if running or node.deleting or options.boot_fails:
        return
    due = node.created + options.boot_delay
    if now >= due:
        result.start.append(node)
    else:
        result.at(due)


def _obey(result: Plan, node: PoolNode, *, options: Options, now: float, running: bool) -> None:
    # Reclaimed machines are cut off some time after the notice, dying ones at once; from there on it is the same.
    since = now if node.since is None else node.since
    drained = since + options.reclaim_notice
    cut = drained + options.reclaim_grace if node.order == RECLAIM else since
    if node.since is None:
        result.begin.append(node)
    if now < cut:
        result.at(cut)
        if now < drained:
            result.at(drained)
        elif not node.deleting:
            result.drain.append(node)
        if not running:
            _boot(result, node, options=options, now=now, running=running)
        return
    if running:
        result.power_off.append(node)
    released = cut + (options.removal if node.order == DIE else 0)
    if now < released:
        result.at(released)
    elif node.ready or not node.deleting:
        result.release.append(node)


def _pool_node(item: Mapping[str, Any]) -> PoolNode:
    metadata = item["metadata"]
    annotations = metadata.get("annotations", {})
    conditions = item.get("status", {}).get("conditions", [])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return PoolNode(
        name=metadata["name"],
        uid=metadata["uid"],
        provider_id=item["spec"]["providerID"],
        size=metadata.get("labels", {}).get(INSTANCE_TYPE, ""),
        hostname=metadata.get("labels", {}).get(HOSTNAME, metadata["name"]),
        created=dt.datetime.fromisoformat(metadata["creationTimestamp"]).timestamp(),
        ready=ready,
        deleting="deletionTimestamp" in metadata,
        order=annotations.get(ORDER, ""),
        since=_number(annotations.get(SINCE)),
        next_step=joining.next_step(item, ready=ready),
    )


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
