from __future__ import annotations

import dataclasses

import pytest

from devcluster.pool.options import Options
from devcluster.pool.plan import Plan, PoolNode, claimed, plan, pool_nodes

NODE = PoolNode(name="kwok-a", uid="a", provider_id="kwok://kwok-a", size="SMALL", created=1000)
READY = dataclasses.replace(NODE, ready=True)
DEAD = dataclasses.replace(READY, order="die", since=1100)
RECLAIMED = dataclasses.replace(READY, order="reclaim", since=1100)


def change(node: PoolNode, **changes) -> PoolNode:
    return dataclasses.replace(node, **changes)


@pytest.mark.parametrize(
    ("nodes", "machines", "options", "now", "expected"),
    [
        pytest.param([], {}, Options(), 1000, Plan(), id="nothing there"),
        pytest.param([NODE], {}, Options(), 1000, Plan(start=[NODE]), id="a Node without a machine"),
        pytest.param([NODE], {"a": True}, Options(), 1000, Plan(), id="a machine that runs"),
        pytest.param([NODE], {"a": False}, Options(), 1000, Plan(start=[NODE]), id="a machine that ended is started"),
        pytest.param([], {"a": True}, Options(), 1000, Plan(remove=["a"]), id="a machine whose Node is gone"),
        pytest.param([change(NODE, deleting=True)], {}, Options(), 1000, Plan(), id="a Node on its way out"),
        pytest.param([NODE], {}, Options(boot_delay=20), 1005, Plan(due=1020), id="slow boot, early"),
        pytest.param([NODE], {}, Options(boot_delay=20), 1020, Plan(start=[NODE]), id="slow boot, over"),
        pytest.param([NODE], {}, Options(boot_fails=True), 1100, Plan(), id="failing boot"),
        pytest.param([NODE], {"a": True}, Options(boot_fails=True), 1100, Plan(), id="what runs already goes on"),
        pytest.param(
            [change(DEAD, since=None)],
            {"a": True},
            Options(),
            1100,
            Plan(power_off=[change(DEAD, since=None)], begin=[change(DEAD, since=None)], due=1110),
            id="death is sudden",
        ),
        pytest.param([DEAD], {"a": False}, Options(), 1105, Plan(due=1110), id="the dead are not started again"),
        pytest.param([DEAD], {"a": True}, Options(), 1105, Plan(power_off=[DEAD], due=1110), id="nor do they go on"),
        pytest.param(
            [DEAD], {"a": False}, Options(), 1110, Plan(release=[DEAD]), id="a dead machine's Node is deleted"
        ),
        pytest.param(
            [change(DEAD, deleting=True)],
            {"a": False},
            Options(),
            1110,
            Plan(release=[change(DEAD, deleting=True)]),
            id="also while it is being drained",
        ),
        pytest.param(
            [change(DEAD, deleting=True, ready=False)], {"a": False}, Options(), 1110, Plan(), id="but only once"
        ),
        pytest.param(
            [change(RECLAIMED, since=None)],
            {"a": True},
            Options(),
            1100,
            Plan(begin=[change(RECLAIMED, since=None)], due=1105),
            id="reclaim begins with a notice",
        ),
        pytest.param(
            [RECLAIMED], {"a": True}, Options(), 1105, Plan(drain=[RECLAIMED], due=1135), id="then it is drained"
        ),
        pytest.param(
            [change(RECLAIMED, deleting=True)], {"a": True}, Options(), 1106, Plan(due=1135), id="drained only once"
        ),
        pytest.param(
            [change(RECLAIMED, deleting=True)],
            {"a": True},
            Options(),
            1135,
            Plan(
                power_off=[change(RECLAIMED, deleting=True)],
                release=[change(RECLAIMED, deleting=True)],
            ),
            id="and cut off whether it is through or not",
        ),
    ],
)
def test_what_is_next(nodes: list[PoolNode], machines: dict[str, bool], options: Options, now: float, expected: Plan):
    claims = {node.provider_id for node in nodes}
    assert plan(nodes=nodes, claims=claims, machines=machines, options=options, now=now) == expected


@pytest.mark.parametrize(
    ("node", "now", "expected"),
    [
        pytest.param(NODE, 1005, Plan(due=1010), id="its claim may not say so yet"),
        pytest.param(NODE, 1010, Plan(release=[NODE]), id="nobody else would ever delete it"),
        pytest.param(change(NODE, deleting=True), 1010, Plan(), id="it is being deleted"),
    ],
)
def test_a_node_that_no_claim_is_for_is_deleted(node: PoolNode, now: float, expected: Plan):
    claims = claimed([{"status": {}}, {"status": {"providerID": "kwok://other"}}])
    assert plan(nodes=[node], claims=claims, machines={"a": True}, options=Options(), now=now) == expected


def test_only_nodes_of_the_provider_are_the_pools_and_the_oldest_come_first():
    def item(name: str, provider_id: str, created: str, **metadata) -> dict:
        spec = {"providerID": provider_id} if provider_id else {}
        return {"metadata": {"name": name, "uid": name, "creationTimestamp": created, **metadata}, "spec": spec}

    items = [
        item("node-0", "", "2026-01-01T00:00:00Z"),
        item("second", "kwok://second", "2026-01-01T00:00:02Z"),
        item(
            "first",
            "kwok://first",
            "2026-01-01T00:00:01Z",
            labels={"node.kubernetes.io/instance-type": "SMALL"},
            annotations={"trainyard.dev/pool-agent": "die", "trainyard.dev/pool-agent-since": "12.5"},
            deletionTimestamp="2026-01-01T00:01:00Z",
        ),
    ]
    first, second = pool_nodes(items)
    assert (first.name, first.size, first.order, first.since, first.deleting) == ("first", "SMALL", "die", 12.5, True)
    assert (second.name, second.order, second.since, second.deleting) == ("second", "", None, False)
    assert second.created - first.created == 1
