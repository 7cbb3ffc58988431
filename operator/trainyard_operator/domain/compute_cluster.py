"""Planning a ComputeCluster: its nodes' provider, its queue, and the truth about both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from trainyard_operator.api.compute_cluster import DeletionPolicy
from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.names import COMPUTE_CLUSTER, FINALIZER, JOB, NODE_POOL
from trainyard_operator.api.reasons import ComputeClusterCondition as Type
from trainyard_operator.api.reasons import ComputeClusterReason as Reason
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.domain.admission import back_off, capacity_of
from trainyard_operator.domain.autoscaled import limits_words, shortages_of_groups
from trainyard_operator.domain.cluster_machines import give_back, overdue, told_of, until_overdue
from trainyard_operator.domain.cluster_nodes import NodeFacts, claim_facts, node_facts
from trainyard_operator.domain.cluster_status import Shortage, Supply, build_status, run_label
from trainyard_operator.domain.conditions import Condition, merge
from trainyard_operator.domain.job import PodSettings
from trainyard_operator.domain.keepers import keepers
from trainyard_operator.domain.kueue import is_kueues_job
from trainyard_operator.domain.plan import Deletion, Event, Patch, Plan
from trainyard_operator.domain.queueing import Entry, Queue, admissions, next_look
from trainyard_operator.providers.autoscaler import AutoscalerSeen
from trainyard_operator.providers.base import Cluster, Provider, Surroundings, Trouble
from trainyard_operator.providers.choice import provider_of, read_cluster
from trainyard_operator.providers.karpenter import is_made_for

JsonObject = dict[str, Any]

# What only says more about the same state is written at most this often.
STATUS_SECONDS = 2.0
# How often a provider is asked for its words while a run waits for a node.
SHORTAGE_SECONDS = 5.0
# A slot that was given away and not taken is given away again, and nobody tells of that.
QUEUE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Unplaced:
    """A run that was let in and has no node: its Job, and since when it waits for one."""

    entry: Entry
    job: Mapping[str, Any]
    since: datetime


@dataclass(frozen=True, kw_only=True)
class ClusterView:
    """The surroundings of a ComputeCluster at one moment."""

    catalogue: Catalogue = field(default_factory=Catalogue)
    nodes: Sequence[Mapping[str, Any]] = ()  # of the whole Kubernetes cluster
    runs_on: Mapping[str, Sequence[str]] = field(default_factory=dict)  # names of active runs by node
    queue: Queue = field(default_factory=Queue)
    unplaced: Sequence[Unplaced] = ()
    surroundings: Surroundings = field(default_factory=Surroundings)
    shortages: Sequence[Shortage] = ()
    keeper: Mapping[str, Any] | None = None  # the Deployment of the least number of nodes
    pods: PodSettings | None = None
    last_write: datetime | None = None


def plan_compute_cluster(parent: Mapping[str, Any], view: ClusterView, now: datetime) -> Plan:
    """Return the next step of a cluster: its pool, the runs to let in, and what is to be said of it."""
    deleting = bool(parent["metadata"].get("deletionTimestamp"))
    try:
        cluster = read_cluster(parent, view.catalogue)
    except SpecError as error:
        return _abandon(parent, view) if deleting else _invalid(parent, error, now)
    provider = provider_of(cluster.spec)
    if deleting:
        return _delete(parent, cluster, provider, view, now)
    change = provider.plan(cluster, _with_demand(view, now))
    if change.blind:
        return Plan(requeue_after=change.look_again)
    trouble = provider.observe(cluster, view.surroundings)
    held = FINALIZER in (parent["metadata"].get("finalizers") or ())
    patches = []
    if provider.capabilities.scales and not held:
        # Before the pool: what is made must be found again when the cluster goes.
        patches.append(_finalizers(parent, add=True))
    if change.patch is not None and view.surroundings.pool is not None:
        patches.append(_patch_pool(view.surroundings.pool, change.patch))
    keeping = _keep(parent, cluster, provider, view)
    if isinstance(keeping, Patch):
        patches.append(keeping)
    late = [unplaced for unplaced in _own(view) if _is_late(unplaced, cluster, now)]
    patches += [_suspend(unplaced, now) for unplaced in late]
    # By what is known now: nobody looks again because of a status that this very plan is about to write.
    closed = cluster.spec.paused or trouble is not None
    chosen = () if closed else admissions(view.queue, capacity_of(cluster), now=now)
    again = QUEUE_SECONDS if view.queue.waiting and not closed else None
    patches += [_let_in(entry) for entry in chosen]
    lost = _overdue(cluster, view, now)
    said, told = told_of(lost, seconds=cluster.spec.provisioning_seconds, old=parent.get("status") or {}, now=now)
    waiting = [unplaced.since for unplaced in view.unplaced]
    said += shortages_of_groups(view.surroundings.autoscaler, waiting=waiting, now=now)
    status = _status(parent, cluster, provider, replace(view, shortages=(*view.shortages, *said)), trouble, now)
    plan = _written(parent, view, status, now, told=told)
    return Plan(
        delete=give_back(lost),
        create=tuple(child for child in (change.create, keeping) if isinstance(child, dict)),
        call=change.call,
        patch=tuple(patches),
        admitted=tuple(chosen),
        status=plan.status,
        events=plan.events,
        requeue_after=_look_again(cluster, view, (plan.requeue_after, change.look_again, again), now),
    )


def _with_demand(view: ClusterView, now: datetime) -> Surroundings:
    waited = max(((now - unplaced.since).total_seconds() for unplaced in view.unplaced), default=0.0)
    return replace(view.surroundings, waited_seconds=waited, busy=bool(view.queue.admitted))


def _overdue(cluster: Cluster, view: ClusterView, now: datetime) -> list[Mapping[str, Any]]:
    around = view.surroundings
    if around.pool is None or not is_made_for(around.pool, namespace=cluster.namespace, name=cluster.name):
        return []
    return overdue(around.claims, nodes=view.nodes, seconds=cluster.spec.provisioning_seconds, now=now)


def _keep(
    parent: Mapping[str, Any], cluster: Cluster, provider: Provider, view: ClusterView
) -> JsonObject | Patch | None:
    if view.pods is None or not provider.capabilities.scales:
        return None
    where = provider.placement(cluster)
    return keepers(parent=parent, cluster=cluster, placement=where, found=view.keeper, settings=view.pods)


def _look_again(cluster: Cluster, view: ClusterView, others: Sequence[float | None], now: datetime) -> float | None:
    deadlines = [
        max(0.1, (u.since + timedelta(seconds=cluster.spec.provisioning_seconds) - now).total_seconds())
        for u in _own(view)
    ]
    claims, seconds = view.surroundings.claims, cluster.spec.provisioning_seconds
    machine = until_overdue(claims, nodes=view.nodes, seconds=seconds, now=now)
    wishes = [*others, next_look(view.queue, now=now), *deadlines, machine]
    if view.unplaced:
        wishes.append(SHORTAGE_SECONDS)
    return _earliest(*wishes)


def _earliest(*wishes: float | None) -> float | None:
    return min((wish for wish in wishes if wish is not None), default=None)


def _own(view: ClusterView) -> list[Unplaced]:
    """Return who goes back to the cluster's own queue where no node comes; what Kueue lets in it takes back itself."""
    return [unplaced for unplaced in view.unplaced if not is_kueues_job(unplaced.job)]


def _is_late(unplaced: Unplaced, cluster: Cluster, now: datetime) -> bool:
    return now - unplaced.since >= timedelta(seconds=cluster.spec.provisioning_seconds)


def _let_in(entry: Entry) -> Patch:
    return Patch(kind=JOB, namespace=entry.namespace, name=entry.job_name, body={"spec": {"suspend": False}})


def _suspend(unplaced: Unplaced, now: datetime) -> Patch:
    entry = unplaced.entry
    body = back_off(unplaced.job, now=now)
    return Patch(kind=JOB, namespace=entry.namespace, name=entry.job_name, body=body)


def _patch_pool(pool: Mapping[str, Any], body: JsonObject) -> Patch:
    return Patch(kind=NODE_POOL, namespace="", name=pool["metadata"]["name"], body=body)


def _finalizers(parent: Mapping[str, Any], *, add: bool) -> Patch:
    meta = parent["metadata"]
    others = [name for name in meta.get("finalizers") or () if name != FINALIZER]
    # Lists are replaced as a whole by a merge patch: the version keeps somebody else's finalizer from being lost.
    body = {
        "metadata": {"finalizers": [*others, *([FINALIZER] if add else [])], "resourceVersion": meta["resourceVersion"]}
    }
    return Patch(kind=COMPUTE_CLUSTER, namespace=meta["namespace"], name=meta["name"], body=body)


def _abandon(parent: Mapping[str, Any], view: ClusterView) -> Plan:
    """Plan the end of a cluster whose spec nobody understands any more, such as one whose size left the catalogue."""
    pool, meta = view.surroundings.pool, parent["metadata"]
    spec = parent["spec"] if isinstance(parent["spec"], Mapping) else {}
    if spec.get("deletionPolicy") == DeletionPolicy.RETAIN:
        return _release(parent)
    if pool is not None and is_made_for(pool, namespace=meta["namespace"], name=meta["name"]):
        return Plan(delete=() if pool["metadata"].get("deletionTimestamp") else (_delete_pool(pool),))
    return Plan() if view.surroundings.claims else _release(parent)


def _release(parent: Mapping[str, Any]) -> Plan:
    if FINALIZER not in (parent["metadata"].get("finalizers") or ()):
        return Plan()
    return Plan(patch=(_finalizers(parent, add=False),))


def _delete(parent: Mapping[str, Any], cluster: Cluster, provider: Provider, view: ClusterView, now: datetime) -> Plan:
    """Plan the end of a cluster: its runs first, then its pool, then itself."""
    if FINALIZER not in (parent["metadata"].get("finalizers") or ()):
        return Plan()
    runs = list(view.queue.admitted.values())
    if runs:
        names = ", ".join(sorted(run_label(e.namespace, e.name, own=cluster.namespace) for e in runs)[:5])
        hint = "" if cluster.spec.cancel_runs else "; set spec.cancelRunsOnDelete to cancel them"
        words = f"{len(runs)} run(s) are still going, among them {names}: the cluster goes when they have ended{hint}"
        status = _status(parent, cluster, provider, view, None, now, deleting=(Reason.WAITING_FOR_RUNS, words))
        return _written(parent, view, status, now)
    if cluster.spec.deletion_policy == DeletionPolicy.RETAIN or not provider.capabilities.scales:
        return _release(parent)
    left = [node for node in view.nodes if provider.belongs(cluster, node)]
    change = provider.dismantle(cluster, view.surroundings)
    if change.gone and not left:
        return _release(parent)
    words = f"{len(left)} node(s) of the cluster are being removed" + (change.words and f"; {change.words}")
    status = _status(parent, cluster, provider, view, None, now, deleting=(Reason.WAITING_FOR_NODES, words))
    plan = _written(parent, view, status, now)
    return Plan(
        delete=(_delete_pool(change.delete),) if change.delete is not None else (),
        call=change.call,
        status=plan.status,
        events=plan.events,
        requeue_after=_earliest(plan.requeue_after, change.look_again),
    )


def _delete_pool(pool: Mapping[str, Any]) -> Deletion:
    return Deletion(kind=NODE_POOL, namespace="", name=pool["metadata"]["name"], uid=pool["metadata"]["uid"])


def _status(  # noqa: PLR0913, PLR0917 - all that a status speaks of
    parent: Mapping[str, Any],
    cluster: Cluster,
    provider: Provider,
    view: ClusterView,
    trouble: Trouble | None,
    now: datetime,
    *,
    deleting: tuple[Reason, str] | None = None,
) -> JsonObject:
    nodes = [node for node in view.nodes if provider.belongs(cluster, node)]
    facts = [node_facts(node, runs=view.runs_on.get(node["metadata"]["name"], ())) for node in nodes]
    facts += claim_facts(view.surroundings.claims, nodes=nodes)
    comes = provider.capabilities.scales or _grows(view)
    conditions = [_ready(facts, trouble, comes=comes)] if deleting is None else [_going(Type.READY, False, deleting)]
    conditions.append(_managed(cluster, provider, view.surroundings.autoscaler))
    stuck = trouble is not None and trouble.reason != Reason.CREATING_POOL
    if stuck and trouble is not None:
        conditions.append(_condition(Type.STALLED, True, trouble.reason, trouble.message))
    if deleting is not None:
        conditions.append(_going(Type.DELETING, True, deleting))
    creating = trouble is not None and trouble.reason == Reason.CREATING_POOL
    return build_status(
        old=parent.get("status") or {},
        supply=Supply(
            nodes=facts,
            queue=view.queue,
            capacity=capacity_of(cluster),
            scales=provider.capabilities.scales,
            times_idle=provider.capabilities.times_idle,
            idle_seconds=cluster.spec.idle_seconds,
            min_nodes=cluster.spec.min_nodes,
            namespace=cluster.namespace,
            shortages=view.shortages,
            target=_target_elsewhere(view),
        ),
        conditions=conditions,
        state="Deleting" if deleting else "Failed" if stuck else "Creating" if creating else "Succeeded",
        generation=parent["metadata"]["generation"],
        now=now,
    )


def _grows(view: ClusterView) -> bool:
    """Return whether another autoscaler brings the first node."""
    return view.surroundings.autoscaler is not None and view.surroundings.autoscaler.most > 0


def _target_elsewhere(view: ClusterView) -> int | None:
    seen = view.surroundings.autoscaler
    return seen.target if seen is not None and seen.groups else None


def _ready(facts: Sequence[NodeFacts], trouble: Trouble | None, *, comes: bool) -> Condition:
    usable = sum(node.state in {"idle", "running"} for node in facts)
    if trouble is not None:
        return _condition(Type.READY, False, trouble.reason, trouble.message)
    if usable:
        return _condition(Type.READY, True, Reason.NODES_READY, "the cluster's nodes can take runs")
    if comes:
        return _condition(Type.READY, True, Reason.SCALES_FROM_ZERO, "no node now; the first run brings one")
    if not facts:
        words = "no node has the labels of spec.provider.existing.nodeSelector: label nodes, or mend the selector"
        return _condition(Type.READY, False, Reason.NO_NODES, words)
    words = f"none of the {len(facts)} node(s) can take runs now"
    return _condition(Type.READY, False, Reason.NODES_NOT_READY, words)


def _managed(cluster: Cluster, provider: Provider, seen: AutoscalerSeen | None) -> Condition:
    spec = cluster.spec
    if provider.capabilities.scales:
        after = f"after {spec.idle_seconds} s without a run" if provider.capabilities.times_idle else "when it is idle"
        words = f"from {spec.min_nodes} to {spec.max_nodes} nodes, each removed {after}"
        return _condition(Type.MANAGED, True, Reason.MANAGED, words)
    limit = "any number of runs" if spec.max_nodes is None else f"{spec.max_nodes * spec.jobs_per_node} runs at once"
    who = "the nodes are added and removed by somebody else" if seen is None else seen.words or limits_words(spec, seen)
    reason = Reason.AUTOSCALER_UNKNOWN if seen is not None and seen.words else Reason.MANAGED_ELSEWHERE
    return _condition(Type.MANAGED, False, reason, f"{who}; the cluster lets in {limit}")


def _condition(kind: Type, status: bool, reason: Reason, message: str) -> Condition:  # noqa: FBT001 - its third word
    return Condition(type=kind.value, status=status, reason=reason.value, message=message)


def _going(kind: Type, status: bool, deleting: tuple[Reason, str]) -> Condition:  # noqa: FBT001 - as above
    return _condition(kind, status, *deleting)


def _invalid(parent: Mapping[str, Any], error: SpecError, now: datetime) -> Plan:
    old: Mapping[str, Any] = parent.get("status") or {}
    generation = parent["metadata"]["generation"]
    wished = [
        _condition(kind, on, Reason.INVALID_SPEC, str(error))
        for kind, on in ((Type.READY, False), (Type.STALLED, True))
    ]
    status = {
        "observedGeneration": generation,
        "provisioningState": "Failed",
        "conditions": merge(old=old.get("conditions") or [], wished=wished, generation=generation, now=now),
    }
    return Plan() if status == old else Plan(status=status, events=_story(old, status))


def _written(
    parent: Mapping[str, Any], view: ClusterView, status: JsonObject, now: datetime, *, told: tuple[Event, ...] = ()
) -> Plan:
    """Return the plan that writes `status`: now, or a moment later where it only says more; `told` does not wait."""
    old: Mapping[str, Any] = parent.get("status") or {}
    if status == old:
        return Plan()
    spent = (now - view.last_write).total_seconds() if view.last_write else STATUS_SECONDS
    if not told and _told(old) == _told(status) and spent < STATUS_SECONDS:
        return Plan(requeue_after=STATUS_SECONDS - spent)
    return Plan(status=status, events=(*_story(old, status), *told))


def _told(status: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [(c["type"], c["status"], c["reason"]) for c in status.get("conditions") or ()]


def _story(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Event, ...]:
    """Return an Event for each condition of interest whose reason is new."""
    before = set(_told(old))
    events: list[Event] = []
    for condition in new["conditions"]:
        kind, status, reason = condition["type"], condition["status"], condition["reason"]
        if (
            (kind, status, reason) in before
            or kind not in {Type.READY, Type.DELETING}
            or reason == Reason.CREATING_POOL
        ):
            continue
        if any(event.reason == reason for event in events):
            continue
        good = (
            status == "True" or kind == Type.DELETING or reason in {Reason.WAITING_FOR_RUNS, Reason.WAITING_FOR_NODES}
        )
        events.append(Event(type="Normal" if good else "Warning", reason=reason, message=condition["message"]))
    return tuple(events)
