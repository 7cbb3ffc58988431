"""What follows from an attempt that is over: the run's end, or another attempt.

The end of an attempt is written down before anything else comes of it; the next one begins with the next look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from trainyard_operator.api.compute_cluster import VmPriority
from trainyard_operator.api.reasons import Phase
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.attempts import ended, stopped_for
from trainyard_operator.domain.conditions import is_true, timestamp
from trainyard_operator.domain.plan import Plan
from trainyard_operator.domain.pod import PodFacts
from trainyard_operator.domain.retries import Tally, exhausted, may_retry, next_attempt_at
from trainyard_operator.domain.run_ending import Failure, deciding_pod, failure_of
from trainyard_operator.domain.run_facts import known, written
from trainyard_operator.domain.run_models import Registration, refusal, registration
from trainyard_operator.domain.run_status import Standing
from trainyard_operator.domain.run_stop import Stop, at_rest, closed, stop_words, why_canceled
from trainyard_operator.domain.run_view import RunView, SavedRun, StoreTrouble
from trainyard_operator.providers.base import Cluster

LOOK_AGAIN_SECONDS = 10.0  # for things that no watch tells about: a ConfigMap, the object store

JsonObject = dict[str, Any]


def conclude(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView, now: datetime) -> Plan:
    """Plan a run whose latest attempt is over."""
    job = view.job or {"metadata": {}}
    pod = deciding_pod(job, view.pods)
    standing = known(parent, spec, view, pod)
    if is_true(job.get("status") or {}, "Complete"):
        return _succeeded(parent, spec, view, now, pod, standing)
    stopped = stopped_for(job)
    if isinstance(view.saved, StoreTrouble) and not view.saved.final and (stopped or _has_manifest(pod)):
        return _wait_for_store(parent, view, now, standing, view.saved)
    canceled = why_canceled(spec, view)
    if canceled or stopped == Reason.CANCELED:
        why = Stop(reason=Reason.CANCELED, message=canceled or "the run was canceled")
        return written(parent, view, now, closed(at_rest(standing, why), pod, now))
    if stopped == Reason.SUSPENDED:
        why = Stop(reason=Reason.SUSPENDED, message=stop_words(parent, stopped, spec, view, pod))
        return written(parent, view, now, closed(at_rest(standing, why), pod, now), look_again=0.0)
    low_priority = isinstance(view.machines, Cluster) and view.machines.spec.vm_priority == VmPriority.LOW_PRIORITY
    if stopped is not None:
        words = stop_words(parent, stopped, spec, view, pod)
        ending = pod.ending if pod is not None else None
        failure = Failure(
            reason=stopped,
            message=words,
            exit_code=ending.exit_code if ending else None,
            log_tail=ending.log_tail if ending else "",
        )
    else:
        failure = failure_of(job=job, pod=pod, spec=spec, low_priority=low_priority)
    return _not_succeeded(parent, spec, view, now, standing, failure)


def retrying(standing: Standing, entry: Mapping[str, Any], due: datetime) -> Standing:
    """Return the standing of a run between two attempts; `entry` is what is written down of the one before."""
    words = (
        f"attempt {entry.get('number')} ended with {entry.get('reason')}, the next one begins at {timestamp(due)}: "
        f"{entry.get('message', '')}"
    )
    return replace(standing, phase=Phase.PENDING, reason=Reason.RETRYING, message=words)


def _succeeded(  # noqa: PLR0913, PLR0917
    parent: Mapping[str, Any],
    spec: TrainingJobSpec,
    view: RunView,
    now: datetime,
    pod: PodFacts | None,
    standing: Standing,
) -> Plan:
    """Plan a run whose script has succeeded: outputs first, then models, then its last word."""
    if isinstance(view.saved, StoreTrouble) and not view.saved.final:
        return _wait_for_store(parent, view, now, standing, view.saved)
    if not isinstance(view.saved, SavedRun):
        words = "the script succeeded, but there is no manifest of its outputs in the object store"
        failure = Failure(reason=Reason.OUTPUTS_NOT_SAVED, message=view.saved.message if view.saved else words)
        return _not_succeeded(parent, spec, view, now, standing, failure)
    if _differs(view.saved, pod):
        words = "the manifest in the object store is not the one that the run wrote at its end"
        failure = Failure(reason=Reason.OUTPUTS_NOT_SAVED, message=words)
        return _not_succeeded(parent, spec, view, now, standing, failure)
    models = registration(parent=parent, spec=spec, view=view, saved=view.saved, image_digest=standing.image_digest)
    return _finalize(parent, view, now, standing, models)


def _not_succeeded(  # noqa: PLR0913, PLR0917
    parent: Mapping[str, Any],
    spec: TrainingJobSpec,
    view: RunView,
    now: datetime,
    standing: Standing,
    failure: Failure,
) -> Plan:
    """Plan the end of an attempt that did not succeed: another one, or the run's end."""
    tally = Tally.of(parent.get("status") or {}).plus(failure.reason)
    standing = _marked(replace(standing, tally=tally), failure, now)
    bounds = {"retries": spec.retries, "disruption_retries": view.settings.disruption_retries}
    if not may_retry(failure.reason, tally, **bounds):
        last = replace(failure, message=failure.message + exhausted(failure.reason, tally))
        return written(parent, view, now, _ended_badly(standing, last))
    entry = next(e for e in standing.attempts if e["number"] == standing.attempt)
    due = next_attempt_at(entry, tally)
    return written(parent, view, now, retrying(standing, entry, due or now), look_again=0.0)


def _marked(standing: Standing, failure: Failure, now: datetime) -> Standing:
    attempts = ended(
        standing.attempts,
        attempt=standing.attempt or 0,
        reason=failure.reason,
        message=failure.message,
        exit_code=failure.exit_code,
        now=now,
    )
    return replace(standing, attempts=attempts)


def _wait_for_store(
    parent: Mapping[str, Any], view: RunView, now: datetime, standing: Standing, trouble: StoreTrouble
) -> Plan:
    words = f"the outputs cannot be read back yet: {trouble.message}"
    waiting = replace(standing, phase=Phase.FINALIZING, reason=Reason.SAVING_OUTPUTS, message=words)
    return written(parent, view, now, waiting, look_again=LOOK_AGAIN_SECONDS)


def _finalize(
    parent: Mapping[str, Any], view: RunView, now: datetime, standing: Standing, models: Registration
) -> Plan:
    standing = replace(standing, models=models.entries)
    if models.waiting_for:
        standing = replace(standing, phase=Phase.FINALIZING, reason=Reason.REGISTERING_MODEL, message=models.words)
    elif models.failure is not None:
        standing = _ended_badly(_marked(standing, models.failure, now), models.failure)
    else:
        words = _success(standing, models)
        standing = _marked(standing, Failure(reason=Reason.COMPLETED, message=words, exit_code=0), now)
        standing = replace(standing, phase=Phase.COMPLETED, reason=Reason.COMPLETED, message=words)
        standing = replace(standing, held=models.held, unregistered=refusal(models.held))
    return replace(written(parent, view, now, standing), create=models.create, register=models.register)


def _has_manifest(pod: PodFacts | None) -> bool:
    return pod is not None and pod.ending is not None and pod.ending.manifest_sha256 is not None


def _differs(saved: SavedRun, pod: PodFacts | None) -> bool:
    written = pod.ending.manifest_sha256 if pod is not None and pod.ending is not None else None
    return written is not None and written != saved.sha256


def _ended_badly(standing: Standing, failure: Failure) -> Standing:
    return replace(standing, phase=Phase.FAILED, reason=failure.reason, message=failure.message, failure=failure)


def _success(standing: Standing, models: Registration) -> str:
    outputs = standing.outputs or {}
    files = outputs.get("files", 0)
    words = [f"saved {files} output file{'s' * (files != 1)}"]
    if standing.metric_summary:
        words.insert(0, standing.metric_summary)
    if models.entries:
        words.append(f"registered {', '.join(str(entry['id']) for entry in models.entries)}")
    if models.held:
        words.append(f"did not register {', '.join(entry['name'] for entry in models.held)}")
    return ", ".join(words)
