"""What the pod of a run says, in the terms of a run.

A pod is read once into `PodFacts`; nothing else of the domain looks into a pod's status. The termination message comes
from a container that a user's script shares, so it is read with suspicion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainyard.contract import MAX_LOG_TAIL_BYTES, MAX_TERMINATION_BYTES, MetricValue
from trainyard_operator.domain.conditions import shorten
from trainyard_operator.domain.metrics import bounded

PREPARE = "prepare"
TRAIN = "train"

IMAGE_TROUBLE = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
START_TROUBLE = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"})


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why a container does not start: the kubelet's reason and words, and the image it is about."""

    reason: str
    message: str
    image: str


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a container ended; the fields after `killed_for_memory` are from its termination message, if it has one."""

    container: str
    exit_code: int
    signal: int | None
    killed_for_memory: bool
    reason: str | None = None
    message: str = ""
    metrics: Mapping[str, MetricValue] = field(default_factory=dict)
    manifest_sha256: str | None = None
    warnings: tuple[str, ...] = ()
    log_tail: str = ""


@dataclass(frozen=True, kw_only=True)
class PodFacts:
    """One pod of a run."""

    name: str
    created: str
    node: str | None
    phase: str
    deletion: str | None  # when its grace period ends, where it is being deleted
    disrupted: str | None  # the words of a DisruptionTarget condition
    preempted: bool  # whether the scheduler took the pod away for a more important one
    evicted: str | None  # the kubelet's words where it ended the pod for what the pod itself did
    refused: str | None  # the kubelet's words where it ended the pod for any other reason
    unschedulable: str | None  # the scheduler's words
    trouble: Trouble | None
    heard: bool  # whether its node has said anything of it yet
    preparing: bool
    running: bool
    started: str | None  # when the container `train` started
    ending: Ending | None  # of `train`, or of a failed `prepare`
    image_digest: str | None
    image: str | None = None


def read_pod(pod: Mapping[str, Any], *, init: str = PREPARE, main: str = TRAIN) -> PodFacts:
    """Return the facts of `pod` (a slim or whole Pod), whose containers are called `init` and `main`."""
    meta, status = pod["metadata"], pod.get("status") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    containers = {c.get("name"): c for c in status.get("containerStatuses") or ()}
    inits = {c.get("name"): c for c in status.get("initContainerStatuses") or ()}
    train, prepare = containers.get(main, {}), inits.get(init, {})
    ending = _ending(main, train)
    prepared = _ending(init, prepare)
    if ending is None and prepared is not None and prepared.exit_code != 0:
        ending = prepared
    scheduled, target = conditions.get("PodScheduled", {}), conditions.get("DisruptionTarget", {})
    disrupted = target.get("status") == "True"
    words = f"{status.get('reason')}: {status.get('message', '')}" if status.get("reason") else None
    evicted = status.get("reason") == "Evicted" and not disrupted
    return PodFacts(
        name=meta["name"],
        created=meta.get("creationTimestamp", ""),
        node=(pod.get("spec") or {}).get("nodeName"),
        phase=status.get("phase", "Pending"),
        deletion=meta.get("deletionTimestamp"),
        disrupted=target.get("message", "the pod was disrupted") if disrupted else None,
        preempted=disrupted and target.get("reason") == "PreemptionByScheduler",
        evicted=status.get("message", "") if evicted else None,
        refused=None if evicted else words,
        unschedulable=(
            scheduled.get("message", "")
            if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
            else None
        ),
        trouble=_trouble([prepare, train]),
        heard=bool(containers or inits),
        preparing="running" in (prepare.get("state") or {}),
        running="running" in (train.get("state") or {}),
        started=_started(train),
        ending=ending,
        image_digest=_digest(train.get("imageID")),
        image=_pullable(train.get("imageID")),
    )


def newest(pods: Sequence[Mapping[str, Any]], *, init: str = PREPARE, main: str = TRAIN) -> PodFacts | None:
    """Return the facts of the pod that speaks for the run now: the youngest one that is not being deleted."""
    facts = [(bool(p["metadata"].get("deletionTimestamp")), read_pod(p, init=init, main=main)) for p in pods]
    facts.sort(key=lambda pair: (not pair[0], pair[1].created, pair[1].name))
    return facts[-1][1] if facts else None


def _started(train: Mapping[str, Any]) -> str | None:
    state = train.get("state") or {}
    since = (state.get("running") or state.get("terminated") or {}).get("startedAt")
    return since if isinstance(since, str) and since else None


def _trouble(statuses: Sequence[Mapping[str, Any]]) -> Trouble | None:
    for status in statuses:
        waiting = (status.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason", "")
        if reason in IMAGE_TROUBLE or reason in START_TROUBLE:
            return Trouble(reason=reason, message=waiting.get("message", ""), image=status.get("image", ""))
    return None


def _ending(name: str, status: Mapping[str, Any]) -> Ending | None:
    terminated = (status.get("state") or {}).get("terminated")
    if not terminated:
        return None
    said = read_termination(terminated.get("message", ""))
    if said.get("container") not in {None, name}:
        said = {}
    code = min(255, max(0, int(terminated.get("exitCode", 0))))
    signal = _within(said.get("signal"), 1, 64) or _within(terminated.get("signal"), 1, 64)
    reported = _within(said.get("exitCode"), 1, 255)
    warnings = said.get("warnings")
    return Ending(
        container=name,
        exit_code=reported if reported is not None and code != 0 else code,
        signal=signal,
        killed_for_memory=terminated.get("reason") == "OOMKilled",
        reason=_text(said.get("reason"), 64) or None,
        message=_text(said.get("message"), 1024),
        metrics=bounded(said.get("metrics")),
        manifest_sha256=_text(said.get("manifestSha256"), 64) or None,
        warnings=tuple(_text(w, 256) for w in warnings[:20]) if isinstance(warnings, list) else (),
        log_tail=_tail(_text(said.get("logTail"), MAX_TERMINATION_BYTES)),
    )


def read_termination(message: str) -> dict[str, Any]:
    """Return the document of a termination message, or an empty one where it is no JSON object of ours."""
    try:
        document = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) and document.get("version") == 1 else {}


def _within(value: object, least: int, most: int) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most else None


def _text(value: object, limit: int) -> str:
    return shorten(value, limit) if isinstance(value, str) else ""


def _tail(text: str) -> str:
    return text.encode(errors="replace")[-MAX_LOG_TAIL_BYTES:].decode(errors="ignore")


def _digest(image_id: str | None) -> str | None:
    if not image_id:
        return None
    digest = image_id.rsplit("@", 1)[-1]
    return digest if digest.startswith("sha256:") else None


def _pullable(image_id: str | None) -> str | None:
    """Return an image by its repository and digest; one that came from no registry has only an id."""
    if not image_id or "@sha256:" not in image_id:
        return None
    return image_id.removeprefix("docker-pullable://")
