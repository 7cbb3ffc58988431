"""What a cluster's gate says to a run, and what a run does while it waits, is let in, or is stopped."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.domain.builders import NOW, cluster, job, pod, pool, saved, training_job, view
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.admission import Gate, Standing, demand_of, entry_of, gate_of
from trainyard_operator.domain.conditions import find
from trainyard_operator.domain.queueing import Demand, Estimate, Place, Queue
from trainyard_operator.domain.training_job import plan_training_job
from trainyard_operator.providers.choice import read_cluster

CATALOGUE = Catalogue.parse({"SMALL": {"cpu": "2", "memory": "8Gi"}})
IN_LAB = {"computeClusterRef": {"name": "lab"}}
STOPPED = {"metadata": {"annotations": {"trainyard.dev/stopped": "Canceled"}}, "spec": {"suspend": True}}
QUEUED = Gate(
    open=False,
    reason=Reason.WAITING_FOR_TURN,
    message="3 of 9 in the queue of lab",
    place=Place(position=3, pending=9),
    estimate=Estimate(earliest=NOW, likely=NOW + timedelta(minutes=5)),
)
READY = {"provisioningState": "Succeeded", "conditions": [{"type": "Ready", "status": "True", "reason": "NodesReady"}]}


def entry(annotations=None, **spec):
    parent = training_job(**IN_LAB, **spec)
    made = {"metadata": {"name": "j", "annotations": annotations or {}}, "status": {}}
    return entry_of(parent, made, spec=TrainingJobSpec.parse(parent["spec"]), defaults={})


def gate(obj=None, *, waits=False, place=None, admitted=(), waiting=(), **run):
    obj = obj or pool(status=READY)
    queue = Queue(waiting=list(waiting), admitted={e.uid: e for e in admitted})
    standing = Standing(entry=entry(**run), queue=queue, waits=waits, place=place)
    return gate_of(obj=obj, cluster=read_cluster(obj, CATALOGUE), standing=standing, now=NOW)


def other(name="other"):
    return replace(entry(), uid=name, name=name)


STUCK = {
    "provisioningState": "Failed",
    "conditions": [{"type": "Ready", "status": "False", "reason": "PoolNotReady", "message": "NodeClassNotFound"}],
}
BACK_OFF = {"trainyard.dev/admission-back-off": '{"times": 1, "until": "2026-11-23T12:00:30Z"}'}


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        pytest.param(gate(pool(status={"provisioningState": "Creating"})), "NodesPreparing", ["created"], id="new"),
        pytest.param(gate(pool(status=STUCK)), "ClusterNotReady", ["lab", "NodeClassNotFound"], id="stuck"),
        pytest.param(
            gate(pool(status=READY, queue={"paused": True})), "QueuePaused", ["spec.queue.paused"], id="paused"
        ),
        pytest.param(gate(pool(status=READY, max_nodes=0)), "ExceedsClusterSize", ["maxNodes"], id="no nodes"),
        pytest.param(gate(pool(status=READY, deleting=True)), "ClusterDeleting", ["lab"], id="being deleted"),
        pytest.param(
            gate(resources={"requests": {"cpu": "3"}}),
            "ExceedsClusterSize",
            ["spec.resources.requests", "3 CPU", "SMALL", "2 CPU"],
            id="larger than a node",
        ),
        pytest.param(
            gate(pool(status=READY, max_nodes=1), waits=True, place=Place(position=1, pending=4), admitted=[other()]),
            "WaitingForSlot",
            ["next run of lab"],
            id="first",
        ),
        pytest.param(gate(waits=True, place=Place(position=2, pending=4)), "WaitingForTurn", ["2 of 4"], id="second"),
        pytest.param(gate(waits=True), "WaitingForTurn", ["behind the first 50"], id="far behind"),
        pytest.param(
            gate(waits=True, place=Place(position=1, pending=1), annotations=BACK_OFF),
            "ProvisioningTimeout",
            ["keeps its place", "2026-11-23T12:00:30Z"],
            id="no node came",
        ),
    ],
)
def test_one_reason_for_every_run_that_waits(said, reason, words):
    assert said.open is False
    assert said.reason == reason
    assert all(word in said.message for word in words), said.message


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(gate(), id="a free slot"),
        pytest.param(gate(cluster(status=READY), admitted=[other()]), id="no limit"),
        pytest.param(gate(pool(status=READY, max_nodes=2), admitted=[other()]), id="one of two slots"),
    ],
)
def test_a_run_that_finds_a_slot_passes(said):
    assert said.open


@pytest.mark.parametrize(
    ("requests", "limits", "defaults", "demand"),
    [
        pytest.param({}, {}, {"cpu": "500m", "memory": "512Mi"}, Demand(cpu=500, memory=2**29), id="defaults"),
        pytest.param(
            {"cpu": "1"}, {}, {"cpu": "500m", "memory": "512Mi"}, Demand(cpu=1000), id="requests replace them"
        ),
        pytest.param({}, {"cpu": "2"}, {"memory": "1Gi"}, Demand(cpu=2000, memory=2**30), id="a limit is a request"),
        pytest.param({"cpu": "1"}, {"cpu": "2"}, {}, Demand(cpu=1000), id="a request before a limit"),
    ],
)
def test_what_a_run_asks_of_a_node(requests, limits, defaults, demand):
    assert demand_of(requests, limits, defaults) == demand


@pytest.mark.parametrize("note", ["", "x", "[]", '{"until": 3}', '{"times": "x"}'])
def test_an_annotation_that_somebody_else_wrote_is_no_back_off(note):
    assert entry({"trainyard.dev/admission-back-off": note}).not_before is None


def seen(said, **over):
    obj = pool(status=READY)
    return view(cluster=obj, machines=read_cluster(obj, CATALOGUE), gate=said, **over)


def step(parent, looking):
    plan = plan_training_job(parent, looking, NOW)
    return plan, {**parent, "status": plan.status} if plan.status is not None else parent


def run(**spec):
    return training_job(**IN_LAB, **spec)


def test_a_run_that_must_wait_gets_a_suspended_job_and_its_place():
    plan, after = step(run(), seen(QUEUED))
    (made,) = plan.create
    assert made["spec"]["suspend"] is True
    assert after["status"]["phase"] == "Queued"
    assert after["status"]["queue"] == {
        "position": 3,
        "pending": 9,
        "estimatedStart": {"earliest": "2026-11-23T12:00:00Z", "likely": "2026-11-23T12:05:00Z"},
    }
    assert find(after["status"], "Admitted")["status"] == "False"
    assert plan.events == ()


def test_a_run_that_finds_a_slot_is_made_running_with_no_extra_write():
    plan, after = step(run(), seen(Gate(open=True)))
    assert plan.create[0]["spec"]["suspend"] is False
    assert after["status"]["phase"] == "Provisioning"
    assert find(after["status"], "Admitted")["status"] == "True"
    assert "queue" not in after["status"]


@pytest.mark.parametrize(
    ("position", "seconds"),
    [
        pytest.param(3, 3, id="near"),
        pytest.param(4, 30, id="among the first ten"),
        pytest.param(11, 60, id="behind them"),
        pytest.param(50, 150, id="the last one that is told"),
    ],
)
def test_the_further_behind_a_run_is_the_later_its_place_is_written(position, seconds):
    waiting = step(run(), seen(QUEUED))[1]
    gate_now = replace(QUEUED, place=Place(position=position, pending=60))
    looking = replace(seen(gate_now, job=job(suspended=True)), last_write=NOW)
    soon, late = NOW + timedelta(seconds=seconds - 1), NOW + timedelta(seconds=seconds)
    assert plan_training_job(waiting, looking, soon).requeue_after == 1
    assert plan_training_job(waiting, looking, late).status["queue"]["position"] == position


def test_its_pod_goes_to_the_pool_holds_its_slot_and_stays_on_its_node():
    template = step(run(), seen(Gate(open=True)))[0].create[0]["spec"]["template"]
    assert template["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true"
    assert template["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    (value,) = template["spec"]["nodeSelector"].values()
    assert template["spec"]["tolerations"][0]["value"] == value
    # Two of them fit on no node of two cores, and what the script asks for is as its author wrote it.
    assert template["spec"]["initContainers"][0]["resources"]["requests"]["cpu"] == "1001m"
    assert template["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "500m", "memory": "512Mi"}


def test_a_run_that_is_let_in_forgets_its_place():
    waiting = step(run(), seen(QUEUED))[1]
    after = step(waiting, seen(None, job=job()))[1]
    assert after["status"]["phase"] == "Provisioning"
    assert "queue" not in after["status"]
    assert [p["name"] for p in after["status"]["phases"]] == ["Queued", "Provisioning"]


def test_a_run_that_is_let_in_before_its_job_shows_it_misses_no_cluster():
    waiting = step(run(), seen(QUEUED))[1]
    plan, after = step(waiting, seen(None, job=job(suspended=True)))
    assert (after["status"]["phase"], find(after["status"], "Ready")["reason"]) == ("Provisioning", "PodPending")
    assert plan.events == ()


def test_a_run_whose_cluster_is_gone_says_so():
    waiting = step(run(), seen(QUEUED))[1]
    after = step(waiting, view(job=job(suspended=True)))[1]
    assert (after["status"]["phase"], find(after["status"], "Ready")["reason"]) == ("Queued", "ClusterNotFound")


def test_an_estimate_that_was_given_stays_while_the_place_is_the_same():
    waiting = step(run(), seen(QUEUED))[1]
    moved = replace(QUEUED, estimate=Estimate(earliest=NOW, likely=NOW + timedelta(minutes=6)))
    assert step(waiting, seen(moved, job=job(suspended=True)))[0].status is None


@pytest.mark.parametrize(
    ("errors", "reason", "words"),
    [
        pytest.param([], "NodesPreparing", "1 of 2 nodes are ready", id="a node is on its way"),
        pytest.param(
            [{"code": "InsufficientCapacity", "message": "sold out", "lastTime": "2026-11-23T12:00:00Z"}],
            "InsufficientCapacity",
            "sold out",
            id="sold out",
        ),
        pytest.param(
            [{"code": "InsufficientCapacity", "message": "sold out", "lastTime": "2026-11-23T11:00:00Z"}],
            "NodesPreparing",
            "1 of 2 nodes are ready",
            id="what was said of an earlier run",
        ),
        pytest.param(
            [{"code": "Unschedulable", "message": "no type fits", "lastTime": "2026-11-23T12:00:00Z"}],
            "Unschedulable",
            "no type fits",
            id="no machine would do",
        ),
    ],
)
def test_a_pod_without_a_node_says_what_its_pool_says(errors, reason, words):
    status = {**READY, "targetNodeCount": 2, "nodeStateCounts": {"running": 1}, "errors": errors}
    obj = pool(status=status)
    looking = view(
        cluster=obj,
        machines=read_cluster(obj, CATALOGUE),
        job=job(),
        pods=[pod(node=None, unschedulable="0/3 nodes are available")],
    )
    after = step(step(run(), seen(Gate(open=True)))[1], looking)[1]
    ready = find(after["status"], "Ready")
    assert ready["reason"] == reason
    assert words in ready["message"]


@pytest.mark.parametrize(
    ("shared", "phase"),
    [pytest.param(["default"], "Queued", id="shared"), pytest.param(["x"], "Pending", id="not shared")],
)
def test_a_cluster_of_another_namespace_must_be_shared_with_the_runs(shared, phase):
    obj = pool(status=READY, sharedWith=shared)
    obj["metadata"]["namespace"] = "lab"
    looking = view(cluster=obj, machines=read_cluster(obj, CATALOGUE), gate=QUEUED)
    plan, after = step(training_job(computeClusterRef={"name": "lab", "namespace": "lab"}), looking)
    assert after["status"]["phase"] == phase
    if phase == "Pending":
        assert plan.create == ()
        assert find(after["status"], "Ready")["reason"] == "ClusterNotFound"
        assert "spec.sharedWith" in find(after["status"], "Ready")["message"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param("2026-11-23T12:00:00Z", "QuotaExceeded", id="now"),
        pytest.param("2026-11-23T11:00:00Z", "PodPending", id="before"),
    ],
)
def test_a_run_that_gets_no_pod_says_what_a_quota_says(said, reason):
    obj = pool(
        status={**READY, "errors": [{"code": "QuotaExceeded", "message": "exceeded quota: q", "lastTime": said}]}
    )
    let_in = {**job(), "status": {"startTime": "2026-11-23T11:59:00Z"}}
    after = step(
        step(run(), seen(Gate(open=True)))[1], view(cluster=obj, machines=read_cluster(obj, CATALOGUE), job=let_in)
    )[1]
    assert find(after["status"], "Ready")["reason"] == reason


REFUSED = 'admits no such pod: violates PodSecurity "restricted:latest": hostPath volumes'


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        pytest.param(
            f'namespace default {REFUSED} (volume "input-cache")',
            "PodForbidden",
            "that is spec.inputCache.hostPath of the ComputeCluster lab: have the namespace's label",
            id="the cache",
        ),
        pytest.param(
            f'namespace default {REFUSED} (volume "a")', "PodForbidden", "/enforce changed", id="another volume"
        ),
        pytest.param(f"namespace defaults {REFUSED}", "PodPending", "its pod is on its way", id="another namespace"),
    ],
)
def test_a_run_whose_pod_is_not_admitted_says_why_and_names_the_field(message, reason, words):
    said = {"code": "PodForbidden", "message": message, "lastTime": "2026-11-23T12:00:00Z"}
    obj = pool(status={**READY, "errors": [said]}, inputCache={"hostPath": {"path": "/var/cache/trainyard"}})
    let_in = {**job(), "status": {"startTime": "2026-11-23T11:59:00Z"}}
    looking = view(cluster=obj, machines=read_cluster(obj, CATALOGUE), job=let_in)
    ready = find(step(step(run(), seen(Gate(open=True)))[1], looking)[1]["status"], "Ready")
    assert ready["reason"] == reason
    assert words in ready["message"]


@pytest.mark.parametrize(
    ("claim", "field"),
    [
        pytest.param("cache", "spec.inputCache.persistentVolumeClaim of the ComputeCluster lab", id="the cache"),
        pytest.param("data", "spec.inputs", id="an input"),
    ],
)
def test_a_run_that_waits_for_a_claim_names_the_field_that_asks_for_it(claim, field):
    obj = pool(status=READY, inputCache={"persistentVolumeClaim": {"claimName": "cache"}})
    waits = pod(node=None, unschedulable=f'persistentvolumeclaim "{claim}" not found')
    looking = view(cluster=obj, machines=read_cluster(obj, CATALOGUE), job=job(), pods=[waits])
    ready = find(step(step(run(), seen(Gate(open=True)))[1], looking)[1]["status"], "Ready")
    assert ready["reason"] == "Unschedulable"
    assert ready["message"].startswith(f"{field}: the pod")


def test_a_cluster_that_cannot_be_understood_makes_no_job():
    looking = view(cluster=pool(vmSize="HUGE"), machines="spec.vmSize is 'HUGE'")
    plan, after = step(run(), looking)
    assert plan.create == ()
    assert find(after["status"], "Ready")["reason"] == "ClusterNotReady"
    assert "spec.vmSize is 'HUGE'" in find(after["status"], "Ready")["message"]


def test_a_run_that_is_canceled_before_it_has_a_job_ends_at_once():
    plan, after = step(training_job(cancel=True), view())
    assert plan.create == ()
    assert after["status"]["phase"] == "Canceled"
    assert find(after["status"], "Canceled")["status"] == "True"
    assert find(after["status"], "Stalled")["status"] == "True"
    assert "jobName" not in after["status"]
    assert [event.reason for event in plan.events] == ["Canceled"]
    assert step(after, view())[0].status is None


def test_a_run_that_is_canceled_while_it_runs_is_stopped_in_good_order_and_keeps_what_it_saved():
    going = step(step(training_job(), view())[1], view(job=job(), pods=[pod(running=True)]))[1]
    going["spec"]["cancel"] = True
    plan, stopping = step(going, view(job=job(), pods=[pod(running=True)]))
    (stop,) = plan.patch
    assert (stop.kind.kind, stop.body) == ("Job", STOPPED)
    assert find(stopping["status"], "Ready")["reason"] == "Canceling"
    plan, still = step(stopping, view(job=job(stopped="Canceled"), pods=[pod(running=True, deleting=True)]))
    assert plan.patch == ()
    assert still["status"]["phase"] == "Finalizing"
    plan, ended = step(still, view(job=job(stopped="Canceled"), saved=saved("outputs/m.pkl")))
    assert ended["status"]["phase"] == "Canceled"
    assert ended["status"]["outputs"]["files"] == 1
    assert "1 output file(s) are kept" in find(ended["status"], "Canceled")["message"]
    assert find(ended["status"], "OutputsSaved")["status"] == "True"


def test_a_run_of_a_cluster_that_is_deleted_with_its_runs_is_canceled():
    obj = pool(status=READY, deleting=True, cancelRunsOnDelete=True)
    looking = view(cluster=obj, machines=read_cluster(obj, CATALOGUE), job=job(), pods=[pod(running=True)])
    plan, after = step(step(run(), seen(Gate(open=True)))[1], looking)
    assert [patch.body for patch in plan.patch] == [STOPPED]
    assert "the ComputeCluster lab is deleted" in find(after["status"], "Ready")["message"]


def test_a_run_that_has_ended_is_not_canceled_any_more():
    done = {"phase": "Failed", "conditions": []}
    assert plan_training_job(training_job(status=done, cancel=True), view(), NOW).status is None
