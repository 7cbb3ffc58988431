from __future__ import annotations

import json

import pytest

from devcluster.pool import joining
from devcluster.pool.options import Options
from devcluster.pool.plan import PROVIDER, plan, pool_nodes

OURS = {"key": joining.UNINITIALIZED, "value": "true", "effect": "NoSchedule"}
KARPENTERS = {"key": joining.UNREGISTERED, "effect": "NoExecute"}
POOLS = {"key": "trainyard.dev/pool", "effect": "NoSchedule"}
ANSWERED, ASKED = {joining.ANSWER: "0"}, {joining.ASKED: "true"}
ASK = [
    {"op": "add", "path": "/metadata/annotations/trainyard.dev~1pool-agent-asked", "value": "true"},
    {"op": "remove", "path": "/metadata/annotations/node.alpha.kubernetes.io~1ttl"},
]


def node(*taints: dict[str, str], **annotations: str) -> dict:
    return {"metadata": {"name": "kwok-a", "annotations": annotations}, "spec": {"taints": [*taints]}}


@pytest.mark.parametrize(
    ("seen", "ready", "expected"),
    [
        pytest.param(node(KARPENTERS, OURS, **ANSWERED), True, [], id="Karpenter's taint is still there"),
        pytest.param(node(POOLS, OURS, **ANSWERED), False, [], id="the machine is not ready"),
        pytest.param(node(POOLS, OURS), True, [], id="what is taken away to ask was never there"),
        pytest.param(node(POOLS, OURS, **ANSWERED), True, ASK, id="the controllers are asked"),
        pytest.param(node(POOLS, OURS, **ASKED), True, [], id="they have not answered"),
        pytest.param(node(POOLS, **ANSWERED), True, [], id="a Node that may have pods"),
        pytest.param({"metadata": {}, "spec": {}}, True, [], id="a Node with nothing"),
    ],
)
def test_a_node_waits_until_the_controllers_know_that_karpenters_taint_is_off(seen, ready, expected):
    assert joining.next_step(seen, ready=ready) == expected
    assert not joining.admits(expected)


def test_a_node_may_have_pods_once_they_have_answered_and_no_other_taint_goes():
    step = joining.next_step(node(POOLS, OURS, **ASKED, **ANSWERED), ready=True)
    assert joining.admits(step)
    assert step == [
        {"op": "test", "path": "/spec/taints/1/key", "value": joining.UNINITIALIZED},
        {"op": "remove", "path": "/spec/taints/1"},
        {"op": "remove", "path": "/metadata/annotations/trainyard.dev~1pool-agent-asked"},
    ]


def test_the_agent_takes_the_step_of_a_node_whose_machine_is_ready():
    item = node(POOLS, OURS, **ANSWERED)
    item["metadata"] |= {"uid": "a", "creationTimestamp": "2026-01-01T00:00:00Z"}
    item["spec"]["providerID"] = f"{PROVIDER}kwok-a"
    for status, expected in (("False", []), ("True", ["kwok-a"])):
        item["status"] = {"conditions": [{"type": "Ready", "status": status}]}
        nodes = pool_nodes([item])
        decided = plan(nodes=nodes, claims={nodes[0].provider_id}, machines={"a": True}, options=Options(), now=0)
        assert [found.name for found in decided.join] == expected


def test_only_nodes_of_the_provider_have_the_second_taint_from_the_start():
    documents = joining.documents(provider=PROVIDER)
    policy, binding = documents.values()
    (mutation,) = policy["spec"]["mutations"]
    (condition,) = policy["spec"]["matchConditions"]
    assert json.dumps(OURS) in mutation["jsonPatch"]["expression"]
    assert PROVIDER in condition["expression"]
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
