"""The way of a run to its environment: it waits for the one build that all runs of the same environment share.

Who waited for a build shares its failure. Who comes later has it tried again: what kept packages from being installed
may be mended by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from trainyard.contract import explain_exit
from trainyard_operator.api.names import JOB
from trainyard_operator.api.reasons import EnvironmentState, Phase
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.attempts import has_finished
from trainyard_operator.domain.conditions import find, is_true, parse_timestamp, shorten
from trainyard_operator.domain.environment import Kept, Preparation, Reading
from trainyard_operator.domain.environment_build import BUILD, PACK, build_environment_job
from trainyard_operator.domain.plan import Deletion, Plan, Seal
from trainyard_operator.domain.pod import PodFacts, newest
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.domain.run_facts import written
from trainyard_operator.domain.run_status import Standing
from trainyard_operator.domain.run_view import RunView
from trainyard_operator.domain.run_waiting import kept_away
from trainyard_operator.domain.source_reading import read_source

JsonObject = dict[str, Any]

# News of a build come by themselves; the time that it takes does not.
LOOK_AGAIN_SECONDS = 10.0
_MINUTE = 60
_STEP_SECONDS = 10


def prepare_environment(
    parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView, now: datetime
) -> Plan | Failure | None:
    """Return the next step to a run's environment; None where nothing keeps the run from going on."""
    there = view.preparation
    if there is None or isinstance(there, Kept) or (isinstance(there, Preparation) and there.record is not None):
        return None
    if isinstance(there, Failure | Reading):
        return there if isinstance(there, Failure) else read_source(parent, spec, view, there, now)
    job = there.job
    if job is None or not has_finished(job):
        standing = _building(parent, there, now)
        plan = written(parent, view, now, standing, look_again=LOOK_AGAIN_SECONDS)
        return plan if job is not None else replace(plan, create=(_build(parent, view, there),))
    if is_true(job["status"], "Complete") and not there.unusable:
        meta = parent["metadata"]
        plan = written(parent, view, now, _building(parent, there, now))
        return replace(
            plan, seal=Seal(namespace=meta["namespace"], hash=there.environment.hash, job=job["metadata"]["uid"])
        )
    if _waited(parent, there):
        return _failure(there, job)
    meta = job["metadata"]
    gone = Deletion(kind=JOB, namespace=meta["namespace"], name=meta["name"], uid=meta["uid"])
    return Plan(delete=(gone,), requeue_after=1.0)


def told(view: RunView, state: EnvironmentState) -> JsonObject | None:
    """Return what the status says of a run's environment; None where the run asks for no packages."""
    there = view.preparation
    if not isinstance(there, Preparation | Kept):
        return None
    digest = there.record.hash if isinstance(there, Kept) else there.environment.hash
    status = {"hash": digest, "state": state.value}
    return {**status, "logUri": there.logs_uri} if there.logs_uri else status


def _build(parent: Mapping[str, Any], view: RunView, there: Preparation) -> JsonObject:
    return build_environment_job(
        environment=there.environment,
        namespace=parent["metadata"]["namespace"],
        pods=view.settings,
        builds=there.settings,
    )


def _waited(parent: Mapping[str, Any], there: Preparation) -> bool:
    status: Mapping[str, Any] = parent.get("status") or {}
    known: Mapping[str, Any] = status.get("environment") or {}
    # A corrected index makes another environment of the same requirements.
    return known.get("state") == EnvironmentState.BUILDING and known.get("hash") == there.environment.hash


def _building(parent: Mapping[str, Any], there: Preparation, now: datetime) -> Standing:
    reason, words = _step(there)
    begun = (there.job or {}).get("metadata", {}).get("creationTimestamp")
    if begun:
        words = f"{words} ({_elapsed(begun, now)})"
    status = {"hash": there.environment.hash, "state": EnvironmentState.BUILDING.value, "logUri": there.logs_uri}
    return Standing(
        phase=Phase.PREPARING,
        reason=reason,
        message=f"preparing the environment: {words}",
        environment=status,
        models_wished=bool(parent["spec"].get("models")),
    )


def _step(there: Preparation) -> tuple[Reason, str]:
    pod = newest(there.pods, init=BUILD, main=PACK)
    if there.job is None or pod is None:
        return Reason.ENVIRONMENT_BUILDING, "its build begins"
    kept = kept_away(pod, whose="of its build")
    if kept is not None:
        return kept
    if pod.ending is not None:
        return Reason.ENVIRONMENT_BUILDING, "its build has ended"
    if pod.preparing or pod.running:
        return Reason.ENVIRONMENT_BUILDING, shorten(there.said, 256) or f"its build runs in pod {pod.name}"
    return Reason.ENVIRONMENT_BUILDING, f"the pod {pod.name} of its build is starting"


def _elapsed(begun: str, now: datetime) -> str:
    """Return how long ago `begun` was, in steps: a sentence that changes each second would be written each second."""
    seconds = max(0, int((now - parse_timestamp(begun)).total_seconds()))
    if seconds < _MINUTE:
        return f"{seconds // _STEP_SECONDS * _STEP_SECONDS} s"
    return f"{seconds // _MINUTE} min"


def _failure(there: Preparation, job: Mapping[str, Any]) -> Failure:
    pod = newest(there.pods, init=BUILD, main=PACK)
    words = there.unusable or _late(there, job) or _ended(pod) or _job_words(job)
    tail = pod.ending.log_tail if pod is not None and pod.ending is not None else ""
    return Failure(
        reason=Reason.ENVIRONMENT_BUILD_FAILED,
        message=f"the environment could not be built: {words}",
        exit_code=pod.ending.exit_code if pod is not None and pod.ending is not None else None,
        log_tail=tail,
    )


def _late(there: Preparation, job: Mapping[str, Any]) -> str:
    failed = find(job["status"], "Failed") or {}
    if failed.get("reason") != "DeadlineExceeded":
        return ""
    words = f"it was not done in {there.settings.timeout_seconds} s (environments.build.timeoutSeconds of the chart)"
    return f"{words}; at the end it was {there.said}" if there.said else words


def _ended(pod: PodFacts | None) -> str:
    if pod is None or pod.ending is None:
        return ""
    if pod.ending.killed_for_memory:
        return "it was killed for using more memory than environments.build.resources of the chart gives it"
    return (
        pod.ending.message
        or f"its container {pod.ending.container} ended with {explain_exit(pod.ending.exit_code, pod.ending.signal)}"
    )


def _job_words(job: Mapping[str, Any]) -> str:
    failed = find(job["status"], "Failed") or {}
    return f"{failed.get('reason', 'no reason given')}: {failed.get('message', '')}".strip().rstrip(":")
