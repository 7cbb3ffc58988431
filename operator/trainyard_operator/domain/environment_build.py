"""The Job that builds an environment: one for each hash and namespace, whoever waits for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from packaging.version import Version

from trainyard import contract
from trainyard_operator.api.environment import Environment
from trainyard_operator.api.names import ENVIRONMENT_ANNOTATION, ENVIRONMENT_LABEL, JOB, RUN_UID_LABEL
from trainyard_operator.domain.job import (
    CONFINED,
    PYTHON,
    RUNNER_IN_IMAGE,
    RUNNER_IN_POD,
    PodSettings,
    restricted,
    token_volume,
)

JsonObject = dict[str, Any]

TOOLS = "tools"
BUILD = "build"
PACK = "pack"
GRACE_SECONDS = 10
# Long enough for every waiting run to hear how it ended, and for people to look.
TTL_SECONDS = 900


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """What the operator's own configuration says about builds."""

    # Of the nodes that builds and their runs go to: what is compiled for one is of no use on another.
    platform: str = "amd64"
    resources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    timeout_seconds: int = 1800
    # What the trainer image has, by name; empty where that is not known.
    packages: Mapping[str, tuple[Version, ...]] = field(default_factory=dict)


def build_environment_job(
    *, environment: Environment, namespace: str, pods: PodSettings, builds: BuildSettings
) -> JsonObject:
    """Return the Job that builds `environment`.

    It belongs to no run, since the first of them may be gone before the last; it goes by itself a while after its end.
    """
    labels = {RUN_UID_LABEL: environment.name, ENVIRONMENT_LABEL: environment.name}
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.kind,
        "metadata": {
            "name": environment.name,
            "namespace": namespace,
            "labels": labels,
            "annotations": {ENVIRONMENT_ANNOTATION: contract.canonical_json(environment.document).decode()},
        },
        "spec": once(
            builds=builds,
            labels=labels,
            pod=_pod_spec(environment=environment, namespace=namespace, pods=pods, builds=builds),
        ),
    }


def once(*, builds: BuildSettings, labels: Mapping[str, str], pod: JsonObject) -> JsonObject:
    """Return the `spec` of a Job that is tried once, in the time of a build; a lost node does not count as a try."""
    return {
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "activeDeadlineSeconds": builds.timeout_seconds,
        "ttlSecondsAfterFinished": TTL_SECONDS,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
        "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
    }


def environment_of(job: Mapping[str, Any]) -> Environment | None:
    """Return what a Job builds; None where it is no build, or not the build that its name says it is."""
    text = (job["metadata"].get("annotations") or {}).get(ENVIRONMENT_ANNOTATION)
    try:
        document = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    environment = Environment.of_document(document)
    labels = job["metadata"].get("labels") or {}
    fits = environment.name == job["metadata"]["name"] == labels.get(ENVIRONMENT_LABEL)
    return environment if fits else None


def _pod_spec(*, environment: Environment, namespace: str, pods: PodSettings, builds: BuildSettings) -> JsonObject:
    env = [
        {"name": contract.ENV_GATEWAY, "value": pods.gateway_url},
        {"name": contract.ENV_CA, "value": pods.gateway_ca},
        {"name": contract.ENV_RUN_NAME, "value": environment.name},
        {"name": contract.ENV_RUN_NAMESPACE, "value": namespace},
        {"name": "HOME", "value": "/tmp"},  # noqa: S108 - a volume of the pod's own
    ]
    container = {"imagePullPolicy": pods.pull_policy, "workingDir": contract.HOME, "env": env, "volumeMounts": _MOUNTS}
    return {
        **restricted(grace_seconds=GRACE_SECONDS),
        "initContainers": [
            {
                **container,
                "name": TOOLS,
                "image": pods.trainer_image,
                "securityContext": CONFINED,
                "command": [*PYTHON, RUNNER_IN_IMAGE, TOOLS],
                "resources": small(pods),
            },
            {
                **container,
                "name": BUILD,
                "image": environment.image,
                "securityContext": CONFINED,
                "command": [*PYTHON, RUNNER_IN_POD, BUILD],
                "resources": {name: dict(amounts) for name, amounts in builds.resources.items()},
            },
        ],
        "containers": [
            {
                **container,
                "name": PACK,
                "image": pods.trainer_image,
                "securityContext": CONFINED,
                "command": [*PYTHON, RUNNER_IN_IMAGE, PACK],
                "resources": small(pods),
            }
        ],
        "volumes": [*({"name": name, "emptyDir": {}} for name in ("trainyard", "tmp")), token_volume()],
        # The values may name a platform themselves; the packages must be for the one that they are known by.
        "nodeSelector": {**builds.node_selector, "kubernetes.io/arch": environment.platform},
        "tolerations": [dict(toleration) for toleration in builds.tolerations],
    }


def small(pods: PodSettings) -> JsonObject:
    """Return the resources of a container that only fetches and sends."""
    return {"requests": dict(pods.prepare_requests), "limits": dict(pods.prepare_limits)}


_MOUNTS: list[JsonObject] = [
    {"name": "trainyard", "mountPath": contract.HOME},
    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
    {"name": "token", "mountPath": contract.TOKEN_FILE.rpartition("/")[0], "readOnly": True},
]
