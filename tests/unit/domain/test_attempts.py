"""What follows from the end of an attempt: another one, or the run's end; and what stops one that goes on."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.unit.domain.builders import NOW, cluster, job, pod, pool, saved, termination, training_job, view
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.domain.conditions import find, timestamp
from trainyard_operator.domain.run_view import StoreTrouble
from trainyard_operator.domain.training_job import plan_training_job
from trainyard_operator.providers.choice import read_cluster

BROKEN = {"exit_code": 3, "termination": termination(reason="ScriptFailed", exitCode=3, message="exit code 3")}
LOST = {"exit_code": 143, "disrupted": "taint manager: deleting due to NoExecute taint", "deleting": True}
CATALOGUE = Catalogue.parse({"SMALL": {"cpu": "2", "memory": "8Gi"}})


def step(parent, seen, *, now=NOW):
    plan = plan_training_job(parent, seen, now)
    return plan, {**parent, "status": plan.status} if plan.status is not None else parent


def running(*, attempt=1, parent=None, **spec):
    """Return a run whose attempt runs."""
    if parent is None:
        parent = step(training_job(**spec), view())[1]
    return step(parent, view(job=job(attempt=attempt), pods=[pod(running=True)]))[1]


def failed(attempt=1, **facts):
    """Return what is seen of an attempt whose Job has failed."""
    reason = "PodFailurePolicy" if "disrupted" in facts else "BackoffLimitExceeded"
    return view(job=job(attempt=attempt, failed=reason), pods=[pod(**facts)] if facts else [])


def reason_of(parent):
    return find(parent["status"], "Ready")["reason"]


def test_a_failure_that_may_be_retried_is_written_down_first_and_the_next_attempt_comes_after_a_while():
    plan, after = step(running(retries=1), failed(**BROKEN))
    assert plan.create == ()
    assert plan.requeue_after == 0
    assert [(e.type, e.reason) for e in plan.events] == [("Warning", "Retrying")]
    status = after["status"]
    assert (status["phase"], reason_of(after), status["failures"]) == ("Pending", "Retrying", 1)
    (entry,) = status["attempts"]
    assert entry == {
        "number": 1, "jobName": "run-a-0f1e2d3c-1", "podName": "run-a-1", "nodeName": "node-0",
        "startTime": "2026-11-23T11:59:50Z", "endTime": timestamp(NOW), "reason": "ScriptFailed", "exitCode": 3,
        "message": "exit code 3",
    }  # fmt: skip
    assert "exit code 3" in find(status, "Ready")["message"]
    waiting, same = step(after, failed(**BROKEN), now=NOW + timedelta(seconds=4))
    assert (waiting.create, waiting.status, waiting.requeue_after) == ((), None, 6)
    plan, after = step(same, failed(**BROKEN), now=NOW + timedelta(seconds=10))
    assert [child["metadata"]["name"] for child in plan.create] == ["run-a-0f1e2d3c-2"]
    assert after["status"]["attempt"] == 2
    assert [entry["number"] for entry in after["status"]["attempts"]] == [1, 2]
    assert after["status"]["logs"]["uri"].endswith("/attempts/2/logs/")


def test_an_attempt_that_was_made_before_the_operator_died_is_not_made_again():
    between = step(running(retries=1), failed(**BROKEN))[1]
    plan, after = step(between, view(job=job(attempt=2)), now=NOW + timedelta(seconds=10))
    assert plan.create == ()
    assert after["status"]["attempt"] == 2


def test_a_run_that_succeeds_in_its_second_attempt_has_completed_with_that_attempts_outputs():
    parent = running(retries=1, models=[{"name": "m", "path": "outputs/m.pkl"}])
    parent = step(parent, failed(**BROKEN))[1]
    parent = step(parent, failed(**BROKEN), now=NOW + timedelta(seconds=10))[1]
    parent = running(attempt=2, parent=parent)
    done = view(job=job(attempt=2, complete=True), pods=[pod(exit_code=0)], saved=saved("outputs/m.pkl"))
    plan, after = step(parent, done)
    assert plan.register[0].entry["run"]["attempt"] == 2
    assert after["status"]["outputs"]["uri"].endswith("/attempts/2/outputs/")
    completed = step(running(attempt=2, parent={**parent, "spec": {**parent["spec"], "models": []}}), done)[1]
    assert completed["status"]["phase"] == "Completed"
    assert [(e["number"], e["reason"]) for e in completed["status"]["attempts"]] == [
        (1, "ScriptFailed"),
        (2, "Completed"),
    ]


def test_what_an_attempt_saved_is_not_taken_for_the_outputs_of_the_next_one():
    half = view(job=job(failed="BackoffLimitExceeded"), pods=[pod(**BROKEN)], saved=saved("outputs/half"))
    between = step(running(retries=1), half)[1]
    assert between["status"]["outputs"]["files"] == 1
    begun = step(between, half, now=NOW + timedelta(seconds=10))[1]
    assert "outputs" not in begun["status"]
    assert "podName" not in begun["status"]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_no_more_attempts_are_made_than_the_spec_allows_however_they_fail(retries):
    parent, now, made = step(training_job(retries=retries), view())[1], NOW, 1
    for attempt in range(1, 20):
        now += timedelta(seconds=1)
        parent = step(parent, failed(attempt, **BROKEN), now=now)[1]
        if parent["status"]["phase"] == "Failed":
            break
        now += timedelta(seconds=300)
        plan, parent = step(parent, failed(attempt, **BROKEN), now=now)
        made += len(plan.create)
    assert made == retries + 1
    assert parent["status"]["failure"]["reason"] == "ScriptFailed"
    assert ("spec.retries allows no further" in parent["status"]["failure"]["message"]) == (retries > 0)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        pytest.param(LOST, "NodeLost", id="drained"),
        pytest.param({**LOST, "disruption": "PreemptionByScheduler"}, "Preempted", id="preempted"),
        pytest.param({"phase": "Failed", "said": ("OutOfcpu", "no room on the node")}, "NodeLost", id="refused by its node"),
        pytest.param({}, "NodeLost", id="the pod is gone"),
        pytest.param({"exit_code": 143, "deleting": True}, "NodeLost", id="somebody deleted the pod"),
        pytest.param({**LOST, "in_prepare": True}, "NodeLost", id="while source and inputs were fetched"),
    ],
)  # fmt: skip
def test_losing_a_node_is_no_failure_and_the_run_goes_on_at_once_elsewhere(facts, reason):
    plan, after = step(running(), failed(**facts))
    assert after["status"]["attempts"][0]["reason"] == reason
    assert "failures" not in after["status"]
    assert after["status"]["disruptions"] == 1
    plan, after = step(after, failed(**facts))
    (made,) = plan.create
    affinity = made["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (wish,) = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    assert wish["preference"]["matchExpressions"][0]["values"] == ["node-0"]


def test_a_node_that_is_lost_again_and_again_ends_the_run_after_the_operators_own_bound():
    parent, now, made = step(training_job(), view())[1], NOW, 1
    for attempt in range(1, 40):
        parent = step(parent, failed(attempt, **LOST), now=now)[1]
        if parent["status"]["phase"] == "Failed":
            break
        now += timedelta(seconds=60)
        plan, parent = step(parent, failed(attempt, **LOST), now=now)
        made += len(plan.create)
    assert made == 21
    assert parent["status"]["failure"]["reason"] == "NodeLost"


def test_a_run_between_two_attempts_is_not_let_in():
    seen = view(cluster=cluster(), machines=read_cluster(cluster(), CATALOGUE))
    parent = step(training_job(retries=1, computeClusterRef={"name": "lab"}), seen)[1]
    assert find(parent["status"], "Admitted")["status"] == "True"
    parent = step(parent, failed(**BROKEN))[1]
    assert find(parent["status"], "Admitted") is None


def test_a_script_that_failed_before_its_node_went_away_has_failed():
    _, after = step(running(), failed(**{**LOST, **BROKEN}))
    assert after["status"]["failure"]["reason"] == "ScriptFailed"


def test_a_machine_that_its_owner_takes_back_is_a_preemption():
    machines = pool(vmPriority="LowPriority")
    seen = view(
        job=job(failed="PodFailurePolicy"),
        pods=[pod(**LOST)],
        cluster=machines,
        machines=read_cluster(machines, CATALOGUE),
    )
    _, after = step(running(computeClusterRef={"name": "lab"}), seen)
    assert after["status"]["attempts"][0]["reason"] == "Preempted"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        pytest.param(
            {"exit_code": 1, "in_prepare": True, "termination": termination(container="prepare", reason="InputNotFound")},
            "InputNotFound", id="an input that is not there"),
        pytest.param(
            {"exit_code": 1, "in_prepare": True, "termination": termination(container="prepare", reason="SourceInvalid")},
            "SourceInvalid", id="a source that cannot be used"),
    ],
)  # fmt: skip
def test_what_would_only_fail_again_is_not_retried(facts, reason):
    _, after = step(running(retries=5), failed(**facts))
    assert after["status"]["failure"]["reason"] == reason


@pytest.mark.parametrize(
    ("said", "words"),
    [
        pytest.param('Usage of EmptyDir volume "workspace" exceeds the limit "1Mi".', "workspace", id="a volume"),
        pytest.param("Pod ephemeral local storage usage exceeds the total limit of containers 10Mi.", "10Mi", id="all"),
    ],
)
def test_a_pod_evicted_for_its_own_disk_use_is_a_failure_in_words(said, words):
    _, after = step(running(), failed(phase="Failed", exit_code=137, said=("Evicted", said)))
    failure = after["status"]["failure"]
    assert failure["reason"] == "DiskFull"
    assert words in failure["message"]
    assert "ephemeral-storage" in failure["message"]


def test_a_thousand_attempts_leave_a_status_of_bounded_size():
    long = termination(reason="ScriptFailed", exitCode=3, message="x" * 2000, logTail="y" * 2048)
    parent = step(training_job(), view())[1]
    for attempt in range(1, 1001):
        facts = {"exit_code": 3, "termination": long, "disrupted": "x" * 2000}
        parent = step(parent, failed(attempt, **facts))[1]
        parent["status"]["phase"] = "Pending"
        parent["status"]["failures"] = 0
        again = {"number": attempt + 1, "jobName": f"run-a-{attempt + 1}"}
        parent["status"] |= {"attempt": attempt + 1, "attempts": [*parent["status"]["attempts"], again]}
    assert len(json.dumps(parent["status"]).encode()) < 32 << 10
    numbers = [entry["number"] for entry in parent["status"]["attempts"]]
    assert numbers[0] == 1
    assert numbers[-2:] == [1000, 1001]
    assert len(numbers) <= 6


START = {"let_in": timestamp(NOW)}


@pytest.mark.parametrize(
    ("spec", "facts", "reason", "words"),
    [
        pytest.param({"startTimeoutSeconds": 60}, {"waiting": ("ErrImagePull", "x")}, "ImagePullFailed", "spec.startTimeoutSeconds: the image trainer:1 cannot be pulled", id="image"),
        pytest.param({"startTimeoutSeconds": 60}, {"node": None, "unschedulable": "0/1 nodes"}, "Unschedulable", "spec.startTimeoutSeconds: no node can take", id="no node"),
        pytest.param({"startTimeoutSeconds": 60}, {"preparing": True}, "StartTimeout", "source and inputs", id="slow inputs"),
        pytest.param({"runTimeoutSeconds": 60}, {"running": True}, "RunTimeout", "60 s of spec.runTimeoutSeconds", id="running"),
    ],
)  # fmt: skip
def test_a_run_that_takes_longer_than_it_may_is_stopped_and_has_failed(spec, facts, reason, words):
    parent = step(training_job(**spec), view())[1]
    going = view(job=job(**START), pods=[pod(**facts)])
    plan, parent = step(parent, going, now=NOW + timedelta(seconds=30))
    assert plan.patch == ()
    assert 0 < plan.requeue_after <= 30
    plan, parent = step(parent, going, now=NOW + timedelta(seconds=60))
    (stop,) = plan.patch
    assert stop.body == {"metadata": {"annotations": {"trainyard.dev/stopped": reason}}, "spec": {"suspend": True}}
    assert reason_of(parent) == reason
    gone = view(job=job(stopped=reason), saved=saved("outputs/half"))
    _, parent = step(parent, gone, now=NOW + timedelta(seconds=70))
    failure = parent["status"]["failure"]
    assert (parent["status"]["phase"], failure["reason"]) == ("Failed", reason)
    assert words in failure["message"]
    assert parent["status"]["outputs"]["files"] == 1
    assert parent["status"]["attempts"][0]["reason"] == reason


def test_a_run_whose_stop_was_noted_and_not_yet_told_says_both_why_it_waited_and_for_how_long():
    spec, stuck = {"startTimeoutSeconds": 60}, pod(waiting=("ErrImagePull", "x"))
    parent = step(training_job(**spec), view(job=job(**START), pods=[stuck]), now=NOW + timedelta(seconds=30))[1]
    assert reason_of(parent) == "ImagePullFailed"
    gone = view(job=job(stopped="ImagePullFailed"))
    said = step(parent, gone, now=NOW + timedelta(seconds=70))[1]["status"]["failure"]["message"]
    assert said.startswith("the script had not started in the 60 s of spec.startTimeoutSeconds: the image trainer:1")


def test_the_time_in_a_queue_and_the_time_of_saving_count_for_nothing():
    parent = step(training_job(startTimeoutSeconds=1, computeClusterRef={"name": "lab"}), view(cluster=cluster(), machines=read_cluster(cluster(), CATALOGUE)))[1]  # fmt: skip
    plan, _ = step(parent, view(job=job(suspended=True, let_in=timestamp(NOW - timedelta(hours=1)))))
    assert plan.patch == ()
    late = view(job=job(), pods=[pod(running=True)], live={"state": "Finalizing", "metrics": {}})
    assert step(running(runTimeoutSeconds=1), late, now=NOW + timedelta(hours=1))[0].patch == ()


def test_a_run_is_suspended_and_goes_on_with_another_attempt():
    parent = running()
    parent["spec"]["suspend"] = True
    plan, parent = step(parent, view(job=job(), pods=[pod(running=True)]))
    assert plan.patch[0].body["metadata"]["annotations"] == {"trainyard.dev/stopped": "Suspended"}
    assert (parent["status"]["phase"], reason_of(parent)) == ("Finalizing", "Suspending")
    plan, parent = step(parent, view(job=job(stopped="Suspended"), pods=[pod(running=True, deleting=True)]))
    assert plan.patch == ()
    gone = view(job=job(stopped="Suspended"), saved=saved("outputs/half"))
    plan, parent = step(parent, gone)
    assert (parent["status"]["phase"], reason_of(parent)) == ("Pending", "Suspended")
    assert find(parent["status"], "Suspended")["status"] == "True"
    assert find(parent["status"], "Reconciling") is None
    assert parent["status"]["attempts"][0]["reason"] == "Suspended"
    assert "failures" not in parent["status"]
    assert step(parent, gone)[0].create == ()
    parent["spec"]["suspend"] = False
    plan, parent = step(parent, gone)
    assert [child["metadata"]["name"] for child in plan.create] == ["run-a-0f1e2d3c-2"]
    assert find(parent["status"], "Suspended") is None


def test_a_run_that_is_suspended_from_the_start_makes_no_job_until_it_may_go_on():
    plan, parent = step(training_job(suspend=True), view())
    assert plan.create == ()
    assert reason_of(parent) == "Suspended"
    parent["spec"]["suspend"] = False
    assert len(step(parent, view())[0].create) == 1


def test_a_run_that_is_suspended_in_a_queue_keeps_its_job_for_later():
    parent = step(training_job(computeClusterRef={"name": "lab"}), view(cluster=cluster(), machines=read_cluster(cluster(), CATALOGUE)))[1]  # fmt: skip
    parent["spec"]["suspend"] = True
    plan, parent = step(parent, view(job=job(suspended=True)))
    assert plan.patch == ()
    assert find(parent["status"], "Suspended")["status"] == "True"
    assert "endTime" not in parent["status"]["attempts"][0]


def test_a_suspension_that_is_taken_back_while_the_script_stops_is_carried_out_first():
    plan, parent = step(running(), view(job=job(stopped="Suspended"), pods=[pod(running=True, deleting=True)]))
    assert plan.patch == ()
    assert reason_of(parent) == "Suspending"
    _, parent = step(parent, view(job=job(stopped="Suspended")))
    assert len(step(parent, view(job=job(stopped="Suspended")))[0].create) == 1


@pytest.mark.parametrize("stopped", [None, "Suspended", "RunTimeout"])
def test_canceling_wins_over_every_other_reason_to_stop(stopped):
    parent = running()
    parent["spec"]["cancel"] = True
    _, after = step(parent, view(job=job(stopped=stopped or "Canceled"), saved=saved("outputs/m")))
    assert after["status"]["phase"] == "Canceled"
    assert after["status"]["attempts"][0]["reason"] == "Canceled"


def test_a_run_that_is_canceled_in_a_queue_has_an_attempt_that_has_ended():
    seen = view(cluster=cluster(), machines=read_cluster(cluster(), CATALOGUE))
    parent = step(training_job(computeClusterRef={"name": "lab"}), seen)[1]
    parent["spec"]["cancel"] = True
    _, after = step(parent, view(job=job(suspended=True)))
    assert after["status"]["phase"] == "Canceled"
    assert after["status"]["attempts"][0]["reason"] == "Canceled"


def test_a_run_that_is_canceled_between_two_attempts_makes_no_other_one():
    parent = step(running(retries=3), failed(**BROKEN))[1]
    parent["spec"]["cancel"] = True
    plan, after = step(parent, failed(**BROKEN), now=NOW + timedelta(minutes=1))
    assert plan.create == ()
    assert after["status"]["phase"] == "Canceled"


def test_a_pod_whose_node_does_not_answer_is_given_up_and_another_attempt_begins():
    stuck = pod(running=True, deleting=True, deletion=timestamp(NOW), disrupted="node unreachable")
    plan, parent = step(running(), view(job=job(), pods=[stuck]), now=NOW + timedelta(seconds=10))
    assert (plan.patch, plan.requeue_after) == ((), 20)
    plan, parent = step(parent, view(job=job(), pods=[stuck]), now=NOW + timedelta(seconds=30))
    assert plan.patch[0].body["metadata"]["annotations"] == {"trainyard.dev/stopped": "NodeLost"}
    given_up = view(job=job(stopped="NodeLost"), pods=[stuck])
    _, parent = step(parent, given_up, now=NOW + timedelta(seconds=31))
    assert parent["status"]["disruptions"] == 1
    assert len(step(parent, given_up, now=NOW + timedelta(seconds=32))[0].create) == 1


def test_a_stopped_run_waits_for_the_store_before_it_says_what_was_saved():
    away = view(job=job(stopped="RunTimeout"), saved=StoreTrouble(message="no route", final=False))
    plan, after = step(running(runTimeoutSeconds=1), away, now=NOW + timedelta(hours=1))
    assert after["status"]["phase"] == "Finalizing"
    assert plan.requeue_after


def test_an_object_that_is_being_deleted_gets_no_children():
    parent = training_job()
    parent["metadata"] |= {"deletionTimestamp": timestamp(NOW), "finalizers": ["foregroundDeletion"]}
    assert step(parent, view())[0].create == ()
