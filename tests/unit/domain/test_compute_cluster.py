"""Planning clusters: their nodes, their pool, their queue, and their end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.domain.builders import NOW, SETTINGS, cluster, pool
from trainyard_operator.api.names import FINALIZER, POOL_LABEL, pool_name
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.domain.cluster_nodes import node_facts
from trainyard_operator.domain.cluster_status import Shortage
from trainyard_operator.domain.compute_cluster import ClusterView, Unplaced, plan_compute_cluster
from trainyard_operator.domain.conditions import find, timestamp
from trainyard_operator.domain.queueing import Entry, Queue
from trainyard_operator.providers.base import Surroundings
from trainyard_operator.providers.choice import read_cluster
from trainyard_operator.providers.karpenter import node_pool

CATALOGUE = Catalogue.parse({"SMALL": {"cpu": "2", "memory": "8Gi"}})
POOL = pool_name("default", "lab")


def node(name="n1", *, ready="True", reason="KubeletReady", labels=None, taints=(), cordoned=False, deleting=False):
    meta = {"name": name, "labels": {"pool": "a", POOL_LABEL: POOL} if labels is None else labels}
    if deleting:
        meta["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    conditions = [{"type": "Ready", "status": ready, "reason": reason}] if ready else []
    spec = {"taints": [{"key": key} for key in taints], **({"unschedulable": True} if cordoned else {})}
    return {"metadata": meta, "spec": spec, "status": {"conditions": conditions}}


def claim(name="c1", *, node_name=None, age=0, up=False, deleting=False):
    created = timestamp(NOW - timedelta(seconds=age))
    meta = {"name": name, "uid": f"uid-{name}", "labels": {POOL_LABEL: POOL}, "creationTimestamp": created}
    if deleting:
        meta["deletionTimestamp"] = timestamp(NOW)
    status = {"nodeName": node_name} if node_name else {}
    if up:
        status["conditions"] = [{"type": "Initialized", "status": "True"}]
    return {"metadata": meta, "status": status}


def entry(name, **over):
    fields = {"uid": f"uid-{name}", "namespace": "default", "name": name, "priority": 0, "created": timestamp(NOW)}
    fields["job_name"] = f"{name}-uid-{name}-1"
    return Entry(**{**fields, **over})


def made(parent, *, ready="True", reason="", message=""):
    """Return the NodePool that the API server has for `parent`, with Karpenter's word on it."""
    found = node_pool(read_cluster(parent, CATALOGUE))
    found["metadata"]["uid"] = "uid-pool"
    conditions = [{"type": "Ready", "status": ready, "reason": "Ready", "message": ""}]
    if reason:
        conditions.append({"type": "NodeClassReady", "status": "False", "reason": reason, "message": message})
    return {**found, "status": {"conditions": conditions}}


def held(**over):
    return pool(**{"finalizers": [FINALIZER], **over})


def seen(parent, **over):
    """Return what there is around a pool that Karpenter has taken up."""
    surroundings = Surroundings(pool=made(parent), claims=over.pop("claims", ()))
    return ClusterView(**{"catalogue": CATALOGUE, "surroundings": surroundings, **over})


def after(parent, plan):
    return {**parent, "status": plan.status} if plan.status is not None else parent


def at_rest(parent, view):
    """Return `parent` with the status that it has when nothing more happens."""
    return after(parent, plan_compute_cluster(parent, view, NOW))


@pytest.mark.parametrize(
    ("facts", "runs", "state"),
    [
        pytest.param({}, [], "idle", id="ready and empty"),
        pytest.param({}, ["a"], "running", id="ready with a run"),
        pytest.param({"cordoned": True}, [], "unusable", id="cordoned and empty"),
        pytest.param({"cordoned": True}, ["a"], "running", id="cordoned with a run"),
        pytest.param({"ready": None}, [], "preparing", id="no condition yet"),
        pytest.param({"taints": ["karpenter.sh/unregistered"]}, [], "preparing", id="not registered yet"),
        pytest.param(
            {"taints": ["node.cloudprovider.kubernetes.io/uninitialized"]},
            [],
            "preparing",
            id="not looked at by its cloud yet",
        ),
        pytest.param({"ready": "False", "reason": "KubeletNotReady"}, [], "preparing", id="not ready yet"),
        pytest.param({"ready": "Unknown", "reason": "NodeStatusUnknown"}, ["a"], "unusable", id="silent"),
        pytest.param({"deleting": True}, [], "leaving", id="being deleted"),
        pytest.param({"deleting": True}, ["a"], "preempted", id="being deleted under a run"),
        pytest.param({"taints": ["ToBeDeletedByClusterAutoscaler"]}, [], "leaving", id="being scaled down"),
        pytest.param({"taints": ["karpenter.sh/disrupted"]}, ["a"], "preempted", id="being reclaimed"),
    ],
)
def test_each_node_is_in_one_named_state(facts, runs, state):
    assert node_facts(node(**facts), runs=runs).state == state


def test_only_nodes_with_all_labels_are_counted_and_a_converged_cluster_plans_nothing():
    nodes = (node(), node("n2"), node("other", labels={"pool": "b"}))
    view = ClusterView(nodes=nodes, runs_on={"n2": ["a"]})
    plan = plan_compute_cluster(cluster(), view, NOW)
    assert plan.status["currentNodeCount"] == 2
    assert {state: count for state, count in plan.status["nodeStateCounts"].items() if count} == {
        "idle": 1,
        "running": 1,
    }
    assert plan.status["nodesSummary"] == "2/2"
    assert plan.status["conditions"][0]["status"] == "True"
    later = plan_compute_cluster(after(cluster(), plan), view, NOW + timedelta(hours=1))
    assert later.status is None


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        pytest.param((), "NoNodes", id="none"),
        pytest.param((node(ready="Unknown", reason="x"),), "NodesNotReady", id="unusable"),
    ],
)
def test_a_cluster_that_can_take_nothing_says_so(nodes, reason):
    plan = plan_compute_cluster(cluster(), ClusterView(nodes=nodes), NOW)
    assert plan.status["conditions"][0]["reason"] == reason
    assert [event.type for event in plan.events] == ["Warning"]


def test_a_new_pool_is_held_by_a_finalizer_before_its_node_pool_is_made():
    plan = plan_compute_cluster(pool(), ClusterView(catalogue=CATALOGUE), NOW)
    (patch,) = plan.patch
    assert patch.body["metadata"]["finalizers"] == [FINALIZER]
    assert patch.body["metadata"]["resourceVersion"] == "7"
    (created,) = plan.create
    assert created["kind"] == "NodePool"
    assert plan.status["provisioningState"] == "Creating"


def test_a_node_pool_says_what_the_cluster_says():
    spec = node_pool(read_cluster(held(max_nodes=3, idle=45, vmPriority="LowPriority"), CATALOGUE))["spec"]
    assert spec["limits"] == {"nodes": "3"}
    assert spec["disruption"] == {
        "consolidationPolicy": "WhenEmpty", "consolidateAfter": "45s", "budgets": [{"nodes": "100%"}],
    }  # fmt: skip
    template = spec["template"]["spec"]
    assert template["expireAfter"] == "Never"
    assert {r["key"]: r["values"] for r in template["requirements"]} == {
        "karpenter.sh/capacity-type": ["spot"],
        "node.kubernetes.io/instance-type": ["SMALL"],
    }
    assert template["taints"] == [{"key": POOL_LABEL, "value": POOL, "effect": "NoSchedule"}]


def test_a_change_of_scale_patches_the_pool_and_nothing_else():
    parent = held()
    old = made(parent)
    wider = held(max_nodes=9)
    plan = plan_compute_cluster(wider, ClusterView(catalogue=CATALOGUE, surroundings=Surroundings(pool=old)), NOW)
    (patch,) = plan.patch
    assert patch.body["spec"]["limits"] == {"nodes": "9"}
    assert plan.create == ()


def falling_back():
    settings = {
        "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
        "fallbackToDedicatedAfterSeconds": 60,
    }
    return held(vmPriority="LowPriority", provider={"type": "Karpenter", "karpenter": settings})


def capacity_types(body):
    (values,) = [r["values"] for r in body["spec"]["template"]["spec"]["requirements"] if "capacity" in r["key"]]
    return values


def test_dedicated_machines_will_do_when_no_other_came_in_time_and_until_nobody_runs():
    parent = falling_back()
    late = unplaced("a", 61)
    busy = Queue(admitted={"uid-a": late.entry})
    assert plan_compute_cluster(parent, seen(parent, unplaced=[unplaced("a", 59)], queue=busy), NOW).patch == ()
    (patch,) = plan_compute_cluster(parent, seen(parent, unplaced=[late], queue=busy), NOW).patch
    assert capacity_types(patch.body) == ["spot", "on-demand"]
    wide = made(parent)
    wide["spec"] = patch.body["spec"]
    running = ClusterView(catalogue=CATALOGUE, surroundings=Surroundings(pool=wide), queue=busy)
    assert plan_compute_cluster(parent, running, NOW).patch == ()
    (patch,) = plan_compute_cluster(parent, replace(running, queue=Queue()), NOW).patch
    assert capacity_types(patch.body) == ["spot"]


def keeping(**over):
    """Return a pool that keeps a node, and what there is around it."""
    parent = held(scale={"minNodes": 1, "maxNodes": 2, "idleSecondsBeforeScaleDown": 60})
    return parent, seen(parent, pods=SETTINGS, **over)


def kept(replicas):
    meta = {"name": "lab-keeper", "namespace": "default", "uid": "uid-keeper"}
    return {"metadata": meta, "spec": {"replicas": replicas}}


def test_a_least_number_of_nodes_is_kept_by_pods_each_of_which_wants_a_node_of_its_own():
    parent, view = keeping()
    (made_deployment,) = plan_compute_cluster(parent, view, NOW).create
    assert made_deployment["kind"] == "Deployment"
    assert made_deployment["metadata"]["ownerReferences"][0]["uid"] == "uid-lab"
    assert made_deployment["spec"]["replicas"] == 1
    template = made_deployment["spec"]["template"]
    assert template["metadata"]["annotations"] == {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
    (apart,) = template["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["labelSelector"]["matchLabels"] == template["metadata"]["labels"]
    assert template["spec"]["nodeSelector"] == {POOL_LABEL: POOL}
    assert "trainyard.dev/run-uid" not in template["metadata"]["labels"]


@pytest.mark.parametrize(
    ("found", "patched"),
    [
        pytest.param(kept(1), [], id="as many as wished"),
        pytest.param(kept(3), [{"spec": {"replicas": 1}}], id="too many"),
    ],
)
def test_the_number_of_nodes_that_stay_follows_the_spec(found, patched):
    parent, view = keeping(keeper=found)
    plan = plan_compute_cluster(parent, view, NOW)
    assert plan.create == ()
    assert [patch.body for patch in plan.patch] == patched


def test_nodes_that_stay_are_the_target_and_have_no_time_to_go():
    parent, view = keeping(keeper=kept(1), nodes=[node()])
    status = plan_compute_cluster(parent, view, NOW).status
    assert status["targetNodeCount"] == 1
    assert status["idleSince"] == timestamp(NOW)
    assert "scaleDownDue" not in status


def test_a_cluster_that_keeps_no_node_has_no_keeper():
    parent = held()
    assert plan_compute_cluster(parent, seen(parent, pods=SETTINGS), NOW).create == ()


def test_defaults_that_the_api_server_adds_to_a_pool_are_no_difference():
    parent = held()
    full = made(parent)
    full["spec"]["weight"] = 1
    full["spec"]["template"]["spec"]["terminationGracePeriod"] = "1h"
    plan = plan_compute_cluster(parent, ClusterView(catalogue=CATALOGUE, surroundings=Surroundings(pool=full)), NOW)
    assert plan.patch == ()


@pytest.mark.parametrize(
    ("surroundings", "reason", "words"),
    [
        pytest.param(Surroundings(installed=False), "ProviderNotInstalled", "install Karpenter", id="no Karpenter"),
        pytest.param(
            Surroundings(pool={"metadata": {"name": POOL, "uid": "x"}, "spec": {}}), "PoolNotOurs", POOL, id="foreign pool"
        ),
        pytest.param(
            Surroundings(pool=made(held(), ready="False", reason="NodeClassNotFound", message="NodeClass not found on cluster")),
            "PoolNotReady",
            "NodeClassNotFound",
            id="missing node class",
        ),
    ],
)  # fmt: skip
def test_a_pool_that_cannot_bring_nodes_says_why_and_lets_nobody_in(surroundings, reason, words):
    view = ClusterView(catalogue=CATALOGUE, surroundings=surroundings, queue=Queue(waiting=[entry("a")]))
    plan = plan_compute_cluster(held(), view, NOW)
    assert find(plan.status, "Ready")["reason"] == reason
    assert words in find(plan.status, "Ready")["message"]
    assert find(plan.status, "Stalled")["status"] == "True"
    assert plan.status["provisioningState"] == "Failed"
    assert plan.admitted == ()
    assert [event.reason for event in plan.events] == [reason]


def test_an_unknown_size_fails_the_cluster_and_lists_the_sizes():
    plan = plan_compute_cluster(held(vmSize="HUGE"), ClusterView(catalogue=CATALOGUE), NOW)
    assert find(plan.status, "Stalled")["reason"] == "InvalidSpec"
    assert "use one of SMALL" in find(plan.status, "Stalled")["message"]
    assert plan.create == plan.patch == ()


def test_runs_are_let_in_by_their_jobs_up_to_the_limit():
    parent = held(max_nodes=2)
    view = seen(parent, queue=Queue(waiting=[entry("a"), entry("b")], admitted={"x": entry("x")}))
    ready = at_rest(parent, view)
    plan = plan_compute_cluster(ready, view, NOW)
    assert [e.name for e in plan.admitted] == ["a"]
    assert [(p.kind.kind, p.name, p.body) for p in plan.patch] == [("Job", "a-uid-a-1", {"spec": {"suspend": False}})]


@pytest.mark.parametrize("state", ["Creating", "Failed"])
def test_the_plan_that_finds_a_pool_ready_lets_runs_in_at_once_since_its_own_status_wakes_nobody(state):
    parent = held(status={"provisioningState": state, "conditions": []})
    plan = plan_compute_cluster(parent, seen(parent, queue=Queue(waiting=[entry("a")])), NOW)
    assert plan.status["provisioningState"] == "Succeeded"
    assert [e.name for e in plan.admitted] == ["a"]


def test_a_cluster_for_which_runs_wait_is_looked_at_from_time_to_time():
    parent = held(max_nodes=1)
    full = seen(parent, queue=Queue(waiting=[entry("a")], admitted={"x": entry("x")}))
    assert plan_compute_cluster(at_rest(parent, full), full, NOW).requeue_after == 30


@pytest.mark.parametrize(
    "over",
    [
        pytest.param({"queue": {"paused": True}}, id="paused"),
        pytest.param({"max_nodes": 0}, id="no nodes allowed"),
    ],
)
def test_nobody_is_let_in_while_the_cluster_is_closed(over):
    parent = held(**over)
    view = seen(parent, queue=Queue(waiting=[entry("a")]))
    assert plan_compute_cluster(at_rest(parent, view), view, NOW).admitted == ()


def unplaced(name, seconds):
    since = NOW - timedelta(seconds=seconds)
    return Unplaced(entry=entry(name, since=since), job={"metadata": {"name": name}}, since=since)


def test_a_run_that_finds_no_node_in_time_goes_back_to_the_queue_and_waits_longer_each_time():
    parent = held(provisioningTimeoutSeconds=60)
    late = unplaced("a", 61)
    view = seen(parent, queue=Queue(admitted={"uid-a": late.entry}), unplaced=[late, unplaced("b", 10)])
    plan = plan_compute_cluster(parent, view, NOW)
    (patch,) = plan.patch
    assert patch.name == "a-uid-a-1"
    assert patch.body["spec"] == {"suspend": True}
    note = patch.body["metadata"]["annotations"]
    assert list(note.values()) == ['{"times": 1, "until": "2026-11-23T12:00:30Z"}']
    again = replace(late, job={"metadata": {"name": "a", "annotations": note}})
    second = plan_compute_cluster(parent, replace(view, unplaced=[again]), NOW).patch[0]
    assert '"times": 2, "until": "2026-11-23T12:01:00Z"' in next(iter(second.body["metadata"]["annotations"].values()))


def test_a_run_that_kueue_let_in_is_not_taken_back_by_the_cluster():
    parent = held(provisioningTimeoutSeconds=60)
    late = unplaced("a", 61)
    late.job["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "team"}
    plan = plan_compute_cluster(parent, seen(parent, queue=Queue(admitted={"uid-a": late.entry}), unplaced=[late]), NOW)
    assert plan.patch == ()
    assert plan.requeue_after == 5


def test_while_a_run_waits_for_a_node_the_provider_is_asked_again_and_its_words_are_kept_once():
    parent = held()
    said = Shortage(code="InsufficientCapacity", message="no m5.large in zone a", first=NOW, last=NOW, count=3)
    view = seen(parent, unplaced=[unplaced("a", 10)], shortages=[said])
    plan = plan_compute_cluster(parent, view, NOW)
    assert plan.requeue_after == 5
    (error,) = plan.status["errors"]
    assert (error["code"], error["message"], error["count"]) == ("InsufficientCapacity", "no m5.large in zone a", 3)
    later = replace(said, last=NOW + timedelta(seconds=9), count=4)
    again = plan_compute_cluster(after(parent, plan), replace(view, shortages=[later]), NOW + timedelta(seconds=9))
    (error,) = again.status["errors"]
    assert (error["firstTime"], error["count"]) == (timestamp(NOW), 4)


DEAD = node("dead", ready="Unknown", reason="x")


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        pytest.param([claim(age=59)], [], id="there is time left"),
        pytest.param([claim(age=60)], ["c1"], id="no node in time"),
        pytest.param([claim(age=99, node_name="dead")], ["c1"], id="its node never came up"),
        pytest.param([claim(age=99, node_name="n1")], [], id="its node is ready, whatever Karpenter waits for"),
        pytest.param([claim(age=99, up=True, node_name="dead")], [], id="it was up and is silent now"),
        pytest.param([claim(age=99, deleting=True)], [], id="it is going"),
        pytest.param([claim("a", age=99), claim("b", age=99), claim("c", age=1)], ["a", "b"], id="two of three"),
    ],
)
def test_a_machine_that_did_not_come_up_in_time_is_given_back(claims, expected):
    parent = held(provisioningTimeoutSeconds=60)
    plan = plan_compute_cluster(parent, seen(parent, claims=claims, nodes=[node(), DEAD]), NOW)
    assert [(d.kind.kind, d.namespace, d.name, d.uid) for d in plan.delete] == [
        ("NodeClaim", "", name, f"uid-{name}") for name in expected
    ]


def test_machines_that_are_given_back_are_told_once_and_counted_in_one_sentence():
    parent = at_rest(held(provisioningTimeoutSeconds=60), seen(held(provisioningTimeoutSeconds=60)))
    view = seen(parent, claims=[claim("a", age=60), claim("b", age=61)], last_write=NOW)
    plan = plan_compute_cluster(parent, view, NOW)
    (event,) = plan.events
    assert (event.type, event.reason) == ("Warning", "ProvisioningTimeout")
    assert event.message.endswith("2 machine(s) did not come up within 60 s and are given back: a, b")
    (error,) = plan.status["errors"]
    assert (error["code"], error["count"]) == ("ProvisioningTimeout", 2)
    going = seen(parent, claims=[claim("a", age=70, deleting=True)])
    later = plan_compute_cluster(after(parent, plan), going, NOW + timedelta(seconds=10))
    assert (later.delete, later.events) == ((), ())
    third = seen(parent, claims=[claim("c", age=0)])
    moment = NOW + timedelta(seconds=60)
    (again,) = plan_compute_cluster(after(parent, plan), third, moment).status["errors"]
    assert (again["count"], again["firstTime"], again["lastTime"]) == (3, timestamp(NOW), timestamp(moment))


def test_a_cluster_is_looked_at_when_a_machine_will_be_overdue():
    parent = at_rest(held(provisioningTimeoutSeconds=60), seen(held(provisioningTimeoutSeconds=60)))
    view = seen(parent, claims=[claim("a", age=20), claim("b", age=45), claim("c", age=50, up=True)])
    rested = at_rest(parent, view)
    assert plan_compute_cluster(rested, view, NOW).requeue_after == 15


def test_a_machine_of_somebody_elses_pool_is_not_given_back():
    foreign = Surroundings(pool=somebody_elses(), claims=[claim(age=10_000)])
    assert plan_compute_cluster(held(), ClusterView(catalogue=CATALOGUE, surroundings=foreign), NOW).delete == ()


def somebody_elses(*, kind="KWOKNodeClass", **annotations):
    """Return a NodePool of the cluster's name that it did not make."""
    reference = {"group": "karpenter.kwok.sh", "kind": kind, "name": "default"}
    meta = {"name": POOL, "uid": "x", **({"annotations": annotations} if annotations else {})}
    return {"metadata": meta, "spec": {"template": {"spec": {"nodeClassRef": reference}}}}


def adopting(**over):
    reference = {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"}
    provider = {"type": "Karpenter", "karpenter": {"nodeClassRef": reference}, "adopt": True}
    return held(provider=provider, **over)


def test_somebody_elses_pool_is_taken_over_where_the_spec_says_so_and_is_the_clusters_from_then_on():
    view = ClusterView(catalogue=CATALOGUE, surroundings=Surroundings(pool=somebody_elses()))
    plan = plan_compute_cluster(adopting(), view, NOW)
    (patch,) = plan.patch
    wanted = node_pool(read_cluster(adopting(), CATALOGUE))
    assert (patch.kind.kind, patch.name) == ("NodePool", POOL)
    assert patch.body["spec"] == wanted["spec"]
    assert patch.body["metadata"] == {name: wanted["metadata"][name] for name in ("labels", "annotations")}
    assert find(plan.status, "Ready")["reason"] == "CreatingPool"
    assert "taken over" in find(plan.status, "Ready")["message"]
    taken = seen(adopting())
    assert plan_compute_cluster(adopting(), taken, NOW).patch == ()
    (deletion,) = plan_compute_cluster(adopting(deleting=True), taken, NOW).delete
    assert deletion.name == POOL


@pytest.mark.parametrize(
    ("parent", "foreign", "words"),
    [
        pytest.param(held(), somebody_elses(), "set spec.provider.adopt to take it over", id="nobody said so"),
        pytest.param(
            adopting(),
            somebody_elses(**{"trainyard.dev/compute-cluster": "other/lab"}),
            "belongs to the ComputeCluster other/lab",
            id="another cluster's",
        ),
        pytest.param(adopting(), somebody_elses(kind="EC2NodeClass"), "EC2NodeClass: delete it", id="another cloud's"),
    ],
)
def test_a_pool_that_stays_somebody_elses_is_left_alone_even_when_the_cluster_goes(parent, foreign, words):
    view = ClusterView(catalogue=CATALOGUE, surroundings=Surroundings(pool=foreign))
    plan = plan_compute_cluster(parent, view, NOW)
    assert (plan.patch, plan.create) == ((), ())
    assert find(plan.status, "Ready")["reason"] == "PoolNotOurs"
    assert words in find(plan.status, "Ready")["message"]
    going = {**parent, "metadata": {**parent["metadata"], "deletionTimestamp": timestamp(NOW)}}
    end = plan_compute_cluster(going, view, NOW)
    assert end.delete == ()
    assert end.patch[0].body["metadata"]["finalizers"] == []


def test_idle_nodes_are_counted_down_and_usage_adds_up():
    parent = held(idle=60)
    busy = seen(parent, nodes=[node()], runs_on={"n1": ["a"]}, queue=Queue(admitted={"a": entry("a")}))
    running = at_rest(parent, busy)
    assert "idleSince" not in running["status"]
    empty = seen(parent, nodes=[node()])
    idle = after(running, plan_compute_cluster(running, empty, NOW + timedelta(seconds=100)))
    assert idle["status"]["idleSince"] == "2026-11-23T12:01:40Z"
    assert idle["status"]["scaleDownDue"] == "2026-11-23T12:02:40Z"
    gone = after(idle, plan_compute_cluster(idle, seen(parent), NOW + timedelta(seconds=170)))
    assert "idleSince" not in gone["status"]
    usage = gone["status"]["usage"]
    assert (usage["nodeSeconds"], usage["idleNodeSeconds"], usage["preemptions"]) == (170, 70, 0)
    assert find(gone["status"], "Ready")["reason"] == "ScalesFromZero"


def test_a_node_that_is_taken_from_a_run_is_counted_as_preempted_once():
    parent = held()
    queue = Queue(admitted={"uid-a": entry("a")})
    running = at_rest(parent, seen(parent, nodes=[node()], runs_on={"n1": ["a"]}, queue=queue))
    leaving = seen(parent, nodes=[node(deleting=True)], runs_on={"n1": ["a"]}, queue=queue)
    warned = after(running, plan_compute_cluster(running, leaving, NOW + timedelta(seconds=5)))
    assert warned["status"]["nodeStateCounts"]["preempted"] == 1
    assert warned["status"]["usage"]["preemptions"] == 1
    gone = after(warned, plan_compute_cluster(warned, seen(parent, queue=queue), NOW + timedelta(seconds=9)))
    assert gone["status"]["usage"]["preemptions"] == 1


def test_a_node_that_vanishes_under_a_run_is_counted_too_and_one_whose_run_has_ended_is_not():
    parent = held()
    queue = Queue(admitted={"uid-a": entry("a")})
    running = at_rest(parent, seen(parent, nodes=[node()], runs_on={"n1": ["a"]}, queue=queue))
    moment = NOW + timedelta(seconds=5)
    assert plan_compute_cluster(running, seen(parent, queue=queue), moment).status["usage"]["preemptions"] == 1
    assert plan_compute_cluster(running, seen(parent), moment).status["usage"]["preemptions"] == 0


def test_machines_that_were_asked_for_count_as_preparing_and_the_cluster_as_resizing():
    parent = held()
    queue = Queue(admitted={"uid-a": entry("a")})
    view = seen(parent, claims=[claim("c1"), claim("c2", node_name="n1")], nodes=[node()], queue=queue)
    status = plan_compute_cluster(parent, view, NOW).status
    assert status["nodeStateCounts"]["preparing"] == 1
    assert (status["currentNodeCount"], status["targetNodeCount"]) == (1, 2)
    assert status["allocationState"] == "Resizing"
    assert status["nodesSummary"] == "1/4"


def test_what_only_says_more_is_written_every_two_seconds_at_most():
    parent = at_rest(held(), seen(held()))
    view = seen(parent, queue=Queue(waiting=[], admitted={"uid-a": entry("a")}), last_write=NOW)
    soon = plan_compute_cluster(parent, view, NOW + timedelta(seconds=0.5))
    assert soon.status is None
    assert soon.requeue_after == 1.5
    assert plan_compute_cluster(parent, view, NOW + timedelta(seconds=2)).status["queue"]["running"] == 1


def deleting(**over):
    return held(deleting=True, **over)


def test_a_cluster_waits_for_its_runs_before_it_goes_and_says_how_to_hurry():
    parent = deleting()
    view = seen(parent, queue=Queue(admitted={"uid-a": entry("a")}), nodes=[node()])
    plan = plan_compute_cluster(parent, view, NOW)
    assert plan.delete == plan.patch == ()
    condition = find(plan.status, "Deleting")
    assert condition["reason"] == "WaitingForRuns"
    assert "spec.cancelRunsOnDelete" in condition["message"]
    assert plan.status["provisioningState"] == "Deleting"


def test_then_its_pool_is_deleted_and_it_goes_when_the_last_node_has_gone():
    parent = deleting()
    view = seen(parent, nodes=[node()], claims=[claim()])
    (deletion,) = plan_compute_cluster(parent, view, NOW).delete
    assert (deletion.kind.kind, deletion.name, deletion.uid) == ("NodePool", POOL, "uid-pool")
    waiting = ClusterView(catalogue=CATALOGUE, nodes=[node()])
    assert plan_compute_cluster(parent, waiting, NOW).patch == ()
    (patch,) = plan_compute_cluster(parent, ClusterView(catalogue=CATALOGUE), NOW).patch
    assert patch.body["metadata"]["finalizers"] == []


def test_a_cluster_whose_size_left_the_catalogue_still_takes_its_pool_with_it():
    parent = deleting(vmSize="HUGE")
    left = Surroundings(pool=made(held()), claims=[claim()])
    plan = plan_compute_cluster(parent, ClusterView(catalogue=CATALOGUE, surroundings=left), NOW)
    assert [deletion.name for deletion in plan.delete] == [POOL]
    assert plan.patch == ()
    waiting = plan_compute_cluster(parent, ClusterView(surroundings=Surroundings(claims=[claim()])), NOW)
    assert waiting.patch == ()
    assert plan_compute_cluster(parent, ClusterView(), NOW).patch[0].body["metadata"]["finalizers"] == []


@pytest.mark.parametrize(
    "parent",
    [
        pytest.param(deleting(deletionPolicy="Retain"), id="its pool is to stay"),
        pytest.param(deleting(vmSize="HUGE"), id="its spec cannot work"),
    ],
)
def test_a_cluster_that_has_nothing_to_remove_goes_at_once(parent):
    plan = plan_compute_cluster(parent, ClusterView(catalogue=CATALOGUE, nodes=[node()]), NOW)
    assert plan.delete == ()
    assert plan.patch[0].body["metadata"]["finalizers"] == []
