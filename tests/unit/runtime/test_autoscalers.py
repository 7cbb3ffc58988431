from __future__ import annotations

import asyncio

import pytest

from tests.unit.runtime.fakes import FakeClient
from trainyard_operator.api.compute_cluster import AutoscalerSettings
from trainyard_operator.api.names import CONFIG_MAP
from trainyard_operator.kube.errors import Forbidden, Unavailable
from trainyard_operator.runtime.autoscalers import FORGET_SECONDS, Autoscalers

HERE = AutoscalerSettings(node_groups=("g",), namespace="kube-system", config_map="status")
GETS = "get configmaps"


class Bench:
    """Autoscalers over a fake cluster, and a clock."""

    def __init__(self):
        self.client, self.now = FakeClient(), 0.0
        self.autoscalers = Autoscalers(self.client, clock=lambda: self.now)

    def write(self, most):
        annotations = {"cluster-autoscaler.kubernetes.io/last-updated": "2026-11-23 11:59:55 +0000 UTC"}
        text = f"autoscalerStatus: Running\nnodeGroups: [{{name: g, health: {{maxSize: {most}}}}}]"
        metadata = {"name": HERE.config_map, "namespace": HERE.namespace, "annotations": annotations}
        self.client.seed(CONFIG_MAP, {"metadata": metadata, "data": {"status": text}})

    async def most(self, *, max_age=9):
        return (await self.autoscalers.look(HERE, max_age=max_age)).groups["g"].most

    def fail(self, error):
        def refuse(*_):
            raise error

        self.client.before = refuse


@pytest.fixture
def bench():
    return Bench()


async def test_a_status_is_read_once_for_all_who_ask_within_a_time(bench):
    bench.write(3)
    assert await asyncio.gather(*(bench.most() for _ in range(5))) == [3] * 5
    bench.now = 8.9
    assert await bench.most() == 3
    assert bench.client.calls[GETS] == 1


async def test_a_status_is_read_again_when_it_is_too_old_for_who_asks(bench):
    bench.write(3)
    await bench.most()
    bench.write(5)
    bench.now = 9
    assert await bench.most(max_age=29) == 3
    assert await bench.most(max_age=9) == 5


@pytest.mark.parametrize("error", [None, Forbidden("no", code=403)], ids=["not there", "not allowed"])
async def test_a_status_that_is_not_there_is_told_and_found_when_it_comes(bench, error):
    bench.write(3)
    await bench.most()
    bench.now = 10
    if error is None:
        gone = bench.client.objects.pop((CONFIG_MAP.plural, HERE.namespace, HERE.config_map))
    else:
        bench.fail(error)
    said = await bench.autoscalers.look(HERE, max_age=9)
    assert "there is no status of Cluster Autoscaler in the ConfigMap kube-system/status" in said.words
    bench.client.before = lambda *_: None
    if error is None:
        bench.client.objects[CONFIG_MAP.plural, HERE.namespace, HERE.config_map] = gone
    bench.now = 20
    assert await bench.most() == 3


async def test_what_was_known_stays_while_the_api_server_is_away(bench):
    bench.fail(Unavailable("away"))
    assert "cannot be read now" in (await bench.autoscalers.look(HERE, max_age=9)).words
    bench.client.before = lambda *_: None
    bench.write(3)
    bench.now = 10
    await bench.most()
    bench.fail(Unavailable("away"))
    bench.now = 20
    assert await bench.most() == 3


async def test_a_config_map_that_nobody_asks_for_is_forgotten(bench):
    bench.write(3)
    await bench.most()
    bench.now = FORGET_SECONDS + 1
    other = AutoscalerSettings(node_groups=("g",), namespace="other", config_map="status")
    await bench.autoscalers.look(other, max_age=9)
    assert list(bench.autoscalers._entries) == [("other", "status")]
