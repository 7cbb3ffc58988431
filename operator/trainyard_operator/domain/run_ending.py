"""Why a run ended: from exit codes, kubelet reasons and the runner's own words to one reason and one sentence."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.conditions import is_true, shorten
from trainyard_operator.domain.pod import PREPARE, Ending, PodFacts, newest, read_pod

JsonObject = dict[str, Any]

# What a pod may say of its own end. Anything else that a termination message claims is not repeated as a reason.
_SAID_BY_PODS = frozenset(
    {
        Reason.SOURCE_INVALID,
        Reason.INPUT_NOT_FOUND,
        Reason.INPUT_FAILED,
        Reason.SCRIPT_FAILED,
        Reason.OUT_OF_MEMORY,
        Reason.OUTPUTS_NOT_SAVED,
        Reason.RUN_FAILED,
    }
)
_FAILURE_MESSAGE_CHARS = 1024


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a run failed."""

    reason: Reason
    message: str
    exit_code: int | None = None
    signal: int | None = None
    log_tail: str = ""

    def as_status(self) -> JsonObject:
        """Return the `status.failure` of it."""
        wished = {
            "reason": self.reason.value,
            "message": shorten(self.message, _FAILURE_MESSAGE_CHARS),
            "exitCode": self.exit_code,
            "signal": self.signal,
            "logTail": self.log_tail,
        }
        return {name: value for name, value in wished.items() if value not in {None, ""}}


def has_finished(job: Mapping[str, Any]) -> bool:
    """Return whether the Job controller has said its last word on `job`."""
    status = job.get("status") or {}
    return is_true(status, "Complete") or is_true(status, "Failed")


def deciding_pod(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> PodFacts | None:
    """Return the pod whose end is the run's end: the one that succeeded or, where none did, the newest."""
    if is_true(job.get("status") or {}, "Complete"):
        for pod in pods:
            if (pod.get("status") or {}).get("phase") == "Succeeded":
                return read_pod(pod)
    return newest(pods)


def failure_of(*, job: Mapping[str, Any], pod: PodFacts | None, spec: TrainingJobSpec) -> Failure:
    """Return why a failed Job failed."""
    if pod is None or pod.ending is None:
        return _without_ending(job, pod)
    reason, message = _reason_and_message(pod, pod.ending, spec)
    return Failure(
        reason=reason,
        message=message,
        exit_code=pod.ending.exit_code,
        signal=pod.ending.signal,
        log_tail=pod.ending.log_tail,
    )


def _reason_and_message(pod: PodFacts, ending: Ending, spec: TrainingJobSpec) -> tuple[Reason, str]:
    said = next((r for r in _SAID_BY_PODS if r.value == ending.reason), None)
    if ending.killed_for_memory or said == Reason.OUT_OF_MEMORY:
        return Reason.OUT_OF_MEMORY, _out_of_memory(ending, spec)
    if pod.disrupted is not None:
        return Reason.NODE_LOST, f"the pod {pod.name} was taken off its node: {pod.disrupted}"
    if said is not None:
        return said, ending.message or said.explanation
    what = "fetching source and inputs" if ending.container == PREPARE else spec.entry_script
    return Reason.RUN_FAILED, f"{what} ended with {explain_exit(ending)}"


def explain_exit(ending: Ending) -> str:
    """Return an exit code in words, naming the signal behind it (POSIX shells' convention: 128 + its number)."""
    number = ending.signal or (ending.exit_code - 128 if ending.exit_code > 128 else None)  # noqa: PLR2004
    try:
        name = signal.Signals(number).name if number else None
    except ValueError:
        name = None
    return f"exit code {ending.exit_code}" + (f" (killed by {name})" if name else "")


def _out_of_memory(ending: Ending, spec: TrainingJobSpec) -> str:
    if ending.container == PREPARE:
        return "fetching source and inputs was killed for using more memory than the operator gives it"
    limit = spec.limits.get("memory")
    if limit is None:
        return f"{spec.entry_script} was killed because its node ran out of memory: set spec.resources.requests.memory"
    return (
        f"{spec.entry_script} was killed because it used more than its memory limit of {limit}: "
        "raise spec.resources.limits.memory or load less data at once"
    )


def _without_ending(job: Mapping[str, Any], pod: PodFacts | None) -> Failure:
    conditions = (job.get("status") or {}).get("conditions") or ()
    said: Mapping[str, Any] = next((c for c in conditions if c.get("type") == "Failed"), {})
    words = f"{said.get('reason', 'no reason given')}: {said.get('message', '')}".strip().rstrip(":")
    if pod is not None and pod.disrupted is not None:
        return Failure(reason=Reason.NODE_LOST, message=f"the pod {pod.name} was lost: {pod.disrupted}")
    gone = "its pod is gone" if pod is None else f"its pod {pod.name} did not say how it ended"
    return Failure(reason=Reason.RUN_FAILED, message=f"the Job failed and {gone} ({words})")
