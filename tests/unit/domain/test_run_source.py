"""Archives and volumes: what a run waits for, what it is refused for, and what its pod mounts."""

from __future__ import annotations

import pytest

from tests.unit.domain.builders import NOW, SETTINGS, job, pod, training_job, view
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.job import build_job
from trainyard_operator.domain.plan import Plan
from trainyard_operator.domain.run_view import ArchiveSource
from trainyard_operator.domain.training_job import plan_training_job

SHA = "ab" * 32
URI = "s3://b/data/default/code.zip"


def archived():
    return training_job(source={"archive": {"path": "code.zip", "sha256": SHA}})


def plan(found) -> Plan:
    return plan_training_job(archived(), view(source=found), NOW)


def test_a_run_waits_for_its_archive():
    waiting = plan(ArchiveSource(uri=URI))
    (condition,) = [c for c in waiting.status["conditions"] if c["type"] == "Ready"]
    assert (waiting.status["phase"], condition["reason"]) == ("Pending", "SourceNotFound")
    assert URI in condition["message"]
    assert waiting.requeue_after is not None
    assert waiting.create == ()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        pytest.param(ArchiveSource(uri=URI, bytes=1, sha256="cd" * 32), ["cd" * 32, SHA], id="other digest"),
        pytest.param(ArchiveSource(uri=URI, bytes=500_000_001), ["500000001"], id="too large"),
    ],
)
def test_an_archive_that_cannot_be_used_fails_the_run_before_it_costs_a_pod(found, words):
    failed = plan(found)
    assert failed.status["failure"]["reason"] == "SourceInvalid"
    assert all(word in failed.status["failure"]["message"] for word in words)
    assert failed.create == ()


@pytest.mark.parametrize("sha256", [SHA, None])
def test_an_archive_that_is_there_is_run(sha256):
    assert len(plan(ArchiveSource(uri=URI, bytes=1, sha256=sha256)).create) == 1


def pod_spec(**spec):
    parent = training_job(**spec)
    made = build_job(
        parent=parent, spec=TrainingJobSpec.parse(parent["spec"]), attempt=1, berth=None, settings=SETTINGS
    )
    return made["spec"]["template"]["spec"]


def mounts(container):
    return {m["mountPath"]: (m["name"], m.get("subPath"), m.get("readOnly")) for m in container["volumeMounts"]}


def test_secrets_of_the_spec_are_mounted_where_the_script_never_is():
    spec = pod_spec(
        source={"git": {"url": "https://example.com/a.git", "secretRef": {"name": "deploy"}}},
        inputs=[{"name": "Set_1", "s3": {"uri": "s3://bucket/a", "secretRef": {"name": "keys"}}}],
    )
    (prepare,), (train,) = spec["initContainers"], spec["containers"]
    secrets = {v["name"]: v["secret"] for v in spec["volumes"] if "secret" in v}
    assert {name: secret["secretName"] for name, secret in secrets.items()} == {
        "secret-0": "deploy",
        "secret-1": "keys",
    }
    assert all(secret["optional"] for secret in secrets.values())
    assert mounts(prepare)["/var/run/secrets/trainyard-spec/source"] == ("secret-0", None, True)
    assert mounts(prepare)["/var/run/secrets/trainyard-spec/inputs/Set_1"] == ("secret-1", None, True)
    assert not {name for name, _, _ in mounts(train).values()} & set(secrets)


def test_a_claim_is_mounted_read_only_and_its_folder_where_the_input_is():
    inputs = [
        {"name": "a", "pvc": {"claimName": "data", "path": "mnist/"}},
        {"name": "b", "pvc": {"claimName": "data", "path": ""}},
    ]
    spec = pod_spec(inputs=inputs)
    (prepare,), (train,) = spec["initContainers"], spec["containers"]
    claims = [v["persistentVolumeClaim"] for v in spec["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [{"claimName": "data", "readOnly": True}]
    assert mounts(train)["/inputs/a"] == ("claim-0", "mnist", True)
    assert mounts(train)["/inputs/b"] == ("claim-0", None, True)
    assert mounts(prepare)["/claims/a"] == ("claim-0", None, True)


def test_a_run_without_such_things_has_a_pod_without_them():
    assert {v["name"] for v in pod_spec()["volumes"]} == {
        "trainyard",
        "workspace",
        "inputs",
        "tmp",
        "token",
        "checkpoint",
    }


def test_a_claim_that_does_not_exist_is_said_in_the_schedulers_words():
    said = 'persistentvolumeclaim "data" not found'
    parent = training_job(status={"phase": "Provisioning", "jobName": "run-a-0f1e2d3c"})
    status = plan_training_job(parent, view(job=job(), pods=[pod(unschedulable=said, node=None)]), NOW).status
    (condition,) = [c for c in status["conditions"] if c["type"] == "Ready"]
    assert condition["reason"] == "Unschedulable"
    assert condition["message"] == f"spec.inputs: the pod run-a-1 waits for a volume: {said}"
