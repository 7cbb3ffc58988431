"""Clusters of existing nodes that name node groups of Cluster Autoscaler's: its status as it writes it, and what is said."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.domain.builders import NOW, cluster, training_job, view
from tests.unit.domain.builders import pod as run_pod
from trainyard_operator.api.compute_cluster import AutoscalerSettings
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.domain.compute_cluster import ClusterView, Unplaced, plan_compute_cluster
from trainyard_operator.domain.conditions import find, timestamp
from trainyard_operator.domain.queueing import Entry, Queue
from trainyard_operator.domain.training_job import plan_training_job
from trainyard_operator.providers.autoscaler import (
    MAX_STATUS,
    AutoscalerSeen,
    ScaledGroup,
    read_status,
    see_groups,
)
from trainyard_operator.providers.base import Surroundings
from trainyard_operator.providers.choice import read_cluster

VMSS = "aks-training-12345678-vmss"
MIG = "https://www.googleapis.com/compute/v1/projects/lab/zones/europe-west1-b/instanceGroups/gke-lab-training-98cd300e-grp"
HERE = "kube-system/cluster-autoscaler-status"
# As Cluster Autoscaler 1.33 writes it.
STATUS = f"""\
time: 2026-11-23 11:59:55.352884346 +0000 UTC
autoscalerStatus: Running
clusterWide:
  health:
    status: Healthy
    nodeCounts: {{registered: {{total: 3, ready: 3, notStarted: 0}}, longUnregistered: 0, unregistered: 0}}
    lastProbeTime: "2026-11-23T11:59:55Z"
nodeGroups:
- name: {VMSS}
  health:
    status: Healthy
    nodeCounts:
      registered: {{total: 1, ready: 1, notStarted: 0, unready: {{total: 0, resourceUnready: 0}}}}
      longUnregistered: 0
      unregistered: 0
    cloudProviderTarget: 2
    minSize: 0
    maxSize: 3
    lastProbeTime: "2026-11-23T11:59:55Z"
    lastTransitionTime: "2026-11-23T08:00:00Z"
  scaleUp:
    status: InProgress
    backoffInfo: {{}}
    lastProbeTime: "2026-11-23T11:59:55Z"
    lastTransitionTime: "2026-11-23T11:59:00Z"
  scaleDown:
    status: NoCandidates
    lastProbeTime: "2026-11-23T11:59:55Z"
    lastTransitionTime: "2026-11-23T08:00:00Z"
- name: {MIG}
  health:
    status: Unhealthy
    cloudProviderTarget: 0
    minSize: 1
    maxSize: 5
  scaleUp:
    status: Backoff
    backoffInfo:
      errorCode: QUOTA_EXCEEDED
      errorMessage: |-
        Instance 'gke-lab-1' creation failed: Quota 'CPUS' exceeded.
        Limit: 8.0 in region europe-west1.
    lastTransitionTime: 2026-11-23T11:58:00Z
"""


def config_map(text=STATUS, *, updated="2026-11-23 11:59:55.352884346 +0000 UTC"):
    """Return the ConfigMap of a status; None leaves a part of it out."""
    annotations = {} if updated is None else {"cluster-autoscaler.kubernetes.io/last-updated": updated}
    return {"metadata": {"annotations": annotations}, "data": {} if text is None else {"status": text}}


def settings(*groups):
    return AutoscalerSettings(node_groups=groups, namespace="kube-system", config_map="cluster-autoscaler-status")


def seen_of(*groups, now=NOW, **changes):
    return see_groups(settings(*groups), read_status(config_map(**changes), where=HERE), now=now)


def test_a_node_group_is_read_with_its_limits_and_target():
    assert seen_of(VMSS) == AutoscalerSeen(
        groups=(ScaledGroup(name=VMSS, least=0, most=3, target=2, since=datetime(2026, 11, 23, 11, 59, tzinfo=UTC)),)
    )


def test_a_group_is_found_by_the_last_part_of_its_name_and_its_troubles_are_one_line():
    (group,) = seen_of("gke-lab-training-98cd300e-grp").groups
    assert (group.name, group.least, group.most, group.target) == (MIG, 1, 5, 0)
    assert group.unhealthy
    assert group.backs_off
    assert group.error == (
        "QUOTA_EXCEEDED: Instance 'gke-lab-1' creation failed: Quota 'CPUS' exceeded. "
        "Limit: 8.0 in region europe-west1."
    )
    assert group.since == datetime(2026, 11, 23, 11, 58, tzinfo=UTC)


def test_several_groups_are_one_pool_and_each_counts_once():
    seen = seen_of(VMSS, MIG, "gke-lab-training-98cd300e-grp")
    assert (seen.least, seen.most, seen.target) == (1, 8, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"updated": None}, "there is no status of Cluster Autoscaler in the ConfigMap kube-system/", id="not its own"),
        pytest.param({"text": None}, "there is no status of Cluster Autoscaler", id="without data"),
        pytest.param({"updated": "yesterday"}, "there is no status of Cluster Autoscaler", id="time that is none"),
        pytest.param({"text": "x" * (MAX_STATUS + 1)}, "there is no status of Cluster Autoscaler", id="too long"),
        pytest.param({"text": "Cluster-autoscaler status at 2026-11-23"}, "before 1.30: upgrade it", id="old text"),
        pytest.param({"text": "a: [b"}, "cannot be understood", id="no YAML"),
        pytest.param({"text": "[" * 5000}, "cannot be understood", id="deeply nested"),
        pytest.param({"text": "- a"}, "cannot be understood", id="list"),
        pytest.param({"text": "autoscalerStatus: Running\nnodeGroups: 7"}, "cannot be understood", id="groups that are none"),
        pytest.param({"text": "time: 2026-13-45 99:99:99\nautoscalerStatus: Running"}, "cannot be understood", id="time that YAML refuses"),
        pytest.param({"text": "autoscalerStatus: Initializing"}, "is starting", id="initializing"),
        pytest.param({"text": "autoscalerStatus: Running"}, f"knows no node group {VMSS}", id="no groups"),
        pytest.param(
            {"text": "autoscalerStatus: Running\nnodeGroups: [7, {}, {name: [a]}, {name: other}]"},
            f"knows no node group {VMSS}",
            id="other groups, and none at all",
        ),
        pytest.param(
            {"updated": "2026-11-23 12:54:59 +0100 CET"}, "no status since 2026-11-23T11:54:59Z", id="stale, told in UTC"
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_known_is_said_in_words(changes, words):
    seen = seen_of(VMSS, **changes)
    assert seen.groups == ()
    assert words in seen.words


@pytest.mark.parametrize("junk", ["[]", "x", "-3", "true", "1.5", "{}", "null"])
def test_a_field_that_is_no_number_is_none(junk):
    text = f"autoscalerStatus: Running\nnodeGroups: [{{name: g, health: {{minSize: {junk}, maxSize: {junk}}}, scaleUp: {junk}}}]"
    (group,) = seen_of("g", text=text).groups
    assert (group.least, group.most, group.error, group.backs_off) == (0, 0, "", False)


def autoscaled(*, max_nodes=3, **over):
    """Return a ComputeCluster of one node group, and what is known of that."""
    scale = {} if max_nodes is None else {"scale": {"maxNodes": max_nodes}}
    existing = {"nodeSelector": {"pool": "a"}, "clusterAutoscaler": {"nodeGroups": ["g"]}}
    return cluster(provider={"type": "Existing", "existing": existing}, **scale, **over)


def around(*, words="", **group):
    groups = () if words else (ScaledGroup(**{"name": "g", "most": 3, **group}),)
    return Surroundings(autoscaler=AutoscalerSeen(groups=groups, words=words))


NODE = {
    "metadata": {"name": "n1", "labels": {"pool": "a"}},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}


@pytest.mark.parametrize(
    ("group", "parent", "words"),
    [
        pytest.param({}, autoscaled(), "keeps the node group g at 0 to 3 nodes, and removes idle ones by its own settings", id="well"),
        pytest.param({}, autoscaled(max_nodes=4), "spec.scale.maxNodes 4 cannot be reached", id="more than it may"),
        pytest.param({}, autoscaled(max_nodes=None), "lets in any number of runs", id="no limit"),
        pytest.param({"least": 2}, autoscaled(), "2 node(s) stay, and cost money", id="never empty"),
        pytest.param({"unhealthy": True}, autoscaled(), "it calls g unhealthy", id="unhealthy"),
    ],
)  # fmt: skip
def test_who_decides_and_what_cannot_be_kept_is_said(group, parent, words):
    status = plan_compute_cluster(parent, ClusterView(surroundings=around(**group)), NOW).status
    condition = find(status, "Managed")
    assert (condition["status"], condition["reason"]) == ("False", "ManagedElsewhere")
    assert words in condition["message"]
    if not words.startswith("spec.scale.maxNodes"):
        assert "cannot be reached" not in condition["message"]


def test_an_autoscaler_of_which_nothing_is_known_is_told_and_keeps_nobody_from_the_nodes():
    waiting = Entry(uid="uid-a", namespace="default", name="a", priority=0, created=timestamp(NOW))
    seen = ClusterView(surroundings=around(words="it is away"), nodes=[NODE], queue=Queue(waiting=[waiting]))
    plan = plan_compute_cluster(autoscaled(), seen, NOW)
    assert find(plan.status, "Managed")["reason"] == "AutoscalerUnknown"
    assert find(plan.status, "Managed")["message"].startswith("it is away; the cluster lets in 3 runs")
    assert find(plan.status, "Ready")["reason"] == "NodesReady"
    assert plan.status["targetNodeCount"] == 1
    assert [entry.name for entry in plan.admitted] == ["a"]


@pytest.mark.parametrize(
    ("surroundings", "reason"),
    [
        pytest.param(around(), "ScalesFromZero", id="it brings the first node"),
        pytest.param(around(most=0), "NoNodes", id="it may bring none"),
        pytest.param(around(words="it is away"), "NoNodes", id="nobody knows"),
    ],
)
def test_an_empty_cluster_is_ready_where_the_autoscaler_brings_nodes(surroundings, reason):
    status = plan_compute_cluster(autoscaled(), ClusterView(surroundings=surroundings), NOW).status
    assert find(status, "Ready")["reason"] == reason


def test_the_target_is_the_autoscalers():
    status = plan_compute_cluster(autoscaled(), ClusterView(surroundings=around(target=2), nodes=[NODE]), NOW).status
    assert (status["currentNodeCount"], status["targetNodeCount"], status["allocationState"]) == (1, 2, "Resizing")


def waiting_for(seconds):
    since = NOW - timedelta(seconds=seconds)
    entry = Entry(uid="uid-a", namespace="default", name="a", priority=0, created=timestamp(NOW), since=since)
    return Unplaced(entry=entry, job={"metadata": {"name": "a"}}, since=since)


BACKING_OFF = {"backs_off": True, "error": "QUOTA: none left", "since": NOW - timedelta(seconds=90)}


@pytest.mark.parametrize(
    ("group", "seconds", "words"),
    [
        pytest.param(BACKING_OFF, 8, ["Cluster Autoscaler backs off from the node group g: QUOTA: none left"], id="backing off"),
        pytest.param({"backs_off": True}, 8, ["Cluster Autoscaler backs off from the node group g, and does not say why"], id="silently"),
        pytest.param(BACKING_OFF, 4, [], id="it has hardly looked"),
        pytest.param({}, 8, [], id="it may grow"),
    ],
)  # fmt: skip
def test_runs_are_told_why_no_node_comes(group, seconds, words):
    seen = ClusterView(surroundings=around(**group), unplaced=[waiting_for(seconds)])
    status = plan_compute_cluster(autoscaled(), seen, NOW).status
    assert [error["message"] for error in status.get("errors", ())] == words
    assert {error["code"] for error in status.get("errors", ())} <= {"InsufficientCapacity"}


def test_no_shortage_is_told_while_another_group_can_grow():
    groups = (ScaledGroup(name="g", most=3, **BACKING_OFF), ScaledGroup(name="h", most=1))
    seen = ClusterView(surroundings=Surroundings(autoscaler=AutoscalerSeen(groups=groups)), unplaced=[waiting_for(60)])
    assert "errors" not in plan_compute_cluster(autoscaled(), seen, NOW).status


def test_a_lasting_shortage_costs_no_writes_and_is_looked_at_again():
    seen = ClusterView(surroundings=around(**BACKING_OFF), unplaced=[waiting_for(60)])
    parent = autoscaled()
    parent["status"] = plan_compute_cluster(parent, seen, NOW).status
    later = plan_compute_cluster(parent, seen, NOW + timedelta(seconds=60))
    assert (later.status, later.events) == (None, ())
    assert later.requeue_after == 5


@pytest.mark.parametrize(
    ("queue", "seconds"),
    [
        pytest.param(Queue(), 30, id="nobody runs"),
        pytest.param(Queue(admitted={"uid-a": waiting_for(0).entry}), 10, id="somebody runs"),
    ],
)
def test_the_status_is_looked_at_more_often_while_there_are_runs(queue, seconds):
    parent, seen = autoscaled(), ClusterView(surroundings=around(), queue=queue)
    parent["status"] = plan_compute_cluster(parent, seen, NOW).status
    again = plan_compute_cluster(parent, seen, NOW)
    assert (again.status, again.requeue_after) == (None, seconds)


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        pytest.param({"targetNodeCount": 1}, "NodesPreparing", "0 of 1 nodes are ready", id="a node is on its way"),
        pytest.param({"targetNodeCount": 0}, "Unschedulable", "no nodes available", id="nothing is on its way"),
        pytest.param(
            {"errors": [{"code": "InsufficientCapacity", "message": "QUOTA: none left", "lastTime": timestamp(NOW)}]},
            "InsufficientCapacity",
            "QUOTA: none left",
            id="the autoscaler backs off",
        ),
    ],
)
def test_a_run_without_a_node_says_what_its_autoscaler_does(status, reason, words):
    obj = autoscaled(status=status)
    seen = view(
        cluster=obj,
        machines=read_cluster(obj, Catalogue()),
        job={"metadata": {"name": "j", "namespace": "default", "uid": "u"}, "spec": {}, "status": {}},
        pods=(run_pod(node=None, unschedulable="0/1 nodes are available: no nodes available"),),
    )
    told = plan_training_job(training_job(computeClusterRef={"name": "lab"}), seen, NOW).status
    condition = find(told, "Ready")
    assert condition["reason"] == reason
    assert words in condition["message"]


def test_a_group_that_has_all_its_nodes_cannot_grow():
    group = ScaledGroup(name="g", most=2, target=1)
    assert group.can_grow
    assert not dataclasses.replace(group, target=2).can_grow
