"""Builders of the objects that the domain's tables speak of: whole, but for what a case is about."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from trainyard_operator.api.names import job_name
from trainyard_operator.domain.job import PodSettings
from trainyard_operator.domain.run_view import Places, RunView, SavedRun

UID = "0f1e2d3c-0000-4000-8000-000000000001"
NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
SETTINGS = PodSettings(
    trainer_image="trainer:1",
    gateway_url="https://trainyard-gateway.trainyard-system.svc:8443",
    gateway_ca="PEM",
    default_requests={"cpu": "500m", "memory": "512Mi"},
)
PLACES = Places(run_uri=f"s3://b/runs/default/{UID}/")


def training_job(*, status=None, **spec):
    """Return a TrainingJob with an inline train.py, and `spec` over it (None removes a field)."""
    whole = {
        "experiment": "mnist",
        "source": {"inline": {"train.py": 12}},
        "entryScript": "train.py",
        **spec,
    }
    return {
        "apiVersion": "trainyard.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {
            "name": "run-a",
            "namespace": "default",
            "uid": UID,
            "generation": 1,
            "resourceVersion": "10",
            "creationTimestamp": "2026-11-23T11:59:00Z",
        },
        "spec": {name: value for name, value in whole.items() if value is not None},
        **({"status": status} if status is not None else {}),
    }


def job(*, attempt=1, complete=False, failed=None, suspended=False, stopped=None, let_in=None):
    """Return the Job of an attempt; `failed` is the reason of its Failed condition, `stopped` why we stopped it."""
    conditions = []
    if complete:
        conditions.append({"type": "Complete", "status": "True"})
    if failed:
        conditions.append({"type": "Failed", "status": "True", "reason": failed, "message": "Job has reached an end"})
    return {
        "metadata": {
            "name": job_name("run-a", UID, attempt),
            "namespace": "default",
            "uid": f"job-uid-{attempt}",
            "labels": {"trainyard.dev/attempt": str(attempt)},
            **({"annotations": {"trainyard.dev/stopped": stopped}} if stopped else {}),
        },
        "spec": {"suspend": True} if suspended or stopped else {},
        "status": {"conditions": conditions, **({"startTime": let_in} if let_in else {})},
    }


def pod(*, name="run-a-1", created="2026-11-23T11:59:30Z", **facts):
    """Return a pod of the run. `facts`: see the keyword names below; none of them: just created."""
    status = {"phase": facts.pop("phase", "Pending"), "conditions": []}
    meta = {"name": name, "namespace": "default", "uid": f"uid-{name}", "creationTimestamp": created}
    if facts.pop("deleting", False):
        meta["deletionTimestamp"] = facts.pop("deletion", "2026-11-23T12:01:00Z")
    if "unschedulable" in facts:
        status["conditions"].append(
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": facts.pop("unschedulable"),
            }
        )
    if "disrupted" in facts:
        target = {"type": "DisruptionTarget", "status": "True", "message": facts.pop("disrupted")}
        status["conditions"].append({**target, "reason": facts.pop("disruption", "DeletionByTaintManager")})
    if "said" in facts:
        status["reason"], status["message"] = facts.pop("said")
    train, prepare = {"name": "train", "image": "trainer:1"}, {"name": "prepare", "image": "trainer:1"}
    train["imageID"] = facts.pop("image_id", "docker.io/library/trainer@sha256:" + "a" * 64)
    if "waiting" in facts:
        reason, message = facts.pop("waiting")
        train["state"] = {"waiting": {"reason": reason, "message": message}}
    if facts.pop("preparing", False):
        prepare["state"] = {"running": {"startedAt": "2026-11-23T11:59:40Z"}}
    if facts.pop("running", False):
        train["state"] = {"running": {"startedAt": "2026-11-23T11:59:50Z"}}
        status["phase"] = "Running"
    container = prepare if facts.pop("in_prepare", False) else train
    if "exit_code" in facts:
        code = facts.pop("exit_code")
        message = facts.pop("termination", None)
        container["state"] = {
            "terminated": {
                "exitCode": code,
                "reason": facts.pop("kubelet_reason", "Completed" if code == 0 else "Error"),
                "startedAt": "2026-11-23T11:59:50Z",
                "message": message if isinstance(message, str) else json.dumps(message) if message else "",
            }
        }
        status["phase"] = "Succeeded" if code == 0 else "Failed"
    status["containerStatuses"], status["initContainerStatuses"] = [train], [prepare]
    node = facts.pop("node", "node-0")
    assert not facts, f"unknown facts: {facts}"
    return {"metadata": meta, "spec": {"nodeName": node} if node else {}, "status": status}


def termination(**over):
    """Return a runner's termination document."""
    return {
        "version": 1,
        "container": "train",
        "reason": None,
        "message": "",
        "exitCode": 0,
        "signal": None,
        "metrics": {},
        "outputs": {"files": 0, "bytes": 0},
        "manifestSha256": None,
        "warnings": [],
        "logTail": "",
        **over,
    }


def saved(*paths, metrics=None, sha256="f" * 64, **said):
    """Return a run's manifest with a file of 10 bytes at each of `paths`, and what its script said."""
    return SavedRun(
        manifest={
            "schema": "trainyard.dev/run-manifest/v1",
            "run": {"name": "run-a", "namespace": "default", "uid": UID, "experiment": "mnist"},
            "sourceSha256": "5" * 64,
            "exitCode": 0,
            "startTime": "2026-11-23T11:59:50Z",
            "endTime": "2026-11-23T11:59:59Z",
            "metrics": metrics or {},
            "outputs": [{"path": path, "bytes": 10, "sha256": "c" * 64} for path in paths],
            "warnings": [],
            "environment": {},
            **said,
        },
        sha256=sha256,
    )


def view(**over):
    """Return what planning sees, with nothing there but what `over` says."""
    return RunView(settings=SETTINGS, places=PLACES, **over)


def model(*versions, name="sklearn_mnist", object_name="sklearn-mnist-6e0c2a4d", **over):
    """Return a RegisteredModel with `versions` as its status entries."""
    status = {"versions": list(versions)} if versions else {}
    if versions:
        status |= {"latestVersion": versions[-1]["version"], "latestId": versions[-1]["id"]}
    return {
        "apiVersion": "trainyard.dev/v1alpha1",
        "kind": "RegisteredModel",
        "metadata": {"name": object_name, "namespace": "default", "uid": "model-uid", "generation": 1, **over},
        "spec": {"modelName": name},
        "status": status,
    }


def version(number, *, key="k", state="Ready", name="sklearn_mnist", **over):
    """Return a version's status entry."""
    return {
        "version": number,
        "id": f"{name}:{number}",
        "key": key,
        "state": state,
        "createdTime": "2026-11-23T11:00:00Z",
        "run": {"name": "run-a", "uid": UID, "attempt": 1},
        "path": "outputs/m.pkl",
        "runManifestSha256": "f" * 64,
        "metrics": {},
        **({"uri": f"s3://b/models/default/{name}/{number}/"} if state == "Ready" else {}),
        **over,
    }


def cluster(*, name="lab", status=None, finalizers=(), deleting=False, **spec):
    """Return a ComputeCluster of existing nodes with the label ``pool: a``, and `spec` over it."""
    provider = {"type": "Existing", "existing": {"nodeSelector": {"pool": "a"}}}
    meta = {"name": name, "namespace": "default", "uid": f"uid-{name}", "generation": 1, "resourceVersion": "7"}
    if finalizers:
        meta["finalizers"] = list(finalizers)
    if deleting:
        meta["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    return {"metadata": meta, "spec": {"provider": provider, **spec}, "status": status or {}}


def pool(*, max_nodes=4, idle=60, **over):
    """Return a ComputeCluster of the provider Karpenter; see `cluster` for `over`."""
    reference = {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"}
    whole = {
        "vmSize": "SMALL",
        "scale": {"maxNodes": max_nodes, "idleSecondsBeforeScaleDown": idle},
        "provider": {"type": "Karpenter", "karpenter": {"nodeClassRef": reference}},
        **over,
    }
    return cluster(**whole)


def eks(*, max_nodes=4, **over):
    """Return a ComputeCluster of the provider EKS; see `cluster` for `over`."""
    settings = {
        "clusterName": "prod",
        "region": "eu-central-1",
        "nodeRoleArn": "arn:aws:iam::111122223333:role/nodes",
        "subnets": ["subnet-0a1b2c3d"],
    }
    return cluster(
        **{
            "vmSize": "SMALL",
            "scale": {"maxNodes": max_nodes},
            "provider": {"type": "EKS", "eks": settings},
            **over,
        }
    )
