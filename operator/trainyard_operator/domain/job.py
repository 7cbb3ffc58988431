"""From a TrainingJob to its batch/v1 Job: one pod, restricted, holding no credential but the gateway's token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainyard import contract
from trainyard_operator.api.environment import KeyReference
from trainyard_operator.api.input_cache import InputCacheSpec
from trainyard_operator.api.names import (
    ATTEMPT_LABEL,
    COMPUTE_CLUSTER_LABEL,
    ENVIRONMENT_HASH_ANNOTATION,
    EXPERIMENT_LABEL,
    JOB,
    REPEATS_ANNOTATION,
    RUN_UID_LABEL,
    TRAINING_JOB,
    TRAINING_JOB_LABEL,
    Kind,
    job_name,
)
from trainyard_operator.api.quantities import cpu_millis
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.attachments import attachments
from trainyard_operator.domain.pod import PREPARE, TRAIN
from trainyard_operator.domain.rerun import Repeated
from trainyard_operator.providers.base import Placement

JsonObject = dict[str, Any]

USER_ID = 65532
TOKEN_SECONDS = 3600
RUNNER_IN_IMAGE = "/opt/trainyard/runner.pyz"
RUNNER_IN_POD = f"{contract.LIBRARY_DIR}/runner.pyz"
# Isolated and without site-packages: the runner must work the same in every image, whatever its Python holds.
PYTHON = ("python3", "-I", "-S")


@dataclass(frozen=True, kw_only=True)
class PodSettings:
    """What the operator's own configuration says about the pods of runs."""

    trainer_image: str
    gateway_url: str
    gateway_ca: str
    pull_policy: str = "IfNotPresent"
    # Of the nodes that packages are built for.
    platform: str = "amd64"
    default_requests: Mapping[str, str] = field(default_factory=dict)
    # How often a run that lost its node is started again, whatever its own `retries`.
    disruption_retries: int = 20
    # Downloading needs little, and a run that asks for little memory must still get its inputs.
    prepare_requests: Mapping[str, str] = field(default_factory=lambda: {"cpu": "100m", "memory": "128Mi"})
    prepare_limits: Mapping[str, str] = field(default_factory=lambda: {"memory": "512Mi"})


# No autoscaler may take a node from under a run to save money: Karpenter's word for it, and the Cluster Autoscaler's.
STAY = {"karpenter.sh/do-not-disrupt": "true", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}


@dataclass(frozen=True, kw_only=True)
class Berth:
    """A run's part of a cluster: where its pod goes, how many slots it takes, and whether it may start at once.

    `cache` is where its inputs are kept for other runs, where the cluster has such a place.
    """

    placement: Placement
    slots: int = 1
    open: bool = True
    cache: InputCacheSpec | None = None


def build_job(  # noqa: PLR0913 - all by name
    *,
    parent: Mapping[str, Any],
    spec: TrainingJobSpec,
    attempt: int,
    berth: Berth | None,
    settings: PodSettings,
    handed: Mapping[str, str] | None = None,
    shunned: Sequence[str] = (),
    repeated: Repeated | None = None,
    environment: str | None = None,
) -> JsonObject:
    """Return the Job of one attempt of `parent`; it has one pod, and ends with it however that ends.

    The rule on disruptions changes nothing about the end. It leaves a word on it in the Job's own condition, which is
    there still when the pod went away with its node.

    Parameters
    ----------
    handed
        Labels with which somebody else decides when the Job starts.
    shunned
        Nodes that the pod should rather not go to again.
    environment
        Hash of the one whose packages the pod gets.
    """
    meta = parent["metadata"]
    labels = {
        RUN_UID_LABEL: meta["uid"],
        TRAINING_JOB_LABEL: meta["name"],
        EXPERIMENT_LABEL: spec.experiment,
        ATTEMPT_LABEL: str(attempt),
        **({COMPUTE_CLUSTER_LABEL: spec.cluster_name} if spec.cluster_name else {}),
    }
    annotations = {
        **({REPEATS_ANNOTATION: repeated.note()} if repeated else {}),
        **({ENVIRONMENT_HASH_ANNOTATION: environment} if environment else {}),
    }
    pod = _pod_spec(meta=meta, spec=spec, berth=berth, settings=settings, attempt=attempt)
    if environment is not None:
        pod["nodeSelector"] = {**pod.get("nodeSelector", {}), "kubernetes.io/arch": settings.platform}
    if shunned:
        pod["affinity"] = _away_from(shunned)
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.kind,
        "metadata": {
            "name": job_name(meta["name"], meta["uid"], attempt),
            "namespace": meta["namespace"],
            # Not on the pod: Kueue would queue it a second time.
            "labels": {**labels, **(handed or {})},
            **({"annotations": annotations} if annotations else {}),
            "ownerReferences": [owner_reference(parent)],
        },
        "spec": {
            "suspend": bool(handed) or (berth is not None and not berth.open),
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
            },
            "template": {
                "metadata": {"labels": labels, "annotations": STAY},
                "spec": pod,
            },
        },
    }


def owner_reference(parent: Mapping[str, Any], *, kind: Kind = TRAINING_JOB) -> JsonObject:
    """Return the controller reference to an object of `kind`.

    It does not block its owner's deletion: where admission checks that, blocking takes rights on finalizers.
    """
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": parent["metadata"]["name"],
        "uid": parent["metadata"]["uid"],
        "controller": True,
    }


def _pod_spec(
    *, meta: Mapping[str, Any], spec: TrainingJobSpec, berth: Berth | None, settings: PodSettings, attempt: int
) -> JsonObject:
    common = [
        *runner_variables(meta=meta, settings=settings),
        {"name": contract.ENV_EXPERIMENT, "value": spec.experiment},
        {"name": contract.ENV_ATTEMPT, "value": str(attempt)},
    ]
    variables = [_variable(name, value) for name, value in spec.environment.variables.items()]
    requests = dict(spec.requests) or {
        name: value for name, value in settings.default_requests.items() if name not in spec.limits
    }
    attached = attachments(spec, berth.cache if berth is not None else None)
    pod: JsonObject = {
        **restricted(grace_seconds=spec.grace_seconds),
        "initContainers": [
            {
                **_container(name=PREPARE, image=settings.trainer_image, settings=settings, attached=attached.prepare),
                "command": [*PYTHON, RUNNER_IN_IMAGE, "prepare"],
                "env": [*common, *attached.prepare_env],
                "resources": {"requests": _prepare_requests(settings, berth), "limits": dict(settings.prepare_limits)},
            }
        ],
        "containers": [
            {
                **_container(
                    name=TRAIN,
                    image=spec.environment.image or settings.trainer_image,
                    settings=settings,
                    attached=attached.train,
                ),
                "command": [*PYTHON, RUNNER_IN_POD, "execute"],
                "env": [*variables, *common],
                "resources": {"requests": requests, "limits": dict(spec.limits)},
            }
        ],
        "volumes": [*_volumes(), *attached.volumes],
    }
    if berth is not None:
        pod["nodeSelector"] = dict(berth.placement.node_selector)
        pod["tolerations"] = [dict(toleration) for toleration in berth.placement.tolerations]
    return pod


def _away_from(nodes: Sequence[str]) -> JsonObject:
    rule = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": sorted(set(nodes))}
    wish = {"weight": 100, "preference": {"matchExpressions": [rule]}}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}


def runner_variables(*, meta: Mapping[str, Any], settings: PodSettings) -> list[JsonObject]:
    """Return what the runner finds in every pod of a run: whom to ask, and what about."""
    return [
        {"name": contract.ENV_GATEWAY, "value": settings.gateway_url},
        {"name": contract.ENV_CA, "value": settings.gateway_ca},
        {"name": contract.ENV_RUN_NAME, "value": meta["name"]},
        {"name": contract.ENV_RUN_NAMESPACE, "value": meta["namespace"]},
        {"name": contract.ENV_RUN_UID, "value": meta["uid"]},
        {"name": "HOME", "value": "/tmp"},  # noqa: S108 - a volume of the pod's own
    ]


# What each container of ours may do; with `restricted`, all that Pod Security asks for.
CONFINED: JsonObject = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def restricted(*, grace_seconds: int) -> JsonObject:
    """Return what a pod's spec begins with: within Pod Security "restricted", and no token but the one it mounts."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def token_volume() -> JsonObject:
    """Return the volume with the one credential of a pod: a token that the gateway alone takes."""
    token = {"audience": contract.TOKEN_AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}
    return {"name": "token", "projected": {"defaultMode": 0o440, "sources": [{"serviceAccountToken": token}]}}


def _variable(name: str, value: str | KeyReference) -> JsonObject:
    if isinstance(value, KeyReference):
        return {"name": name, "valueFrom": {value.source: {"name": value.name, "key": value.key}}}
    # The kubelet expands $(NAME) in values; a doubled dollar is its escape, and the value arrives as it was written.
    return {"name": name, "value": value.replace("$", "$$")}


def _prepare_requests(settings: PodSettings, berth: Berth | None) -> dict[str, str]:
    """Return what `prepare` asks for: the scheduler gives a pod what its greediest container wants.

    So the run's slots are held by this container, and the script's own, which its author wrote, stays as it is.
    """
    requests = dict(settings.prepare_requests)
    if berth is not None and berth.placement.slot_cpu is not None:
        held = berth.placement.slot_cpu * berth.slots
        requests["cpu"] = f"{max(held, cpu_millis(requests.get('cpu', '0')))}m"
    return requests


def _container(*, name: str, image: str, settings: PodSettings, attached: tuple[JsonObject, ...]) -> JsonObject:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.pull_policy,
        "workingDir": contract.WORK_DIR,
        "securityContext": CONFINED,
        "volumeMounts": [
            {"name": "trainyard", "mountPath": contract.HOME},
            {"name": "workspace", "mountPath": contract.WORK_DIR},
            {"name": "inputs", "mountPath": contract.INPUTS_DIR, "readOnly": name == TRAIN},
            {"name": "checkpoint", "mountPath": contract.CHECKPOINT_DIR},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
            {"name": "token", "mountPath": contract.TOKEN_FILE.rpartition("/")[0], "readOnly": True},
            *attached,
        ],
    }


def _volumes() -> list[JsonObject]:
    names = ("trainyard", "workspace", "inputs", "checkpoint", "tmp")
    return [*({"name": name, "emptyDir": {}} for name in names), token_volume()]
