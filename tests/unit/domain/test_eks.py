"""Planning clusters of the provider EKS: their node group, its troubles, and its end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.domain.builders import NOW, eks, pool
from trainyard_operator.api.names import FINALIZER, POOL_LABEL, pool_name
from trainyard_operator.api.reasons import ComputeClusterReason as Reason
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.domain.compute_cluster import ClusterView, plan_compute_cluster
from trainyard_operator.domain.conditions import find, timestamp
from trainyard_operator.domain.queueing import Entry, Queue
from trainyard_operator.providers.base import Surroundings
from trainyard_operator.providers.choice import provider_of, read_cluster
from trainyard_operator.providers.eks import node_group
from trainyard_operator.providers.node_group import (
    Failure,
    GroupAddress,
    GroupCall,
    GroupSeen,
    Issue,
    NodeGroup,
    Refusal,
)

CATALOGUE = Catalogue.parse({"SMALL": {"cpu": "2", "memory": "8Gi", "instanceTypes": {"eks": ["m7i.large"]}}})
POOL = pool_name("default", "lab")
HERE = GroupAddress(cluster="prod", name=POOL, region="eu-central-1")
TAINT = {"key": POOL_LABEL, "value": POOL, "effect": "NO_SCHEDULE"}
DENIED = Failure(reason=Reason.CLOUD_ACCESS_DENIED, message="not allowed to eks:CreateNodegroup")
THROTTLED = Failure(reason=Reason.CLOUD_THROTTLED, message="later")
RUN = Entry(uid="uid-a", namespace="default", name="a", priority=0, created=timestamp(NOW))


def held(**over):
    return eks(finalizers=[FINALIZER], **over)


def group(**over):
    """Return the group that AWS has for a cluster of four nodes."""
    fields = {
        "status": "ACTIVE",
        "tags": {"trainyard.dev/compute-cluster": "default/lab"},
        "labels": {POOL_LABEL: POOL},
        "taints": (TAINT,),
        "most": 4,
    }
    return NodeGroup(**{**fields, **over})


def call(verb, **arguments):
    return GroupCall(address=HERE, verb=verb, arguments=arguments)


def view(seen, **over):
    return ClusterView(catalogue=CATALOGUE, surroundings=Surroundings(group=seen), **over)


def plan_of(parent, seen, **over):
    return plan_compute_cluster(parent, view(seen, **over), NOW)


CREATE = call("create", **node_group(read_cluster(held(), CATALOGUE)))


def test_before_anybody_has_looked_nothing_is_done_and_nothing_is_said():
    plan = plan_of(eks(), None)
    assert (plan.call, plan.status, plan.patch, plan.events) == (None, None, (), ())
    assert plan.requeue_after == 2


def test_a_new_cluster_is_held_by_a_finalizer_before_its_group_is_created():
    plan = plan_of(eks(), GroupSeen())
    (patch,) = plan.patch
    assert patch.body["metadata"]["finalizers"] == [FINALIZER]
    assert plan.call == CREATE
    assert plan.status["provisioningState"] == "Creating"
    assert find(plan.status, "Ready")["reason"] == "CreatingPool"
    assert plan.events == ()
    # A moment for the status that only says more, else for AWS.
    assert plan.requeue_after == 5


def test_a_group_says_what_the_cluster_says():
    assert node_group(read_cluster(held(max_nodes=3, vmPriority="LowPriority"), CATALOGUE)) == {
        "scalingConfig": {"minSize": 0, "maxSize": 3, "desiredSize": 0},
        "subnets": ["subnet-0a1b2c3d"],
        "instanceTypes": ["m7i.large"],
        "nodeRole": "arn:aws:iam::111122223333:role/nodes",
        "capacityType": "SPOT",
        "labels": {POOL_LABEL: POOL},
        "taints": [TAINT],
        "tags": {
            "trainyard.dev/compute-cluster": "default/lab",
            "k8s.io/cluster-autoscaler/node-template/label/trainyard.dev/pool": POOL,
            "k8s.io/cluster-autoscaler/node-template/taint/trainyard.dev/pool": f"{POOL}:NoSchedule",
        },
    }


def test_dedicated_machines_are_on_demand_and_a_limit_of_no_nodes_is_as_near_as_aws_knows():
    wanted = node_group(read_cluster(held(max_nodes=0), CATALOGUE))
    assert wanted["capacityType"] == "ON_DEMAND"
    assert wanted["scalingConfig"] == {"minSize": 0, "maxSize": 1, "desiredSize": 0}


def test_runs_are_placed_as_on_a_pool_of_karpenters():
    mine, karpenters = read_cluster(held(), CATALOGUE), read_cluster(pool(), CATALOGUE)
    assert provider_of(mine.spec).placement(mine) == provider_of(karpenters.spec).placement(karpenters)
    assert provider_of(mine.spec).group(mine) == HERE
    assert provider_of(karpenters.spec).group(karpenters) is None


def test_a_steady_group_is_ready_and_looked_at_again_after_minutes():
    plan = plan_of(held(), GroupSeen(group=group()))
    assert plan.call is None
    assert find(plan.status, "Ready")["reason"] == "ScalesFromZero"
    assert find(plan.status, "Managed")["message"] == "from 0 to 4 nodes, each removed when it is idle"
    assert plan.requeue_after == 300
    again = plan_of({**held(), "status": plan.status}, GroupSeen(group=group()))
    assert (again.call, again.status, again.patch, again.requeue_after) == (None, None, (), 300)


def test_when_idle_nodes_go_is_not_foretold():
    node = {
        "metadata": {"name": "n1", "labels": {POOL_LABEL: POOL}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    status = plan_of(held(), GroupSeen(group=group()), nodes=[node]).status
    assert status["nodeStateCounts"]["idle"] == 1
    assert "idleSince" in status
    assert "scaleDownDue" not in status


@pytest.mark.parametrize(
    ("seen", "parent", "expected"),
    [
        pytest.param(group(), held(max_nodes=9), {"scalingConfig": {"minSize": 0, "maxSize": 9}}, id="more nodes"),
        pytest.param(group(), held(max_nodes=2), {"scalingConfig": {"minSize": 0, "maxSize": 2}}, id="fewer nodes"),
        pytest.param(
            group(desired=3), held(max_nodes=2), {"scalingConfig": {"minSize": 0, "maxSize": 3}}, id="fewer than there are"
        ),
        pytest.param(group(least=1), held(), {"scalingConfig": {"minSize": 0, "maxSize": 4}}, id="never empty"),
        pytest.param(group(status="DEGRADED"), held(max_nodes=9), {"scalingConfig": {"minSize": 0, "maxSize": 9}}, id="ailing"),
        pytest.param(group(labels={}), held(), {"labels": {"addOrUpdateLabels": {POOL_LABEL: POOL}}}, id="no label"),
        pytest.param(group(taints=()), held(), {"taints": {"addOrUpdateTaints": [TAINT]}}, id="no taint"),
    ],
)  # fmt: skip
def test_what_a_group_lacks_is_given_to_it(seen, parent, expected):
    plan = plan_of(parent, GroupSeen(group=seen))
    assert plan.call == call("update", **expected)
    assert plan.requeue_after == 5


def test_a_limit_that_follows_the_nodes_as_they_leave_is_looked_after():
    plan = plan_of(held(max_nodes=2), GroupSeen(group=group(most=3, desired=3)))
    assert (plan.call, plan.requeue_after) == (None, 60)


@pytest.mark.parametrize("status", ["CREATING", "UPDATING", "DELETING"])
def test_while_aws_works_on_a_group_it_is_asked_for_nothing(status):
    plan = plan_of(held(max_nodes=9), GroupSeen(group=group(status=status)))
    assert (plan.call, plan.requeue_after) == (None, 15)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        pytest.param(GroupSeen(), "is being created", id="not there yet"),
        pytest.param(GroupSeen(group=group(status="CREATING")), "AWS creates the node group", id="being created"),
        pytest.param(GroupSeen(group=group(status="DELETING")), "another one is created", id="deleted by somebody"),
    ],
)
def test_a_group_that_is_on_its_way_lets_nobody_in_and_alarms_nobody(seen, words):
    plan = plan_of(held(), seen, queue=Queue(waiting=[RUN]))
    assert find(plan.status, "Ready")["reason"] == "CreatingPool"
    assert words in find(plan.status, "Ready")["message"]
    assert find(plan.status, "Stalled") is None
    assert plan.status["provisioningState"] == "Creating"
    assert (plan.admitted, plan.events) == ((), ())


ISSUE = Issue(code="Ec2SubnetNotFound", message="The subnet is gone.", resources=("subnet-0a1b2c3d",))


@pytest.mark.parametrize(
    ("seen", "reason", "words"),
    [
        pytest.param(
            GroupSeen(group=group(tags={"trainyard.dev/compute-cluster": "other/lab"})), "PoolNotOurs", POOL, id="foreign group"
        ),
        pytest.param(
            GroupSeen(group=group(status="DEGRADED", issues=(ISSUE,))),
            "PoolNotReady",
            "DEGRADED: Ec2SubnetNotFound: The subnet is gone. (subnet-0a1b2c3d)",
            id="degraded",
        ),
        pytest.param(
            GroupSeen(group=group(status="CREATE_FAILED", issues=(ISSUE, Issue(code="AccessDenied", message="No.")))),
            "PoolNotReady",
            "(subnet-0a1b2c3d); AccessDenied: No.",
            id="never came up",
        ),
        pytest.param(GroupSeen(group=group(status="DELETE_FAILED")), "PoolNotReady", "does not say why", id="half gone"),
        pytest.param(GroupSeen(failure=DENIED), "CloudAccessDenied", DENIED.message, id="may not look"),
        pytest.param(GroupSeen(failure=THROTTLED), "CloudThrottled", "later", id="throttled"),
        pytest.param(
            GroupSeen(refusal=Refusal(call=CREATE, failure=DENIED)),
            "CloudAccessDenied",
            "is not created: not allowed to eks:CreateNodegroup",
            id="may not create",
        ),
    ],
)  # fmt: skip
def test_a_group_that_cannot_bring_nodes_says_why_and_is_asked_for_in_a_minute(seen, reason, words):
    plan = plan_of(held(), seen, queue=Queue(waiting=[RUN]))
    assert find(plan.status, "Ready")["reason"] == reason
    assert words in find(plan.status, "Ready")["message"]
    assert find(plan.status, "Stalled")["status"] == "True"
    assert plan.status["provisioningState"] == "Failed"
    assert (plan.call, plan.admitted, plan.requeue_after) == (None, (), 60)
    assert [(event.type, event.reason) for event in plan.events] == [("Warning", reason)]


def test_a_refused_call_is_made_again_after_its_pause_and_the_trouble_stays_until_it_succeeds():
    seen = GroupSeen(refusal=Refusal(call=CREATE, failure=DENIED, pausing=False))
    parent = {**held(), "status": plan_of(held(), GroupSeen(refusal=Refusal(call=CREATE, failure=DENIED))).status}
    plan = plan_of(parent, seen)
    assert plan.call == CREATE
    assert (plan.status, plan.events) == (None, ())


def test_another_call_than_the_refused_one_is_made_at_once():
    seen = GroupSeen(refusal=Refusal(call=CREATE, failure=DENIED))
    assert plan_of(held(max_nodes=9), seen).call.arguments["scalingConfig"]["maxSize"] == 9


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        pytest.param(DENIED, "CloudAccessDenied", id="lasting"),
        pytest.param(THROTTLED, "ScalesFromZero", id="passing"),
    ],
)
def test_a_change_that_was_refused_stalls_the_cluster_unless_it_passes_by_itself(failure, reason):
    refused = call("update", scalingConfig={"minSize": 0, "maxSize": 9})
    plan = plan_of(held(max_nodes=9), GroupSeen(group=group(), refusal=Refusal(call=refused, failure=failure)))
    assert find(plan.status, "Ready")["reason"] == reason
    assert (plan.call, plan.requeue_after) == (None, 60)


def adopting(**over):
    return held(provider={**eks()["spec"]["provider"], "adopt": True}, **over)


ADOPT = call("adopt", resourceArn="arn:group", tags={"trainyard.dev/compute-cluster": "default/lab"})
FOREIGN = group(arn="arn:group", tags={"team": "vision"}, labels={})


def test_somebody_elses_group_is_taken_over_where_the_spec_says_so_and_then_gets_what_it_lacks():
    plan = plan_of(adopting(), GroupSeen(group=FOREIGN))
    assert plan.call == ADOPT
    assert find(plan.status, "Ready")["reason"] == "CreatingPool"
    assert "taken over" in find(plan.status, "Ready")["message"]
    taken = replace(FOREIGN, tags={**FOREIGN.tags, **ADOPT.arguments["tags"]})
    assert plan_of(adopting(), GroupSeen(group=taken)).call.arguments == {
        "labels": {"addOrUpdateLabels": {POOL_LABEL: POOL}}
    }
    assert plan_of(adopting(deleting=True), GroupSeen(group=taken)).call == call("delete")


@pytest.mark.parametrize(
    ("parent", "seen", "reason", "words"),
    [
        pytest.param(held(), GroupSeen(group=FOREIGN), "PoolNotOurs", "set spec.provider.adopt", id="nobody said so"),
        pytest.param(
            adopting(),
            GroupSeen(group=group(tags={"trainyard.dev/compute-cluster": "other/lab"})),
            "PoolNotOurs",
            "belongs to the ComputeCluster other/lab",
            id="another cluster's",
        ),
        pytest.param(
            adopting(),
            GroupSeen(group=FOREIGN, refusal=Refusal(call=ADOPT, failure=DENIED)),
            "CloudAccessDenied",
            "is not taken over",
            id="the tag is refused",
        ),
    ],
)
def test_a_group_that_stays_somebody_elses_is_left_alone_and_says_why(parent, seen, reason, words):
    plan = plan_of(parent, seen)
    assert plan.call is None
    assert find(plan.status, "Ready")["reason"] == reason
    assert words in find(plan.status, "Ready")["message"]


def deleting(**over):
    return held(deleting=True, **over)


def is_released(plan):
    return [patch.body["metadata"]["finalizers"] for patch in plan.patch] == [[]]


def test_a_cluster_that_goes_waits_for_its_runs_before_its_group_is_deleted():
    plan = plan_of(deleting(), GroupSeen(group=group()), queue=Queue(admitted={"uid-a": RUN}))
    assert (plan.call, plan.patch) == (None, ())
    assert find(plan.status, "Deleting")["reason"] == "WaitingForRuns"


@pytest.mark.parametrize(
    ("seen", "expected", "words", "seconds"),
    [
        pytest.param(None, None, "", 2, id="nobody has looked"),
        pytest.param(GroupSeen(group=group()), call("delete"), "", 5, id="it is there"),
        pytest.param(GroupSeen(group=group(status="DELETING")), None, "AWS deletes the node group", 15, id="it is going"),
        pytest.param(
            GroupSeen(group=group(status="DELETE_FAILED", issues=(ISSUE,))), call("delete"), "Ec2SubnetNotFound", 5, id="it does not go"
        ),
        pytest.param(
            GroupSeen(group=group(), refusal=Refusal(call=call("delete"), failure=DENIED)),
            None,
            "not allowed to eks:CreateNodegroup; or set spec.deletionPolicy to Retain",
            60,
            id="it may not be deleted",
        ),
        pytest.param(
            GroupSeen(group=group(), refusal=Refusal(call=call("delete"), failure=DENIED, pausing=False)),
            call("delete"),
            "not allowed",
            60,
            id="it is tried again",
        ),
        pytest.param(GroupSeen(failure=DENIED), None, "or set spec.deletionPolicy to Retain", 60, id="it cannot be seen"),
    ],
)  # fmt: skip
def test_a_cluster_that_goes_waits_for_its_group_and_says_so(seen, expected, words, seconds):
    plan = plan_of(deleting(), seen)
    assert plan.call == expected
    assert plan.patch == ()
    assert plan.requeue_after == seconds
    assert find(plan.status, "Deleting")["reason"] == "WaitingForNodes"
    assert words in find(plan.status, "Deleting")["message"]


@pytest.mark.parametrize(
    ("parent", "seen"),
    [
        pytest.param(deleting(), GroupSeen(), id="the group is gone"),
        pytest.param(deleting(), GroupSeen(group=group(tags={})), id="the group is somebody else's"),
        pytest.param(
            deleting(),
            GroupSeen(failure=replace(DENIED, reason=Reason.EKS_CLUSTER_NOT_FOUND)),
            id="the whole EKS cluster is not there",
        ),
        pytest.param(deleting(deletionPolicy="Retain"), GroupSeen(group=group()), id="the group is to stay"),
        pytest.param(deleting(deletionPolicy="Retain"), None, id="the group is to stay and nobody has looked"),
    ],
)
def test_a_cluster_with_nothing_left_to_remove_goes(parent, seen):
    plan = plan_of(parent, seen)
    assert plan.call is None
    assert is_released(plan)
