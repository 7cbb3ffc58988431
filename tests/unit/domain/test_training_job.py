"""The way of a run, as a table of situations and the next step in each."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.domain.builders import (
    NOW,
    PLACES,
    UID,
    job,
    model,
    pod,
    saved,
    termination,
    training_job,
    version,
    view,
)
from trainyard_operator.api.names import object_name
from trainyard_operator.domain.conditions import find
from trainyard_operator.domain.registry import allocate, version_key
from trainyard_operator.domain.run_view import ConfigMapSource, StoreTrouble
from trainyard_operator.domain.training_job import plan_training_job

MNIST = {"name": "sklearn_mnist", "path": "outputs/m.pkl"}
MODEL_OBJECT = object_name("sklearn_mnist")
KEY = version_key(run_uid=UID, model_name="sklearn_mnist", path="outputs/m.pkl")


def ready(status):
    return find(status, "Ready")


def step(parent, seen, *, now=NOW):
    """Plan once and return the plan with the parent as it then is."""
    plan = plan_training_job(parent, seen, now)
    after = {**parent, "status": plan.status} if plan.status is not None else parent
    return plan, after


def started(**spec):
    """Return a run whose Job was just made."""
    return step(training_job(**spec), view())[1]


def running(**spec):
    return step(started(**spec), view(job=job(), pods=[pod(running=True)]))[1]


def completed(**spec):
    return step(running(**spec), view(job=job(complete=True), pods=[pod(exit_code=0)], saved=saved("outputs/m.pkl")))[1]


def test_a_new_run_gets_one_job_and_one_status_write():
    plan, after = step(training_job(), view())
    assert [child["kind"] for child in plan.create] == ["Job"]
    assert after["status"]["phase"] == "Provisioning"
    assert after["status"]["jobName"] == plan.create[0]["metadata"]["name"] == "run-a-0f1e2d3c-1"
    assert plan.events == ()
    assert plan.requeue_after is None


def test_a_job_that_exists_already_is_not_made_again_after_a_crash_before_the_status_write():
    plan, after = step(training_job(), view(job=job()))
    assert plan.create == ()
    assert after["status"]["jobName"] == "run-a-0f1e2d3c-1"


@pytest.mark.parametrize(
    ("spec", "seen", "reason", "mentions"),
    [
        pytest.param(
            {"computeClusterRef": {"name": "lab"}}, {}, "ClusterNotFound", ["computeClusterRef", "lab"], id="no cluster"
        ),
        pytest.param(
            {"source": {"configMapRef": {"name": "code"}}},
            {"source": ConfigMapSource(files=None)},
            "SourceNotFound",
            ["configMapRef", "code"],
            id="no ConfigMap",
        ),
    ],
)
def test_a_run_waits_for_what_is_missing_and_says_what(spec, seen, reason, mentions):
    plan, after = step(training_job(**spec), view(**seen))
    assert plan.create == ()
    assert after["status"]["phase"] == "Pending"
    assert ready(after["status"])["reason"] == reason
    assert all(word in ready(after["status"])["message"] for word in mentions)
    assert [event.type for event in plan.events] == ["Warning"]
    assert plan.requeue_after
    again, _ = step(after, view(**seen))
    assert again.status is None
    assert again.events == ()


def test_a_waiting_run_starts_when_the_config_map_appears():
    waiting = step(training_job(source={"configMapRef": {"name": "code"}}), view(source=ConfigMapSource(files=None)))[1]
    plan, after = step(waiting, view(source=ConfigMapSource(files=frozenset({"train.py"}))))
    assert len(plan.create) == 1
    assert after["status"]["phase"] == "Provisioning"


def test_an_entry_script_that_the_config_map_lacks_fails_the_run_and_lists_what_is_there():
    seen = view(source=ConfigMapSource(files=frozenset({"main.py", "utils.py"})))
    plan, after = step(training_job(source={"configMapRef": {"name": "code"}}), seen)
    assert plan.create == ()
    assert after["status"]["failure"]["reason"] == "SourceInvalid"
    assert "main.py, utils.py" in after["status"]["failure"]["message"]


def test_an_invalid_spec_fails_once_with_the_field_and_makes_no_job():
    plan, after = step(training_job(entryScript="../x.py"), view())
    assert plan.create == ()
    assert after["status"]["phase"] == "Failed"
    assert after["status"]["failure"]["reason"] == "InvalidSpec"
    assert "entryScript" in after["status"]["failure"]["message"]
    assert step(after, view())[0] == step(after, view())[0]
    assert step(after, view())[0].status is None


@pytest.mark.parametrize(
    ("facts", "phase", "reason", "mentions"),
    [
        pytest.param({"node": None, "unschedulable": "0/1 nodes are available"}, "Provisioning", "Unschedulable", "0/1", id="unschedulable"),
        pytest.param({"waiting": ("ErrImagePull", "no such host")}, "Provisioning", "ImagePullFailed", "trainer:1", id="image"),
        pytest.param({"waiting": ("ImagePullBackOff", "back-off")}, "Provisioning", "ImagePullFailed", "trainer:1", id="image again"),
        pytest.param({"waiting": ("CreateContainerError", "no space left")}, "Provisioning", "ContainerNotStarting", "no space left", id="container"),
        pytest.param({"running": True}, "Running", "Running", "train.py", id="running"),
        pytest.param({"exit_code": 0}, "Finalizing", "SavingOutputs", "ended", id="ended"),
    ],
)  # fmt: skip
def test_the_pod_decides_phase_and_reason(facts, phase, reason, mentions):
    _, after = step(started(), view(job=job(), pods=[pod(**facts)]))
    assert after["status"]["phase"] == phase
    assert ready(after["status"])["reason"] == reason
    assert mentions in ready(after["status"])["message"]


def test_an_image_that_cannot_be_pulled_is_told_once_however_often_the_kubelet_tries():
    first = view(job=job(), pods=[pod(waiting=("ErrImagePull", "x"))], last_write=NOW)
    then = view(job=job(), pods=[pod(waiting=("ImagePullBackOff", "y"))], last_write=NOW)
    plan, after = step(started(), first)
    assert [event.reason for event in plan.events] == ["ImagePullFailed"]
    for minute in range(1, 4):
        again, after = step(after, then if minute % 2 else first, now=NOW + timedelta(minutes=minute))
        assert again.status is None
        assert again.events == ()


def test_metrics_reach_the_status_while_the_script_runs_but_not_with_a_write_for_each():
    live = {"state": "Running", "metrics": {"loss": 0.5}}
    seen = view(job=job(), pods=[pod(running=True)], live=live, last_write=NOW - timedelta(seconds=1))
    plan, _ = step(running(), seen)
    assert plan.status is None
    assert plan.requeue_after == pytest.approx(1)
    plan, after = step(running(), replace(seen, last_write=NOW - timedelta(seconds=2)))
    assert after["status"]["metrics"] == {"loss": 0.5}
    assert after["status"]["metricSummary"] == "loss=0.5"


def test_a_whole_run_costs_four_writes_and_three_events():
    parent, writes, events = training_job(models=[MNIST]), 0, []
    ending = pod(exit_code=0, termination=termination(metrics={"accuracy": 0.92}))
    done = saved("outputs/m.pkl", metrics={"accuracy": 0.92})
    for seen in [
        view(),
        view(job=job()),
        view(job=job(), pods=[pod(running=True)]),
        view(job=job(), pods=[pod(running=True)], live={"state": "Finalizing", "metrics": {"accuracy": 0.92}}),
        view(job=job(), pods=[ending]),
        view(job=job(complete=True), pods=[ending], saved=done),
        view(job=job(complete=True), pods=[ending], saved=done, models={MODEL_OBJECT: model(version(1, key=KEY, state="Pending"))}),
        view(job=job(complete=True), pods=[ending], saved=done, models={MODEL_OBJECT: model(version(1, key=KEY))}),
    ]:  # fmt: skip
        plan, parent = step(parent, replace(seen, last_write=NOW))
        writes += plan.status is not None
        events += [event.reason for event in plan.events]
    status = parent["status"]
    assert status["phase"] == "Completed"
    assert status["models"] == [
        {"name": "sklearn_mnist", "path": "outputs/m.pkl", "version": 1, "id": "sklearn_mnist:1", "uri": "s3://b/models/default/sklearn_mnist/1/"}
    ]  # fmt: skip
    assert status["metrics"] == {"accuracy": 0.92}
    assert status["outputs"] == {"uri": PLACES.outputs_uri(1), "files": 1, "bytes": 10, "manifestSha256": "f" * 64}
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Ready": "True", "Complete": "True", "OutputsSaved": "True", "ModelRegistered": "True",
    }  # fmt: skip
    assert [p["name"] for p in status["phases"]] == ["Provisioning", "Running", "Finalizing", "Completed"]
    assert events == ["Started", "Completed", "ModelRegistered"]
    assert writes == 4


def test_a_completed_run_plans_nothing_more():
    seen = view(job=job(complete=True), pods=[pod(exit_code=0)], saved=saved("outputs/m.pkl"))
    assert step(completed(), seen)[0] == step(completed(), view())[0]
    assert step(completed(), view())[0].status is None


@pytest.mark.parametrize(
    ("facts", "spec", "reason", "mentions"),
    [
        pytest.param(
            {"exit_code": 3, "termination": termination(reason="ScriptFailed", exitCode=3, message="train.py ended with exit code 3", logTail="boom")},
            {}, "ScriptFailed", "exit code 3", id="exit code"),
        pytest.param(
            {"exit_code": 137, "kubelet_reason": "OOMKilled"}, {"resources": {"limits": {"memory": "64Mi"}}},
            "OutOfMemory", "64Mi", id="killed with its cgroup"),
        pytest.param(
            {"exit_code": 137, "termination": termination(reason="OutOfMemory", exitCode=137, signal=9)},
            {"resources": {"limits": {"memory": "64Mi"}}}, "OutOfMemory", "64Mi", id="child killed for memory"),
        pytest.param({"exit_code": 139}, {}, "RunFailed", "killed by SIGSEGV: memory that is not its own", id="nothing said"),
        pytest.param(
            {"exit_code": 1, "in_prepare": True, "termination": termination(container="prepare", reason="InputNotFound", exitCode=1, message="nothing at mnist/")},
            {}, "InputNotFound", "nothing at mnist/", id="input"),
        pytest.param(
            {"exit_code": 1, "termination": termination(reason="Completed", exitCode=1)}, {}, "RunFailed", "exit code 1",
            id="a reason that no pod may claim"),
        pytest.param({"exit_code": 1, "termination": "{{{not json"}, {}, "RunFailed", "exit code 1", id="garbage"),
    ],
)  # fmt: skip
def test_a_failed_run_says_why(facts, spec, reason, mentions):
    plan, after = step(running(**spec), view(job=job(failed="BackoffLimitExceeded"), pods=[pod(**facts)]))
    failure = after["status"]["failure"]
    assert failure["reason"] == reason
    assert mentions in failure["message"]
    assert after["status"]["phase"] == "Failed"
    assert {c["type"]: c["status"] for c in after["status"]["conditions"]} == {
        "Ready": "False", "Failed": "True", "Stalled": "True", "OutputsSaved": "False",
    }  # fmt: skip
    assert [(event.type, event.reason) for event in plan.events] == [("Warning", reason)]
    assert step(after, view())[0].status is None


def test_a_failed_run_keeps_the_outputs_that_it_saved():
    ending = pod(exit_code=3, termination=termination(reason="ScriptFailed", exitCode=3, manifestSha256="f" * 64))
    seen = view(job=job(failed="BackoffLimitExceeded"), pods=[ending], saved=saved("outputs/half.bin"))
    _, after = step(running(), seen)
    assert after["status"]["phase"] == "Failed"
    assert after["status"]["outputs"]["files"] == 1


def test_a_job_deleted_under_a_run_fails_it_instead_of_training_twice():
    plan, after = step(running(), view())
    assert plan.create == ()
    assert after["status"]["failure"]["reason"] == "JobDeleted"


def test_outputs_that_cannot_be_read_back_are_waited_for_and_then_nothing_is_lost():
    ended = {"job": job(complete=True), "pods": [pod(exit_code=0)]}
    plan, after = step(running(), view(**ended, saved=StoreTrouble(message="no route to the store", final=False)))
    assert after["status"]["phase"] == "Finalizing"
    assert "no route to the store" in ready(after["status"])["message"]
    assert plan.requeue_after
    _, after = step(after, view(**ended, saved=saved("outputs/a")))
    assert after["status"]["phase"] == "Completed"


@pytest.mark.parametrize(
    ("found", "mentions"),
    [
        pytest.param(None, "no manifest", id="no manifest"),
        pytest.param(StoreTrouble(message="the manifest is not JSON", final=True), "not JSON", id="garbage"),
        pytest.param(saved("outputs/a", sha256="0" * 64), "not the one", id="not what the run wrote"),
    ],
)
def test_a_success_without_its_outputs_is_a_failure(found, mentions):
    ending = pod(exit_code=0, termination=termination(manifestSha256="f" * 64))
    _, after = step(running(), view(job=job(complete=True), pods=[ending], saved=found))
    assert after["status"]["failure"]["reason"] == "OutputsNotSaved"
    assert mentions in after["status"]["failure"]["message"]


@pytest.mark.parametrize(
    ("paths", "mentions"),
    [
        pytest.param(
            ["outputs/model.pkl", "outputs/plot.png"], "outputs/model.pkl, outputs/plot.png", id="other files"
        ),
        pytest.param([], "saved nothing", id="no files"),
        pytest.param(["outputs/m.pkl.bak/x"], "outputs/m.pkl.bak/x", id="a neighbour that begins alike"),
        pytest.param([f"outputs/{n:03}" for n in range(30)], "and 10 more", id="many files"),
    ],
)
def test_a_model_path_that_holds_nothing_fails_the_run_and_lists_the_files(paths, mentions):
    seen = view(job=job(complete=True), pods=[pod(exit_code=0)], saved=saved(*paths))
    plan, after = step(running(models=[MNIST]), seen)
    assert plan.register == ()
    assert after["status"]["failure"]["reason"] == "ModelPathNotFound"
    assert mentions in after["status"]["failure"]["message"]
    assert find(after["status"], "OutputsSaved")["status"] == "True"


def test_a_version_is_asked_for_with_the_digests_of_what_made_it():
    seen = view(
        job=job(complete=True), pods=[pod(exit_code=0)], saved=saved("outputs/m.pkl", metrics={"accuracy": 0.9})
    )
    plan, _ = step(running(models=[{**MNIST, "tags": {"data": "mnist"}}]), seen)
    assert [child["metadata"]["name"] for child in plan.create] == [MODEL_OBJECT]
    (request,) = plan.register
    assert request.key == KEY
    assert request.entry == {
        "run": {"name": "run-a", "uid": UID, "attempt": 1},
        "path": "outputs/m.pkl",
        "runManifestSha256": "f" * 64,
        "metrics": {"accuracy": 0.9},
        "tags": {"data": "mnist"},
        "sourceSha256": "5" * 64,
        "imageDigest": "sha256:" + "a" * 64,
    }


def test_a_model_version_that_failed_fails_the_run_with_its_words():
    bad = model(version(1, key=KEY, state="Failed", message="outputs/m.pkl changed after the run"))
    seen = view(
        job=job(complete=True), pods=[pod(exit_code=0)], saved=saved("outputs/m.pkl"), models={MODEL_OBJECT: bad}
    )
    _, after = step(running(models=[MNIST]), seen)
    assert after["status"]["failure"]["reason"] == "ModelNotRegistered"
    assert "changed after the run" in after["status"]["failure"]["message"]


def test_a_model_added_after_the_end_is_registered_and_the_run_stays_completed():
    parent = completed()
    parent["spec"]["models"] = [MNIST]
    plan, asked = step(parent, view(saved=saved("outputs/m.pkl")))
    assert len(plan.register) == 1
    assert asked["status"]["phase"] == "Completed"
    assert find(asked["status"], "ModelRegistered")["reason"] == "RegisteringModel"
    taken = allocate(model=model(), request=plan.register[0], now=NOW)["versions"][0]
    sealed = model({**taken, "state": "Ready", "uri": "s3://b/m/1/"})
    plan, after = step(asked, view(saved=saved("outputs/m.pkl"), models={MODEL_OBJECT: sealed}))
    assert after["status"]["models"][0]["id"] == "sklearn_mnist:1"
    assert find(after["status"], "ModelRegistered")["status"] == "True"
    assert [event.reason for event in plan.events] == ["ModelRegistered"]
    assert step(after, view())[0].status is None


def test_a_model_added_later_at_a_wrong_path_is_refused_and_the_run_stays_completed():
    parent = completed()
    parent["spec"]["models"] = [{"name": "m", "path": "outputs/none"}]
    _, after = step(parent, view(saved=saved("outputs/m.pkl")))
    assert after["status"]["phase"] == "Completed"
    assert "failure" not in after["status"]
    assert find(after["status"], "ModelRegistered")["reason"] == "ModelPathNotFound"
    assert step(after, view(saved=saved("outputs/m.pkl")))[0].status is None
