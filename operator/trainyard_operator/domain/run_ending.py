"""Why a run ended: from exit codes, kubelet reasons and the runner's own words to one reason and one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainyard.contract import explain_exit
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.conditions import is_true, shorten
from trainyard_operator.domain.pod import PREPARE, Ending, PodFacts, newest, read_pod

JsonObject = dict[str, Any]

# What a pod may say of its own end. Anything else that a termination message claims is not repeated as a reason.
_SAID_BY_PODS = frozenset(
    {
        Reason.SOURCE_NOT_FOUND,
        Reason.SOURCE_INVALID,
        Reason.INPUT_NOT_FOUND,
        Reason.INPUT_FAILED,
        Reason.ENVIRONMENT_NOT_RESTORED,
        Reason.SCRIPT_FAILED,
        Reason.OUT_OF_MEMORY,
        Reason.DISK_FULL,
        Reason.OUTPUTS_NOT_SAVED,
        Reason.RUN_FAILED,
    }
)
_OWN_DOING = frozenset({Reason.SOURCE_INVALID, Reason.INPUT_NOT_FOUND, Reason.SCRIPT_FAILED, Reason.DISK_FULL})
_FAILURE_MESSAGE_CHARS = 1024
# The reason of a Job's Failed condition where its `podFailurePolicy` has spoken: see `build_job`.
DISRUPTED_JOB = "PodFailurePolicy"


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


def deciding_pod(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> PodFacts | None:
    """Return the pod whose end is the run's end: the one that succeeded or, where none did, the newest."""
    if is_true(job.get("status") or {}, "Complete"):
        for pod in pods:
            if (pod.get("status") or {}).get("phase") == "Succeeded":
                return read_pod(pod)
    return newest(pods)


def failure_of(*, job: Mapping[str, Any], pod: PodFacts | None, spec: TrainingJobSpec, low_priority: bool) -> Failure:
    """Return why a failed Job failed.

    Parameters
    ----------
    low_priority
        Whether the run's machines are of the kind that their owner takes back.
    """
    if pod is None:
        return _without_pod(job, low_priority=low_priority)
    if pod.ending is None:
        return _without_ending(pod, low_priority=low_priority)
    reason, message = _reason_and_message(pod, pod.ending, spec, low_priority=low_priority)
    return Failure(
        reason=reason,
        message=message,
        exit_code=pod.ending.exit_code,
        signal=pod.ending.signal,
        log_tail=pod.ending.log_tail,
    )


def _reason_and_message(
    pod: PodFacts, ending: Ending, spec: TrainingJobSpec, *, low_priority: bool
) -> tuple[Reason, str]:
    said = next((r for r in _SAID_BY_PODS if r.value == ending.reason), None)
    if pod.evicted is not None:
        return _evicted(pod.evicted)
    if ending.killed_for_memory or said == Reason.OUT_OF_MEMORY:
        return Reason.OUT_OF_MEMORY, _out_of_memory(ending, spec)
    # What the script did by itself before its node went away stays its own doing.
    if pod.disrupted is not None and said not in _OWN_DOING:
        return _disruption(pod, low_priority=low_priority)
    if pod.deletion is not None and said not in _OWN_DOING:
        return Reason.NODE_LOST, f"the pod {pod.name} was deleted under the script"
    if said is not None:
        return said, ending.message or said.explanation
    what = "fetching source and inputs" if ending.container == PREPARE else spec.entry_script
    return Reason.RUN_FAILED, f"{what} ended with {explain_exit(ending.exit_code, ending.signal)}"


def _disruption(pod: PodFacts, *, low_priority: bool) -> tuple[Reason, str]:
    where = f"its node {pod.node}" if pod.node else "its node"
    if pod.preempted or low_priority:
        return Reason.PREEMPTED, f"the pod {pod.name} was taken off {where}: {pod.disrupted}"
    return Reason.NODE_LOST, f"the pod {pod.name} was taken off {where}: {pod.disrupted}"


def _evicted(words: str) -> tuple[Reason, str]:
    return Reason.DISK_FULL, (
        f"the run wrote more to its disk than it may ({words.strip().rstrip('.')}): raise "
        "spec.resources.limits.ephemeral-storage, or have the script keep less in /workspace and /tmp"
    )


def _out_of_memory(ending: Ending, spec: TrainingJobSpec) -> str:
    if ending.container == PREPARE:
        return "fetching source and inputs was killed for using more memory than the operator gives it"
    if ending.reason == Reason.OUT_OF_MEMORY.value and ending.message:
        return ending.message
    limit = spec.limits.get("memory")
    if limit is None:
        return f"{spec.entry_script} was killed because its node ran out of memory: set spec.resources.requests.memory"
    return (
        f"{spec.entry_script} was killed because it used more than its memory limit of {limit}: "
        "raise spec.resources.limits.memory or load less data at once"
    )


def _without_pod(job: Mapping[str, Any], *, low_priority: bool) -> Failure:
    conditions = (job.get("status") or {}).get("conditions") or ()
    said: Mapping[str, Any] = next((c for c in conditions if c.get("type") == "Failed"), {})
    # The Job's rule on disruptions, which outlives the pod that it was about.
    disrupted = said.get("reason") == DISRUPTED_JOB
    words = "the run's pod was taken off its node" if disrupted else "somebody deleted the run's pod"
    reason = Reason.PREEMPTED if disrupted and low_priority else Reason.NODE_LOST
    return Failure(reason=reason, message=f"{words}, which ended the script with it")


def _without_ending(pod: PodFacts, *, low_priority: bool) -> Failure:
    if pod.evicted is not None:
        reason, message = _evicted(pod.evicted)
    elif pod.disrupted is not None:
        reason, message = _disruption(pod, low_priority=low_priority)
    else:
        words = pod.refused or "it did not say how it ended"
        reason, message = Reason.NODE_LOST, f"the pod {pod.name} ended on its node {pod.node}: {words}"
    return Failure(reason=reason, message=message)
