"""Kueue in the embedded cluster for as long as a test wants it: its own chart, webhooks and all, and its own program."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import yaml

from devcluster import programs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.yard import Json, Yard

NAMESPACE = "kueue-system"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
MANAGER = "kueue-controller-manager"
# Batch Jobs alone, and nothing that only matters where many replicas or many people are.
CONFIGURATION = {
    "apiVersion": "config.kueue.x-k8s.io/v1beta2",
    "kind": "Configuration",
    "health": {"healthProbeBindAddress": ":8081"},
    "metrics": {"bindAddress": ":8443"},
    "webhook": {"port": 9443},
    "leaderElection": {"leaderElect": False},
    "featureGates": {"VisibilityOnDemand": False},
    "integrations": {"frameworks": ["batch/job"]},
}
VALUES: Json = {
    "managerConfig": {"controllerManagerConfigYaml": yaml.safe_dump(CONFIGURATION)},
    "controllerManager": {
        "manager": {"resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}},
        "readinessProbe": {"initialDelaySeconds": 2},
    },
}
# Whoever has no business with these groups must not wait for a webhook of a test.
GROUPS = {"batch", "kueue.x-k8s.io"}


def rendered(*, helm: Path, chart: Path, folder: Path, image: str) -> list[Json]:
    """Return the objects of Kueue's chart, with its program taken from this machine into an image that is here."""
    output = subprocess.run(
        [helm, "template", "kueue", chart, f"--namespace={NAMESPACE}", "--values=-"],
        input=yaml.safe_dump(VALUES),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    objects = [obj for obj in yaml.safe_load_all(output) if obj and obj["kind"] != "APIService"]
    for obj in objects:
        if obj["kind"] == "Deployment":
            _take_program_from(folder, obj["spec"]["template"]["spec"], image=image)
        if obj["kind"].endswith("WebhookConfiguration"):
            hooks = obj["webhooks"]
            obj["webhooks"] = [h for h in hooks if all(set(rule["apiGroups"]) <= GROUPS for rule in h["rules"])]
    return objects


def _take_program_from(folder: Path, pod: Json, *, image: str) -> None:
    (container,) = pod["containers"]
    container |= {"image": image, "imagePullPolicy": "Never", "command": ["/program/kueue"]}
    container["volumeMounts"].append({"name": "program", "mountPath": "/program", "readOnly": True})
    pod["volumes"].append({"name": "program", "hostPath": {"path": str(folder), "type": "Directory"}})
    pod["securityContext"]["runAsUser"] = 65532


@contextmanager
def installed(yard: Yard, *, helm: Path, image: str) -> Iterator[None]:
    """Have Kueue run; everything of it is gone afterwards, its webhooks first."""
    program = programs.ensure(["kueue"])["kueue"]
    (chart,) = programs.data_folders("kueue", program)
    objects = rendered(helm=helm, chart=chart, folder=program.parent, image=image)
    text = yaml.safe_dump_all(objects)
    hooks = yaml.safe_dump_all(obj for obj in objects if obj["kind"].endswith("WebhookConfiguration"))
    yard.kubectl("create", "namespace", NAMESPACE)
    try:
        yard.kubectl("apply", "--server-side", "-f", "-", stdin=text)
        yard.wait("Kueue to be ready", lambda: _is_ready(yard))
        yield
    finally:
        _remove(yard, text, hooks)


def _is_ready(yard: Yard) -> bool:
    # Kueue makes its own certificate. The kubelet renews a Secret's files about once a minute, and at once with the pod.
    note = f"trainyard.dev/looked={time.time()}"
    yard.kubectl("annotate", "pods", "--all", "-n", NAMESPACE, "--overwrite", note)
    return bool(yard.get("deployment", MANAGER, "-n", NAMESPACE).get("status", {}).get("readyReplicas"))


def _remove(yard: Yard, text: str, hooks: str) -> None:
    # While Kueue is there to take its finalizers off.
    yard.kubectl("delete", "trainingjobs", "-l", QUEUE_LABEL, "--all-namespaces", check=False)
    yard.kubectl("wait", "workloads", "--all", "--all-namespaces", "--for=delete", "--timeout=420s", check=False)
    for kind in ("clusterqueues", "localqueues", "resourceflavors", "workloadpriorityclasses"):
        yard.kubectl("delete", kind, "--all", "--all-namespaces", "--timeout=420s", check=False)
    yard.kubectl("delete", "-f", "-", "--ignore-not-found", stdin=hooks)
    yard.kubectl("delete", "-f", "-", "--ignore-not-found", "--timeout=420s", stdin=text)
    yard.kubectl("delete", "namespace", NAMESPACE, "--timeout=420s")


def queue(name: str, *, cpu: str) -> list[Json]:
    """Return a LocalQueue of the namespace `default`, and what it takes for it to hand out so much CPU."""
    quota = [{"name": "cpu", "nominalQuota": cpu}, {"name": "memory", "nominalQuota": "4Gi"}]
    flavor: dict[str, Any] = {"name": name, "resources": quota}
    return [
        # Kueue writes these labels into the pod's template when it lets a Job in.
        _object("ResourceFlavor", name, {"nodeLabels": {"kubernetes.io/os": "linux"}}),
        _object(
            "ClusterQueue",
            name,
            {
                "namespaceSelector": {},
                "preemption": {"withinClusterQueue": "LowerPriority"},
                "resourceGroups": [{"coveredResources": ["cpu", "memory"], "flavors": [flavor]}],
            },
        ),
        {**_object("LocalQueue", name, {"clusterQueue": name}), "metadata": {"name": name, "namespace": "default"}},
        {**_object("WorkloadPriorityClass", "urgent", None), "value": 1000, "description": "before all others"},
    ]


def _object(kind: str, name: str, spec: Json | None) -> Json:
    whole = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}}
    return whole if spec is None else {**whole, "spec": spec}
