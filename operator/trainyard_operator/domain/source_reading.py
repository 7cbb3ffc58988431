"""Reading which packages a run needs, where that is in a source that only a pod of the run can fetch.

The pod freezes the source, as the first pod of a run always does, and hands over the text of the one file. What comes
after knows no more of it than of the requirements that are in a spec: runs that list the same share one build, and the
build sees nothing of the source or of the Secret that it was fetched with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from trainyard import contract
from trainyard_operator.api.names import (
    JOB,
    READS_ANNOTATION,
    RUN_UID_LABEL,
    TRAINING_JOB_LABEL,
    reading_job_name,
)
from trainyard_operator.api.reasons import Phase
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.attachments import attached_source
from trainyard_operator.domain.attempts import has_finished
from trainyard_operator.domain.conditions import find, is_true, shorten
from trainyard_operator.domain.environment import Reading
from trainyard_operator.domain.environment_build import GRACE_SECONDS, BuildSettings, once, small
from trainyard_operator.domain.job import (
    CONFINED,
    PYTHON,
    RUNNER_IN_IMAGE,
    PodSettings,
    owner_reference,
    restricted,
    runner_variables,
    token_volume,
)
from trainyard_operator.domain.plan import Deletion, Plan
from trainyard_operator.domain.pod import newest
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.domain.run_facts import written
from trainyard_operator.domain.run_status import Standing
from trainyard_operator.domain.run_view import RunView
from trainyard_operator.domain.run_waiting import kept_away

JsonObject = dict[str, Any]

READ = "read"
LOOK_AGAIN_SECONDS = 10.0
# Nobody tells a run that another one has read its file.
OTHERS_SECONDS = 2.0
_SAID_BY_READERS = {reason.value: reason for reason in (Reason.SOURCE_INVALID, Reason.SOURCE_NOT_FOUND)}


def has_to_be_read(spec: TrainingJobSpec) -> bool:
    """Return whether a run lists packages in a source that the operator does not see into."""
    source = spec.source
    remote = source is not None and (source.archive is not None or source.git is not None)
    return remote and spec.environment.requirements is not None


def reads_source(job: Mapping[str, Any]) -> bool:
    """Return whether a Job reads a file of its run's source."""
    return READS_ANNOTATION in (job["metadata"].get("annotations") or {})


def stop_reading(view: RunView) -> tuple[Deletion, ...]:
    """Return what ends the reading of a run's source that is under way: nobody waits for it any more."""
    job = view.preparation.job if isinstance(view.preparation, Reading) else None
    if job is None or has_finished(job):
        return ()
    return (_deletion(job),)


def read_source(
    parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView, there: Reading, now: datetime
) -> Plan | Failure:
    """Return the next step to the file that lists a run's packages."""
    job = there.job
    if there.by:
        words = f"the run {there.by} reads it now, in the same archive"
        return written(parent, view, now, _standing(parent, there, words), look_again=OTHERS_SECONDS)
    if job is None or not has_finished(job):
        reason, words = _step(view, there)
        standing = replace(_standing(parent, there, words), reason=reason)
        plan = written(parent, view, now, standing, look_again=LOOK_AGAIN_SECONDS)
        made = build_reading_job(parent=parent, spec=spec, pods=view.settings, builds=there.settings)
        return plan if job is not None else replace(plan, create=(made,))
    if is_true(job["status"], "Complete"):
        # It has read the file, and somebody has removed what it left.
        return Plan(delete=(_deletion(job),), requeue_after=1.0)
    return _failure(there, job)


def _deletion(job: Mapping[str, Any]) -> Deletion:
    meta = job["metadata"]
    return Deletion(kind=JOB, namespace=meta["namespace"], name=meta["name"], uid=meta["uid"])


def build_reading_job(
    *, parent: Mapping[str, Any], spec: TrainingJobSpec, pods: PodSettings, builds: BuildSettings
) -> JsonObject:
    """Return the Job whose pod freezes a run's source and reads its requirements: our own image and nothing else.

    It goes where builds go. The cluster of the run may have no node yet, and a place on it would be taken for this.
    """
    meta = parent["metadata"]
    labels = {RUN_UID_LABEL: meta["uid"], TRAINING_JOB_LABEL: meta["name"]}
    attached = attached_source(spec)
    container = {
        "name": READ,
        "image": pods.trainer_image,
        "imagePullPolicy": pods.pull_policy,
        "workingDir": contract.WORK_DIR,
        "securityContext": CONFINED,
        "command": [*PYTHON, RUNNER_IN_IMAGE, READ],
        "env": runner_variables(meta=meta, settings=pods),
        "resources": small(pods),
        "volumeMounts": [*_MOUNTS, *attached.prepare],
    }
    volumes: list[JsonObject] = [{"name": name, "emptyDir": {}} for name in ("trainyard", "workspace", "tmp")]
    pod = {
        **restricted(grace_seconds=GRACE_SECONDS),
        "containers": [container],
        "volumes": [*volumes, token_volume(), *attached.volumes],
        "nodeSelector": dict(builds.node_selector),
        "tolerations": [dict(toleration) for toleration in builds.tolerations],
    }
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.kind,
        "metadata": {
            "name": reading_job_name(meta["name"], meta["uid"]),
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": {READS_ANNOTATION: spec.environment.requirements or ""},
            "ownerReferences": [owner_reference(parent)],
        },
        "spec": once(builds=builds, labels=labels, pod=pod),
    }


def _standing(parent: Mapping[str, Any], there: Reading, words: str) -> Standing:
    return Standing(
        phase=Phase.PREPARING,
        reason=Reason.ENVIRONMENT_BUILDING,
        message=f"reading {there.file} of the source: {words}",
        models_wished=bool(parent["spec"].get("models")),
    )


def _step(view: RunView, there: Reading) -> tuple[Reason, str]:
    pod = newest(there.pods, init="", main=READ)
    if pod is None:
        return Reason.ENVIRONMENT_BUILDING, "its pod is on its way"
    if (kept := kept_away(pod, whose="that reads it")) is not None:
        return kept
    said = str(view.live.get("message") or "") if view.live else ""
    return Reason.ENVIRONMENT_BUILDING, shorten(said, 256) or f"the pod {pod.name} fetches the source"


def _failure(there: Reading, job: Mapping[str, Any]) -> Failure:
    pod = newest(there.pods, init="", main=READ)
    ending = pod.ending if pod is not None else None
    failed = find(job["status"], "Failed") or {}
    if ending is not None and ending.message:
        reason = _SAID_BY_READERS.get(ending.reason or "", Reason.ENVIRONMENT_BUILD_FAILED)
        return Failure(reason=reason, message=ending.message, exit_code=ending.exit_code, log_tail=ending.log_tail)
    words = f"{failed.get('reason', 'no reason given')}: {failed.get('message', '')}".strip().rstrip(":")
    if failed.get("reason") == "DeadlineExceeded":
        words = (
            f"that was not done in {there.settings.timeout_seconds} s (environments.build.timeoutSeconds of the chart)"
        )
    elif ending is not None and ending.killed_for_memory:
        words = "the pod was killed for using more memory than it has"
    message = f"spec.environment.requirements: {there.file} of the source could not be read: {words}"
    return Failure(reason=Reason.ENVIRONMENT_BUILD_FAILED, message=message)


_MOUNTS: list[JsonObject] = [
    {"name": "trainyard", "mountPath": contract.HOME},
    {"name": "workspace", "mountPath": contract.WORK_DIR},
    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
    {"name": "token", "mountPath": contract.TOKEN_FILE.rpartition("/")[0], "readOnly": True},
]
