"""The status of a ComputeCluster: counts, times and words, written when they change and not more often than needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from trainyard_operator.domain.cluster_nodes import STATES, NodeFacts
from trainyard_operator.domain.conditions import Condition, merge, parse_timestamp, shorten, timestamp
from trainyard_operator.domain.queueing import Capacity, Queue

JsonObject = dict[str, Any]

MAX_NODES_SHOWN = 100
MAX_ERRORS = 8
ERROR_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """What a provider said of a machine, or of a pod, that it could not serve."""

    code: str
    message: str
    first: datetime
    last: datetime
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Supply:
    """What a cluster has, and what it is asked for."""

    nodes: Sequence[NodeFacts]
    queue: Queue
    capacity: Capacity
    scales: bool
    times_idle: bool
    idle_seconds: int
    min_nodes: int
    namespace: str
    shortages: Sequence[Shortage] = ()
    target: int | None = None  # as somebody else says who brings the nodes


def run_label(namespace: str, name: str, *, own: str) -> str:
    """Return what a run is called in the status of a cluster of namespace `own`."""
    return name if namespace == own else f"{namespace}/{name}"


def build_status(  # noqa: PLR0913 - a status says that much
    *,
    old: Mapping[str, Any],
    supply: Supply,
    conditions: Sequence[Condition],
    state: str,
    generation: int,
    now: datetime,
) -> JsonObject:
    """Return the whole new status; the same one where nothing has changed."""
    counts = Counter(node.state for node in supply.nodes)
    current = sum(node.exists for node in supply.nodes)
    target = _target(supply, counts)
    status: JsonObject = {
        "observedGeneration": generation,
        "provisioningState": state,
        "allocationState": "Steady" if target == counts["idle"] + counts["running"] == current else "Resizing",
        "currentNodeCount": current,
        "targetNodeCount": target,
        "nodesSummary": f"{current}/{target if supply.capacity.nodes is None else supply.capacity.nodes}",
        "nodeStateCounts": {name: counts[name] for name in STATES},
        "queue": _queue(supply.queue),
        "conditions": merge(old=old.get("conditions") or [], wished=conditions, generation=generation, now=now),
    }
    slots = supply.capacity.slots
    if slots is not None:
        status["slots"] = {"total": slots, "used": supply.queue.taken(supply.capacity)}
    if supply.nodes:
        status["nodes"] = _nodes(supply.nodes, old.get("nodes") or (), now=now)
    errors = _errors(supply.shortages, old.get("errors") or (), now=now)
    if errors:
        status["errors"] = errors
    status |= _idle(supply, old, now=now)
    if {**status, "usage": old.get("usage")} == {"usage": None, **old}:
        return dict(old)
    status["usage"] = _usage(old, supply, now=now)
    return status


def _target(supply: Supply, counts: Mapping[str, int]) -> int:
    """Return how many nodes the cluster is on its way to."""
    staying = sum(counts[name] for name in ("idle", "running", "preparing", "unusable"))
    limit = supply.capacity.nodes
    if not supply.scales:
        return staying if supply.target is None else supply.target
    for_runs = -(-supply.queue.taken(supply.capacity) // supply.capacity.jobs_per_node)
    needed = max(supply.min_nodes, for_runs)
    return max(staying, needed) if limit is None else max(staying, min(limit, needed))


def _queue(queue: Queue) -> JsonObject:
    found: JsonObject = {"pending": len(queue.waiting), "running": len(queue.admitted)}
    if queue.waiting:
        found["oldestPendingTime"] = min(entry.created for entry in queue.waiting)
    return found


def _nodes(nodes: Sequence[NodeFacts], old: Sequence[Mapping[str, Any]], *, now: datetime) -> list[JsonObject]:
    before = {entry["name"]: entry for entry in old}
    found = []
    for node in sorted(nodes, key=lambda n: (n.created, n.name))[:MAX_NODES_SHOWN]:
        known = before.get(node.name, {})
        since = known["since"] if known.get("state") == node.state else timestamp(now)
        entry: JsonObject = {"name": node.name, "state": node.state, "since": since}
        if node.runs:
            entry["runs"] = list(node.runs[:MAX_NODES_SHOWN])
        found.append(entry)
    return found


def _idle(supply: Supply, old: Mapping[str, Any], *, now: datetime) -> JsonObject:
    if not supply.nodes or supply.queue.admitted:
        return {}
    since = old.get("idleSince") or timestamp(now)
    found: JsonObject = {"idleSince": since}
    if supply.times_idle and len(supply.nodes) > supply.min_nodes:
        found["scaleDownDue"] = timestamp(parse_timestamp(since) + timedelta(seconds=supply.idle_seconds))
    return found


def _errors(shortages: Sequence[Shortage], old: Sequence[Mapping[str, Any]], *, now: datetime) -> list[JsonObject]:
    """Return the errors of the last hour, each sentence once, newest last."""
    found: dict[tuple[str, str], JsonObject] = {}
    for entry in old:
        if now - parse_timestamp(entry["lastTime"]) < timedelta(seconds=ERROR_SECONDS):
            found[entry["code"], entry["message"]] = dict(entry)
    for said in shortages:
        message = shorten(said.message, 512)
        found[said.code, message] = {
            "code": said.code,
            "message": message,
            "firstTime": timestamp(said.first),
            "lastTime": timestamp(said.last),
            "count": said.count,
        }
    return sorted(found.values(), key=lambda entry: (entry["lastTime"], entry["message"]))[-MAX_ERRORS:]


def _usage(old: Mapping[str, Any], supply: Supply, *, now: datetime) -> JsonObject:
    """Return the sums since the cluster was made: what was there until now, for as long as it was there.

    The counts of the old status held from the time of its writing on, since every change of them is written.
    """
    usage: Mapping[str, Any] = old.get("usage") or {}
    counts: Mapping[str, int] = old.get("nodeStateCounts") or {}
    since = usage.get("asOf")
    seconds = max(0, int((now - parse_timestamp(since)).total_seconds())) if since else 0
    busy = {node.name for node in supply.nodes if node.state == "preempted"}
    admitted = {
        run_label(entry.namespace, entry.name, own=supply.namespace) for entry in supply.queue.admitted.values()
    }
    present = {node.name for node in supply.nodes}
    lost = [
        entry
        for entry in old.get("nodes") or ()
        if entry["state"] == "running"
        and (entry["name"] in busy or (entry["name"] not in present and admitted & set(entry.get("runs") or ())))
    ]
    return {
        "nodeSeconds": usage.get("nodeSeconds", 0) + seconds * sum(counts.values()),
        "idleNodeSeconds": usage.get("idleNodeSeconds", 0) + seconds * counts.get("idle", 0),
        "preemptions": usage.get("preemptions", 0) + len(lost),
        "asOf": timestamp(now),
    }
