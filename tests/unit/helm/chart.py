"""Rendering the chart with the real helm, and finding one's way in what comes out."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from devcluster import programs

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm" / "trainyard"
CRDS = ROOT / "crds"
NAMESPACE = "trainyard-system"
RELEASE = "trainyard"

EXTERNAL = {"endpoint": "https://s3.example.com", "bucket": "runs", "existingSecret": "s3-keys"}
EVERYTHING = {
    "image": {"repository": "registry.example.com:5000/operator", "tag": "1.2.3", "pullPolicy": "Always"},
    "trainer": {"image": {"repository": "registry.example.com:5000/trainer", "tag": "4.5.6", "pullPolicy": "Never"}},
    "imagePullSecrets": [{"name": "registry"}],
    "replicas": 2,
    "operator": {
        "workers": 3,
        "resyncSeconds": 60,
        "logLevel": "DEBUG",
        "defaultRequests": {"cpu": 2, "memory": "1Gi"},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/trainyard"}},
    },
    "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
    "nodeSelector": {"pool": "system"},
    "tolerations": [{"key": "system", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "podAnnotations": {"example.com/team": "ml"},
    "priorityClassName": "system-cluster-critical",
    "kueue": {"enabled": True},
    "signing": {"secretName": "models-key"},
    "metrics": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "interval": "15s"},
        "rules": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "runbooks": "https://wiki.example.com/runbooks",
        },
        "dashboard": {"enabled": True, "labels": {"grafana": "yes"}},
    },
    "store": {"embedded": {"metadata": "sidecar", "persistence": {"size": "1Ti", "storageClassName": "fast"}}},
}
VALUE_SETS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "everything": EVERYTHING,
    "external store": {"store": {"embedded": {"enabled": False}, "external": EXTERNAL}},
    "store without a volume": {"store": {"embedded": {"persistence": {"enabled": False}}}},
    "store on a claim of one's own": {"store": {"embedded": {"persistence": {"existingClaim": "mine"}}}},
    "store with keys of one's own": {"store": {"embedded": {"existingSecret": "mine"}}},
    "no CRDs and no user roles": {"crds": {"enabled": False}, "userRoles": {"enabled": False}},
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a helm command said."""

    code: int
    out: str
    err: str


def helm(*arguments: str | Path, values: dict[str, Any] | None = None) -> Result:
    """Run helm with no configuration of the user's."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    done = subprocess.run(
        [programs.ensure(["helm"])["helm"], *arguments],
        input=json.dumps(values or {}),
        env=environment | {"HELM_PLUGINS": "/nonexistent", "KUBECONFIG": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Result(code=done.returncode, out=done.stdout, err=done.stderr)


def template(values: dict[str, Any], *arguments: str, chart: Path = CHART) -> Result:
    """Return what ``helm template`` says to `values`."""
    return helm("template", RELEASE, chart, "--namespace", NAMESPACE, "--values=-", *arguments, values=values)


@cache
def _rendered(values: str) -> str:
    result = template(json.loads(values))
    assert result.code == 0, result.err
    return result.out


def render(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every object of the chart under `values`."""
    return [found for found in yaml.safe_load_all(_rendered(json.dumps(values))) if found]


def named(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """Return the one object of that kind and name."""
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    return found


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the pod templates by the name of what creates them."""
    return {o["metadata"]["name"]: o["spec"]["template"] for o in objects if "template" in o.get("spec", {})}


def container(objects: list[dict[str, Any]], workload: str) -> dict[str, Any]:
    """Return the container that the pods of `workload` are named after; a signer may be beside it."""
    (found,) = [c for c in pods(objects)[workload]["spec"]["containers"] if c["name"] != "signer"]
    return found


def environment(objects: list[dict[str, Any]], workload: str = "trainyard-operator") -> dict[str, Any]:
    """Return a container's variables: values, or what they come from."""
    return {v["name"]: v.get("value", v.get("valueFrom")) for v in container(objects, workload)["env"]}
