"""Kinds of other programs, which may come later than the operator."""

from __future__ import annotations

import pytest

from tests.unit.runtime.fakes import FakeClient
from trainyard_operator.api.names import NODE_POOL, WORKLOAD
from trainyard_operator.kube.errors import NotFound, Unavailable
from trainyard_operator.runtime import discovery


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(discovery, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(discovery, "LOOK_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("answers", "served"),
    [
        pytest.param([], True, id="there"),
        pytest.param([NotFound("no such group")], False, id="no such group"),
        pytest.param([Unavailable("down"), Unavailable("down")], True, id="asked again"),
    ],
)
async def test_whether_a_kind_is_served(answers, served):
    client = FakeClient()

    def before(_verb, _kind, _name):
        if answers:
            raise answers.pop(0)

    client.before = before
    assert await discovery.serves(client, WORKLOAD) is served
    assert answers == []


async def test_the_first_kind_that_appears_is_told():
    client = FakeClient()
    client.undiscovered = {NODE_POOL.plural, WORKLOAD.plural}

    def before(_verb, _kind, _name):
        if client.calls.total() > 5:
            client.undiscovered.discard(WORKLOAD.plural)

    client.before = before
    assert await discovery.appears(client, [NODE_POOL, WORKLOAD]) == WORKLOAD
