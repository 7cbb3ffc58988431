"""The status of a TrainingJob: built anew from a progress report, compared with what is there, told once in Events."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from trainyard.contract import MetricValue, Progress
from trainyard_operator.api.reasons import EnvironmentState, Phase
from trainyard_operator.api.reasons import TrainingJobCondition as Type
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.domain.admission import ENDED, Gate
from trainyard_operator.domain.conditions import Condition, find, is_true, merge, parse_timestamp, shorten, timestamp
from trainyard_operator.domain.metrics import unchanged
from trainyard_operator.domain.plan import Event
from trainyard_operator.domain.retries import Tally
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.domain.status_size import fit

JsonObject = dict[str, Any]

MAX_PHASES = 16
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_HUGE = 1e12  # no percentage and no number of seconds; NaN is not below it either
# What only says more about the same state waits this long after the last write, so that a run costs few of them.
METRICS_SECONDS = 2  # the spacing of reports: more would only have the write tell an older one
WORDS_SECONDS = 10

# Places in a queue shift with every run that ends; the further behind, the later a run may read about it.
PLACE_SECONDS = 30  # for each ten places
NEAR = 3
NEAR_SECONDS = 3
# Reasons that a person should act on: written at once and told as a Warning.
_TROUBLE = frozenset(
    {
        Reason.SOURCE_NOT_FOUND,
        Reason.CLUSTER_NOT_FOUND,
        Reason.CLUSTER_NOT_READY,
        Reason.KUEUE_NOT_FOUND,
        Reason.EXCEEDS_CLUSTER_SIZE,
        Reason.INSUFFICIENT_CAPACITY,
        Reason.QUOTA_EXCEEDED,
        Reason.POD_FORBIDDEN,
        Reason.PROVISIONING_TIMEOUT,
        Reason.UNSCHEDULABLE,
        Reason.IMAGE_PULL_FAILED,
        Reason.CONTAINER_NOT_STARTING,
        Reason.RETRYING,
    }
)
_OF_ONE_ATTEMPT = frozenset({"podName", "nodeName", "outputs", "progress"})
_SLOW_CONDITIONS = frozenset({Type.OUTPUTS_SAVED, Type.MODEL_REGISTERED})


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a run stands: one phase, one reason, one sentence, and what is known beside them."""

    phase: Phase
    reason: Reason
    message: str
    attempt: int | None = None
    attempts: Sequence[JsonObject] = ()
    tally: Tally | None = None
    suspended: bool = False
    job_name: str | None = None
    pod_name: str | None = None
    node: str | None = None
    started: str | None = None
    image_digest: str | None = None
    image: str | None = None  # the same, with the repository that it can be pulled from
    source_sha256: str | None = None
    source_commit: str | None = None
    metrics: Mapping[str, MetricValue] = field(default_factory=dict)
    metric_summary: str | None = None
    progress: Progress | None = None
    outputs: JsonObject | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    environment: JsonObject | None = None  # of a run that asks for packages: hash, state and where its logs are
    logs_uri: str | None = None
    models: Sequence[JsonObject] = ()
    held: Sequence[JsonObject] = ()  # models that are not registered because of their `when`
    models_wished: bool = False
    failure: Failure | None = None
    gate: Gate | None = None  # what keeps a queued run from its nodes
    gatekeeper: str = ""  # who lets the run in, where anybody has to
    unregistered: Failure | None = None  # why a model of a completed run has no version (yet)


def build_status(*, parent: Mapping[str, Any], standing: Standing, now: datetime) -> JsonObject:
    """Return the whole new status of `parent`. What is known once stays known, also when its witness is gone."""
    old = _without_last_attempt(parent.get("status") or {}, standing.attempt)
    phase = standing.phase
    environment = _environment(standing, old.get("environment"))
    status: JsonObject = {
        "observedGeneration": parent["metadata"]["generation"],
        "phase": phase.value,
        "phases": _phases(old.get("phases") or [], phase=phase, now=now),
        "conditions": merge(
            old=old.get("conditions") or [],
            wished=_conditions(
                standing, saved=standing.outputs is not None or "outputs" in old, environment=environment or {}
            ),
            generation=parent["metadata"]["generation"],
            now=now,
        ),
    }
    tally = standing.tally or Tally()
    known = {
        "attempt": standing.attempt,
        "attempts": list(standing.attempts) or None,
        "failures": tally.failures or None,
        "disruptions": tally.disruptions or None,
        "jobName": standing.job_name,
        "podName": standing.pod_name,
        "nodeName": standing.node,
        "metrics": unchanged(old=old.get("metrics") or {}, new=standing.metrics) or None,
        "metricSummary": standing.metric_summary,
        "tags": dict(standing.tags) or None,
        "progress": _progress(standing.progress, old.get("progress"), now=now),
        "source": _source(standing),
        "environment": environment,
        "outputs": standing.outputs,
        "logs": {"uri": standing.logs_uri} if standing.logs_uri else None,
        "models": list(standing.models) or None,
        "failure": standing.failure.as_status() if standing.failure else None,
        "startTime": standing.started if "startTime" not in old else None,
        "completionTime": timestamp(now) if phase in ENDED and "completionTime" not in old else None,
    }
    for name, value in known.items():
        kept = old.get(name) if value is None else value
        if kept is not None:
            status[name] = kept
    queue = _queue(standing.gate, old.get("queue"), now=now)
    if queue:
        status["queue"] = queue
    if standing.held:
        status["heldModels"] = list(standing.held)
    if "completionTime" in status:
        begun = status.get("startTime") or parent["metadata"].get("creationTimestamp") or status["completionTime"]
        status["duration"] = _duration(parse_timestamp(status["completionTime"]) - parse_timestamp(begun))
    return fit(status)


def _without_last_attempt(old: Mapping[str, Any], attempt: int | None) -> Mapping[str, Any]:
    """Return a status without what it says of an attempt before this one."""
    if attempt is None or old.get("attempt") in {None, attempt}:
        return old
    return {name: value for name, value in old.items() if name not in _OF_ONE_ATTEMPT}


def write_delay(
    *, old: Mapping[str, Any], new: Mapping[str, Any], last_write: datetime | None, now: datetime
) -> float | None:
    """Return for how many seconds the write of `new` should wait; 0: write now, None: there is nothing to write."""
    if old == new:
        return None
    if last_write is None or _urgent(old) != _urgent(new):
        return 0.0
    patience = METRICS_SECONDS if old.get("metrics") != new.get("metrics") else WORDS_SECONDS
    if new.get("phase") == Phase.QUEUED and "queue" in new:
        position = new["queue"]["position"]
        patience = NEAR_SECONDS if position <= NEAR else PLACE_SECONDS * -(-position // 10)
    return max(0.0, patience - (now - last_write).total_seconds())


def story(*, old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Event, ...]:
    """Return the Events that a change of status is worth: each chapter of a run once.

    That the Job was made is no chapter: the status says it, and an Event would be every third write of a busy day.
    """
    events = []
    before, after = find(old, Type.READY) or {}, find(new, Type.READY) or {}
    reason, message = after.get("reason", ""), after.get("message", "")
    failed = new.get("phase") == Phase.FAILED and old.get("phase") != Phase.FAILED
    if failed or (reason in _TROUBLE and before.get("reason") != reason):
        events.append(Event(type="Warning", reason=reason, message=message))
    if "startTime" in new and "startTime" not in old:
        where = f" on node {new['nodeName']}" if "nodeName" in new else ""
        events.append(Event(type="Normal", reason="Started", message=f"Started in pod {new.get('podName')}{where}"))
    if new.get("phase") == Phase.CANCELED and old.get("phase") != Phase.CANCELED:
        events.append(Event(type="Normal", reason=Reason.CANCELED.value, message=message))
    if new.get("phase") == Phase.COMPLETED and old.get("phase") != Phase.COMPLETED:
        events.append(Event(type="Normal", reason=Reason.COMPLETED.value, message=message))
    registered = [f"{m['name']}:{m['version']}" for m in (new.get("models") or ())[len(old.get("models") or ()) :]]
    if registered:
        words = f"Registered {', '.join(registered)}"
        events.append(Event(type="Normal", reason=Reason.MODEL_REGISTERED.value, message=words))
    told = old.get("heldModels") or ()
    held = [entry for entry in new.get("heldModels") or () if entry not in told]
    if held:
        # A status that would be too large has the words in its condition alone.
        words = "; ".join(entry["message"] for entry in held if "message" in entry)
        words = words or (find(new, Type.MODEL_REGISTERED) or {}).get("message", "")
        events.append(Event(type="Normal", reason=Reason.CONDITION_NOT_MET.value, message=shorten(words)))
    return tuple(events)


def _urgent(status: Mapping[str, Any]) -> tuple[Any, ...]:
    reason = (find(status, Type.READY) or {}).get("reason")
    # Saving outputs and registering models mostly take less than a second: their conditions come with the last write.
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or () if c["type"] not in _SLOW_CONDITIONS}
    return (
        status.get("phase"),
        reason if reason in _TROUBLE else None,
        conditions,
        status.get("failure"),
        status.get("attempt"),
        [entry.get("endTime") for entry in status.get("attempts") or ()],
        status.get("models"),
        status.get("heldModels"),
        status.get("observedGeneration"),
    )


def _environment(standing: Standing, old: Mapping[str, Any] | None) -> JsonObject | None:
    ran = {"imageDigest": standing.image_digest, "image": standing.image} if standing.image_digest else {}
    known = {**(old or {}), **(standing.environment or {}), **ran}
    return {name: value for name, value in known.items() if value is not None} or None


def _environment_ready(standing: Standing, environment: Mapping[str, Any]) -> Condition:
    kind = Type.ENVIRONMENT_READY.value
    if environment["state"] == EnvironmentState.READY:
        words = "the packages of spec.environment are there"
        return Condition(type=kind, status=True, reason=Reason.ENVIRONMENT_READY.value, message=words)
    return Condition(type=kind, status=False, reason=standing.reason.value, message=standing.message)


def _conditions(standing: Standing, *, saved: bool, environment: Mapping[str, Any]) -> list[Condition]:
    reason, message = standing.reason.value, standing.message
    completed, failed = standing.phase == Phase.COMPLETED, standing.phase == Phase.FAILED
    canceled, pending = standing.phase == Phase.CANCELED, standing.phase == Phase.PENDING
    wished = [Condition(type=Type.READY.value, status=completed, reason=reason, message=message)]
    if completed:
        wished.append(Condition(type=Type.COMPLETE.value, status=True, reason=reason, message=message))
    elif failed or canceled:
        kinds = (Type.FAILED if failed else Type.CANCELED, Type.STALLED)
        wished += [Condition(type=kind.value, status=True, reason=reason, message=message) for kind in kinds]
    elif standing.suspended:
        wished.append(Condition(type=Type.SUSPENDED.value, status=True, reason=reason, message=message))
    else:
        wished.append(Condition(type=Type.RECONCILING.value, status=True, reason=reason, message=message))
    if "state" in environment:
        wished.append(_environment_ready(standing, environment))
    if standing.gatekeeper and standing.job_name is not None and not (canceled or failed or pending):
        wished.append(_admitted(standing))
    if saved:
        words = "the outputs and their manifest are in the object store"
        wished.append(
            Condition(type=Type.OUTPUTS_SAVED.value, status=True, reason=Reason.OUTPUTS_SAVED.value, message=words)
        )
    elif failed or canceled:
        wished.append(Condition(type=Type.OUTPUTS_SAVED.value, status=False, reason=reason, message=message))
    if standing.models_wished:
        wished.append(_registered(standing))
    return wished


def _admitted(standing: Standing) -> Condition:
    if standing.phase == Phase.QUEUED:
        words, reason = standing.message, standing.reason
        return Condition(type=Type.ADMITTED.value, status=False, reason=reason.value, message=words)
    words = f"{standing.gatekeeper} has let the run in"
    return Condition(type=Type.ADMITTED.value, status=True, reason=Reason.ADMITTED.value, message=words)


def _source(standing: Standing) -> JsonObject | None:
    sha256, commit = standing.source_sha256, standing.source_commit
    if sha256 is None or not _SHA256.fullmatch(sha256):
        return None
    return {"sha256": sha256, **({"commit": commit} if commit and _COMMIT.fullmatch(commit) else {})}


def _queue(gate: Gate | None, old: Mapping[str, Any] | None, *, now: datetime) -> JsonObject | None:
    """Return a run's place; an estimate that was given stays until the place changes, or it proves wrong."""
    if gate is None or gate.place is None:
        return None
    found: JsonObject = {"position": gate.place.position, "pending": gate.place.pending}
    given = (old or {}).get("estimatedStart")
    if given and (old or {}).get("position") == gate.place.position and parse_timestamp(given["likely"]) > now:
        return {**found, "estimatedStart": given}
    if gate.estimate is not None:
        when = {"earliest": timestamp(gate.estimate.earliest), "likely": timestamp(gate.estimate.likely)}
        found["estimatedStart"] = when
    return found


def _registered(standing: Standing) -> Condition:
    kind = Type.MODEL_REGISTERED.value
    if standing.phase == Phase.COMPLETED:
        missing = standing.unregistered
        if missing is not None:
            return Condition(type=kind, status=False, reason=missing.reason.value, message=missing.message)
        names = ", ".join(f"{model['name']}:{model['version']}" for model in standing.models)
        words = f"registered {names}"
        return Condition(type=kind, status=True, reason=Reason.MODEL_REGISTERED.value, message=words)
    return Condition(type=kind, status=False, reason=standing.reason.value, message=standing.message)


def _phases(old: Sequence[Mapping[str, Any]], *, phase: Phase, now: datetime) -> list[JsonObject]:
    phases = [dict(entry) for entry in old]
    if phases and phases[-1]["name"] == phase:
        return phases
    moment = timestamp(now)
    if phases:
        phases[-1]["endTime"] = moment
    phases.append({"name": phase.value, "startTime": moment})
    if phase in ENDED:
        phases[-1]["endTime"] = moment
    return phases[:1] + phases[1:][-(MAX_PHASES - 1) :]


def _progress(new: Progress | None, old: Mapping[str, Any] | None, *, now: datetime) -> JsonObject | None:
    if not new:
        return None
    said: JsonObject = {}
    if _is_number(new.get("percent")):
        said["percent"] = min(100, max(0, int(new["percent"])))
    if _is_number(new.get("etaSeconds")):
        said["etaSeconds"] = min(2**31 - 1, max(0, int(new["etaSeconds"])))
    if isinstance(new.get("message"), str):
        said["message"] = shorten(new["message"], 256)
    if not said:
        return None
    if old and {name: value for name, value in old.items() if name != "updatedTime"} == said:
        return dict(old)
    return {**said, "updatedTime": timestamp(now)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE


def _duration(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [f"{hours}h" * bool(hours), f"{minutes}m" * bool(minutes), f"{seconds}s" * bool(seconds or not hours)]
    return "".join(parts)


def is_complete(status: Mapping[str, Any]) -> bool:
    """Return whether a run has completed."""
    return is_true(status, Type.COMPLETE)
