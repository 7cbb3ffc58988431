"""What a run does about the packages that it asks for, by how far their build is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.domain.builders import NOW, PLACES, SETTINGS, training_job
from trainyard_operator.api.environment import Environment
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.domain.environment import EnvironmentRecord, Pack, Preparation
from trainyard_operator.domain.environment_build import BuildSettings, build_environment_job, environment_of
from trainyard_operator.domain.plan import Seal
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.domain.run_view import RunView
from trainyard_operator.domain.training_job import plan_training_job

ENVIRONMENT = Environment(image="trainer:1", platform="arm64", requirements=("tabulate>=0.9",), index="a" * 64)
SETTINGS_OF_BUILDS = BuildSettings(
    resources={"limits": {"memory": "4Gi"}},
    node_selector={"pool": "builds"},
    tolerations=[{"key": "builds", "operator": "Exists"}],
    timeout_seconds=600,
)
THERE = Preparation(environment=ENVIRONMENT, settings=SETTINGS_OF_BUILDS, logs_uri="s3://b/envs/default/x/logs/")
PACKED = EnvironmentRecord(hash=ENVIRONMENT.hash, pack=Pack(path="p", sha256="b" * 64, bytes=1))
BUILDING = {
    "phase": "Preparing",
    "environment": {"hash": ENVIRONMENT.hash, "state": "Building", "logUri": THERE.logs_uri},
}


def plan(there, *, status=None):
    run = training_job(status=status, environment={"pip": ["tabulate>=0.9"]})
    return plan_training_job(
        run, RunView(settings=replace(SETTINGS, platform="arm64"), places=PLACES, preparation=there), NOW
    )


def built(*, failed=None, complete=False):
    """Return the Job of the build as the store has it; `failed` is the reason of its Failed condition."""
    job = build_environment_job(environment=ENVIRONMENT, namespace="default", pods=SETTINGS, builds=SETTINGS_OF_BUILDS)
    conditions = [{"type": "Failed", "status": "True", "reason": failed, "message": "m"}] if failed else []
    conditions += [{"type": "Complete", "status": "True"}] if complete else []
    meta = {**job["metadata"], "uid": "build-uid", "creationTimestamp": "2026-11-23T11:59:35Z"}
    return {"metadata": meta, "status": {"conditions": conditions}}


def pod(*, build=None, pack=None, unschedulable=None):
    """Return the pod of the build; `build` and `pack` are the states of these containers."""
    conditions = []
    if unschedulable:
        conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": unschedulable}]
    status = {"phase": "Pending", "conditions": conditions}
    if build:
        status["initContainerStatuses"] = [{"name": "build", "image": "trainer:1", "state": build}]
    if pack:
        status["containerStatuses"] = [{"name": "pack", "image": "trainer:1", "state": pack}]
    meta = {"name": "env-pod", "namespace": "default", "creationTimestamp": "2026-11-23T11:59:36Z"}
    return {"metadata": meta, "status": status}


def ended(message, *, tail="", code=1, reason="Error"):
    said = {"version": 1, "container": "build", "message": message, "exitCode": code, "logTail": tail}
    return {"terminated": {"exitCode": code, "reason": reason, "message": json.dumps(said)}}


def conditions_of(status):
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


def test_a_missing_environment_is_built_before_the_run_has_a_job():
    wish = plan(THERE)
    (job,) = wish.create
    assert job["metadata"]["name"] == ENVIRONMENT.name
    assert environment_of(job) == ENVIRONMENT
    assert wish.status["phase"] == "Preparing"
    assert wish.status["environment"] == BUILDING["environment"]
    assert conditions_of(wish.status)["EnvironmentReady"] == ("False", "EnvironmentBuilding")


def test_a_build_is_confined_as_a_run_is_and_goes_where_the_operator_says():
    (job,) = plan(THERE).create
    spec = job["spec"]["template"]["spec"]
    assert job["spec"]["activeDeadlineSeconds"] == 600
    assert job["spec"]["backoffLimit"] == 0
    assert "ownerReferences" not in job["metadata"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["nodeSelector"] == {"pool": "builds", "kubernetes.io/arch": "arm64"}
    assert spec["tolerations"] == [{"key": "builds", "operator": "Exists"}]
    containers = {c["name"]: c for c in [*spec["initContainers"], *spec["containers"]]}
    assert list(containers) == ["tools", "build", "pack"]
    assert containers["build"]["resources"] == {"limits": {"memory": "4Gi"}}
    for container in containers.values():
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize(
    ("pods", "said", "reason", "words"),
    [
        pytest.param([], "", Reason.ENVIRONMENT_BUILDING, "its build begins", id="no pod"),
        pytest.param([pod(unschedulable="no room")], "", Reason.UNSCHEDULABLE, "no room", id="no node"),
        pytest.param(
            [pod(build={"waiting": {"reason": "ErrImagePull"}})],
            "",
            Reason.IMAGE_PULL_FAILED,
            "check spec.environment.image",
            id="no image",
        ),
        pytest.param(
            [pod(build={"running": {}})],
            "installing 3 packages",
            Reason.ENVIRONMENT_BUILDING,
            "installing 3",
            id="said",
        ),
        pytest.param(
            [pod(pack={"running": {}})], "", Reason.ENVIRONMENT_BUILDING, "runs in pod env-pod", id="not said"
        ),
    ],
)
def test_a_run_tells_what_its_build_is_at_and_for_how_long(pods, said, reason, words):
    wish = plan(replace(THERE, job=built(), pods=pods, said=said), status=None)
    assert wish.create == ()
    assert wish.requeue_after is not None
    (ready,) = [c for c in wish.status["conditions"] if c["type"] == "Ready"]
    assert ready["reason"] == reason
    assert words in ready["message"]
    assert "(20 s)" in ready["message"]


def test_what_a_finished_build_left_is_looked_at_once_it_is_done():
    wish = plan(replace(THERE, job=built(complete=True)), status=BUILDING)
    assert wish.seal == Seal(namespace="default", hash=ENVIRONMENT.hash, job="build-uid")
    assert wish.create == ()


@pytest.mark.parametrize(
    ("there", "words", "tail"),
    [
        pytest.param(
            replace(
                THERE, job=built(failed="BackoffLimitExceeded"), pods=[pod(build=ended("error: No solution", tail="t"))]
            ),
            "error: No solution",
            "t",
            id="the resolver's words",
        ),
        pytest.param(
            replace(THERE, job=built(failed="DeadlineExceeded"), said="installing 2 packages"),
            "not done in 600 s .*timeoutSeconds.*installing 2 packages",
            None,
            id="late",
        ),
        pytest.param(
            replace(THERE, job=built(failed="X"), pods=[pod(build=ended("", code=137, reason="OOMKilled"))]),
            "more memory",
            None,
            id="memory",
        ),
        pytest.param(replace(THERE, job=built(failed="X")), "X: m", None, id="no word"),
        pytest.param(
            replace(THERE, job=built(complete=True), unusable="its build left no manifest"),
            "left no manifest",
            None,
            id="nothing usable",
        ),
    ],
)
def test_who_waited_for_a_build_fails_with_it(there, words, tail):
    wish = plan(there, status=BUILDING)
    assert wish.status["phase"] == "Failed"
    assert wish.status["environment"]["state"] == "Failed"
    assert wish.status["failure"]["reason"] == "EnvironmentBuildFailed"
    import re

    assert re.search(words, wish.status["failure"]["message"])
    assert wish.status["failure"].get("logTail") == tail


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(None, id="new"),
        pytest.param({"phase": "Pending"}, id="looked at before"),
        pytest.param(
            {"phase": "Preparing", "environment": {"hash": "c" * 64, "state": "Building"}}, id="waited for another one"
        ),
    ],
)
def test_who_comes_later_has_a_failed_build_removed_and_tried_anew(status):
    wish = plan(replace(THERE, job=built(failed="BackoffLimitExceeded")), status=status)
    (gone,) = wish.delete
    assert (gone.name, gone.uid) == (ENVIRONMENT.name, "build-uid")
    assert wish.create == ()
    assert wish.status is None


def test_a_run_whose_environment_is_there_gets_its_job_and_is_told_so():
    wish = plan(replace(THERE, record=PACKED), status=BUILDING)
    (job,) = wish.create
    assert job["metadata"]["annotations"] == {"trainyard.dev/environment-hash": ENVIRONMENT.hash}
    assert job["spec"]["template"]["spec"]["nodeSelector"] == {"kubernetes.io/arch": "arm64"}
    assert wish.status["environment"] == {**BUILDING["environment"], "state": "Ready"}
    assert conditions_of(wish.status)["EnvironmentReady"] == ("True", "EnvironmentReady")


@pytest.mark.parametrize(
    ("known", "annotations"),
    [
        pytest.param(
            {**BUILDING["environment"], "state": "Ready"},
            {"trainyard.dev/environment-hash": ENVIRONMENT.hash},
            id="packages",
        ),
        pytest.param({"hash": ENVIRONMENT.hash, "state": "Ready"}, None, id="of the image alone"),
    ],
)
def test_a_later_attempt_gets_what_the_first_one_got(known, annotations):
    attempts = [{"number": 1, "jobName": "run-a-1", "outcome": "Retried", "endTime": "2026-11-23T11:00:00Z"}]
    status = {"phase": "Pending", "attempt": 1, "attempts": attempts, "environment": known}
    (job,) = plan(None, status=status).create
    assert job["metadata"].get("annotations") == annotations


def test_a_run_whose_image_has_all_packages_needs_none():
    wish = plan(replace(THERE, record=EnvironmentRecord(hash=ENVIRONMENT.hash, pack=None), logs_uri=""))
    (job,) = wish.create
    assert "annotations" not in job["metadata"]
    assert wish.status["environment"] == {"hash": ENVIRONMENT.hash, "state": "Ready"}


def test_requirements_that_cannot_be_read_fail_the_run():
    wish = plan(Failure(reason=Reason.INVALID_SPEC, message="spec.environment.requirements: line 1 of r.txt is wrong"))
    assert wish.status["phase"] == "Failed"
    assert wish.status["failure"]["reason"] == "InvalidSpec"
    assert wish.create == ()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"annotations": {}}, id="no document"),
        pytest.param({"annotations": {"trainyard.dev/environment": "["}}, id="no JSON"),
        pytest.param({"annotations": {"trainyard.dev/environment": '{"image": "evil"}'}}, id="another document"),
        pytest.param({"name": "env-000000000000"}, id="another name"),
        pytest.param({"labels": {}}, id="no label"),
    ],
)
def test_a_job_that_is_not_what_its_name_says_is_no_build(change):
    job = built()
    job["metadata"] = {**job["metadata"], **change}
    assert environment_of(job) is None
