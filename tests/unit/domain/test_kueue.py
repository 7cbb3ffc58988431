"""A run that has Kueue's label: what is made for Kueue, what is said while it decides, and how such a run is stopped."""

from __future__ import annotations

import pytest

from tests.unit.domain.builders import NOW, job, pod, pool, saved, training_job, view
from trainyard_operator.api.names import COMPUTE_CLUSTER_LABEL
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.domain import kueue
from trainyard_operator.domain.conditions import find
from trainyard_operator.domain.training_job import plan_training_job
from trainyard_operator.providers.choice import read_cluster

QUEUE = "kueue.x-k8s.io/queue-name"
PRIORITY = "kueue.x-k8s.io/priority-class"
CATALOGUE = Catalogue.parse({"SMALL": {"cpu": "2", "memory": "8Gi"}})
FULL = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor default, 1 more needed"


def handed(labels=None, **over):
    """Return a run that asks for Kueue's queue `team`."""
    run = training_job(**over)
    run["metadata"]["labels"] = {QUEUE: "team"} if labels is None else labels
    return run


def child(**over):
    """Return the Job of such a run."""
    found = job(**over)
    found["metadata"]["labels"] |= {QUEUE: "team"}
    return found


def workload(*, active=True, checks=(), **conditions):
    """Return Kueue's Workload; each of `conditions` is a pair of its status and its message."""
    said = [{"type": name, "status": status, "message": message} for name, (status, message) in conditions.items()]
    status = {"conditions": said, **({"admissionChecks": list(checks)} if checks else {})}
    return {"metadata": {"name": "job-run-a", "namespace": "default"}, "spec": {"active": active}, "status": status}


def step(parent, seen):
    plan = plan_training_job(parent, seen, NOW)
    return plan, {**parent, "status": plan.status if plan.status is not None else parent.get("status", {})}


def ready(run):
    return find(run["status"], "Ready")


def started(**over):
    return step(handed(**over), view())[1]


def test_its_job_is_made_suspended_with_the_labels_and_waits_for_kueue():
    plan, after = step(handed({QUEUE: "team", PRIORITY: "high", "other": "label"}), view())
    (made,) = plan.create
    assert made["spec"]["suspend"] is True
    assert made["metadata"]["labels"].items() >= {QUEUE: "team", PRIORITY: "high"}.items()
    assert "other" not in made["metadata"]["labels"]
    assert not [name for name in made["spec"]["template"]["metadata"]["labels"] if "kueue" in name]
    assert after["status"]["phase"] == "Queued"
    assert ready(after)["reason"] == "WaitingForKueue"
    assert "queue team" in ready(after)["message"]
    assert find(after["status"], "Admitted")["status"] == "False"
    assert "queue" not in after["status"]


def test_on_a_compute_cluster_its_pod_goes_where_every_run_of_the_cluster_goes():
    obj = pool(status={"provisioningState": "Succeeded"})
    run = handed(computeClusterRef={"name": "lab"})
    plan, after = step(run, view(cluster=obj, machines=read_cluster(obj, CATALOGUE)))
    (made,) = plan.create
    assert made["spec"]["suspend"] is True
    assert made["spec"]["template"]["spec"]["nodeSelector"]
    assert made["metadata"]["labels"][COMPUTE_CLUSTER_LABEL] == "lab"
    assert ready(after)["reason"] == "WaitingForKueue"


def test_a_priority_alone_hands_nothing_over():
    plan, _ = step(handed({PRIORITY: "high"}), view())
    assert plan.create[0]["spec"]["suspend"] is False
    assert PRIORITY not in plan.create[0]["metadata"]["labels"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        pytest.param({QUEUE: "My_Queue"}, [QUEUE, "My_Queue", "LocalQueue"], id="capitals"),
        pytest.param({QUEUE: ""}, [QUEUE, "LocalQueue"], id="empty"),
        pytest.param({QUEUE: "team", PRIORITY: "High"}, [PRIORITY, "WorkloadPriorityClass"], id="priority"),
    ],
)
def test_a_label_that_names_nothing_fails_the_run_and_is_named(labels, words):
    plan, after = step(handed(labels), view())
    assert plan.create == ()
    assert after["status"]["failure"]["reason"] == "InvalidSpec"
    assert all(word in after["status"]["failure"]["message"] for word in words)


@pytest.mark.parametrize(
    ("why", "words"),
    [
        pytest.param(kueue.SWITCHED_OFF, "kueue.enabled", id="switched off"),
        pytest.param(kueue.NOT_INSTALLED, "install Kueue", id="not installed"),
    ],
)
def test_where_nobody_follows_kueue_no_job_is_made_and_it_says_what_to_do(why, words):
    plan, after = step(handed(), view(no_kueue=why))
    assert plan.create == ()
    assert after["status"]["phase"] == "Pending"
    assert ready(after)["reason"] == "KueueNotFound"
    assert words in ready(after)["message"]
    assert [event.type for event in plan.events] == ["Warning"]
    plan, after = step(after, view())
    assert len(plan.create) == 1
    assert after["status"]["phase"] == "Queued"


def test_a_run_that_has_its_job_is_told_when_kueue_is_not_followed_any_more():
    after = step(started(), view(job=child(suspended=True), no_kueue=kueue.SWITCHED_OFF))[1]
    assert (after["status"]["phase"], ready(after)["reason"]) == ("Queued", "KueueNotFound")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        pytest.param(None, ["not taken up", "kubectl describe job run-a-"], id="no Workload"),
        pytest.param(workload(), ["waits for its turn"], id="nothing said"),
        pytest.param(workload(QuotaReserved=("False", FULL)), [FULL], id="no quota"),
        pytest.param(
            workload(QuotaReserved=("False", FULL), Evicted=("True", "Preempted to accommodate x")),
            [FULL],
            id="evicted, and no quota by now",
        ),
        pytest.param(
            workload(QuotaReserved=("True", "Quota reserved"), Evicted=("True", "Preempted to accommodate x")),
            ["Preempted to accommodate x"],
            id="being evicted",
        ),
        pytest.param(
            workload(
                QuotaReserved=("True", "Quota reserved"),
                checks=[
                    {"name": "nodes", "state": "Pending", "message": "no capacity"},
                    {"name": "b", "state": "Ready"},
                ],
            ),
            ["nodes: no capacity"],
            id="an admission check",
        ),
        pytest.param(
            workload(QuotaReserved=("True", "Quota reserved"), Admitted=("True", "admitted")),
            ["about to start"],
            id="let in",
        ),
        pytest.param(
            workload(active=False, Evicted=("True", "The workload is deactivated")),
            ["The workload is deactivated", "spec.active", "job-run-a"],
            id="deactivated",
        ),
    ],
)
def test_while_its_job_is_suspended_it_says_what_kueue_says(found, words):
    after = step(started(), view(job=child(suspended=True), workload=found))[1]
    assert after["status"]["phase"] == "Queued"
    assert ready(after)["reason"] == "WaitingForKueue"
    assert all(word in ready(after)["message"] for word in words)


def test_kueue_lets_it_in_and_takes_it_back_and_nothing_fails():
    waiting = step(started(), view(job=child(suspended=True), workload=workload(QuotaReserved=("False", FULL))))[1]
    let_in = step(waiting, view(job=child(), workload=workload(), pods=[pod(running=True)]))[1]
    assert let_in["status"]["phase"] == "Running"
    assert find(let_in["status"], "Admitted")["message"] == "Kueue has let the run in"
    evicted = workload(QuotaReserved=("False", "Preempted to accommodate x"), Evicted=("True", "Preempted"))
    plan, back = step(let_in, view(job=child(suspended=True), workload=evicted))
    assert plan.patch == ()
    assert back["status"]["phase"] == "Queued"
    assert "Preempted to accommodate x" in ready(back)["message"]
    assert find(back["status"], "Admitted")["status"] == "False"
    again = step(back, view(job=child(), workload=workload(), pods=[pod(name="second", running=True)]))[1]
    assert again["status"]["phase"] == "Running"


def test_a_label_that_comes_after_the_job_changes_nothing():
    going = step(training_job(), view())[1]
    going["metadata"]["labels"] = {QUEUE: "team"}
    after = step(going, view(job=job(), pods=[pod(running=True)], no_kueue=kueue.SWITCHED_OFF))[1]
    assert after["status"]["phase"] == "Running"


NOTE = {"metadata": {"annotations": {"trainyard.dev/stopped": "Canceled"}}}


def canceled(**over):
    run = started()
    run["spec"]["cancel"] = True
    return step(run, view(**over))


def test_a_running_one_is_stopped_by_its_workload_and_never_by_its_job():
    admitted = {"QuotaReserved": ("True", "Quota reserved"), "Admitted": ("True", "")}
    plan, stopping = canceled(job=child(), workload=workload(**admitted), pods=[pod(running=True)])
    note, patch = plan.patch
    assert note.body == NOTE
    assert (patch.kind.kind, patch.name, patch.body) == ("Workload", "job-run-a", {"spec": {"active": False}})
    assert ready(stopping)["reason"] == "Canceling"
    told = workload(active=False, **admitted)
    noted = child(stopped="Canceled")
    plan, stopping = step(stopping, view(job={**noted, "spec": {}}, workload=told, pods=[pod(running=True)]))
    assert plan.patch == ()
    plan, stopping = step(stopping, view(job=noted, workload=told))
    assert (plan.patch, stopping["status"]["phase"]) == ((), "Finalizing")
    gone = workload(active=False, QuotaReserved=("False", ""), Evicted=("True", "deactivated"))
    plan, ended = step(stopping, view(job=noted, workload=gone, saved=saved("outputs/m.pkl")))
    assert (plan.patch, ended["status"]["phase"]) == ((), "Canceled")
    assert ended["status"]["outputs"]["files"] == 1


def test_a_waiting_one_is_taken_out_of_kueues_queue():
    plan, stopping = canceled(job=child(suspended=True), workload=workload(QuotaReserved=("False", FULL)))
    assert [patch.body for patch in plan.patch] == [NOTE, {"spec": {"active": False}}]
    told = workload(active=False, QuotaReserved=("False", FULL))
    assert step(stopping, view(job=child(stopped="Canceled"), workload=told))[1]["status"]["phase"] == "Canceled"


def test_a_canceled_one_is_never_started_by_a_new_workload():
    ended = handed(status={"phase": "Canceled", "conditions": []})
    plan = plan_training_job(ended, view(job=child(stopped="Canceled"), workload=workload()), NOW)
    assert [patch.body for patch in plan.patch] == [{"spec": {"active": False}}]
    assert plan.status is None
    told = view(job=child(stopped="Canceled"), workload=workload(active=False))
    assert plan_training_job(ended, told, NOW).patch == ()


def test_one_that_kueue_has_not_taken_up_is_taken_away_from_it():
    plan, stopping = canceled(job=child(suspended=True))
    (patch,) = plan.patch
    assert patch.kind.kind == "Job"
    assert patch.body == {"metadata": {"labels": {QUEUE: None}, **NOTE["metadata"]}, "spec": {"suspend": True}}
    assert step(stopping, view(job=job(stopped="Canceled")))[1]["status"]["phase"] == "Canceled"


def test_one_that_is_suspended_is_taken_out_of_kueues_queue_and_goes_back_with_its_next_attempt():
    run = started()
    run["spec"]["suspend"] = True
    plan, run = step(run, view(job=child(suspended=True), workload=workload(QuotaReserved=("False", FULL))))
    assert [patch.kind.kind for patch in plan.patch] == ["Job", "Workload"]
    told = view(job=child(stopped="Suspended"), workload=workload(active=False, QuotaReserved=("False", FULL)))
    run = step(run, told)[1]
    assert find(run["status"], "Suspended")["status"] == "True"
    # Kueue may take up a Job anew that it has been told to leave alone.
    again = view(job=child(stopped="Suspended"), workload=workload())
    assert [patch.body for patch in step(run, again)[0].patch] == [{"spec": {"active": False}}]
    run["spec"]["suspend"] = False
    (made,) = step(run, told)[0].create
    assert made["metadata"]["name"].endswith("-2")
    assert (made["metadata"]["labels"][QUEUE], made["spec"]["suspend"]) == ("team", True)
