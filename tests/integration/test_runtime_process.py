"""The operator as a process: started, killed, replaced, robbed of its lease."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys

import pytest

from tests.perf.process import OperatorProcess
from tests.support.lab import sweep
from trainyard_operator.api.names import NODE_CLAIM, NODE_POOL

# Long enough for a machine that does other things as well.
SECONDS = 120.0
MANY = 300
RUN = """
apiVersion: trainyard.dev/v1alpha1
kind: TrainingJob
metadata: {name: NAME}
spec: {source: {inline: {train.py: "print(1)"}}}
"""

numbers = itertools.count()


class Cluster:
    """kubectl in a namespace of its own."""

    def __init__(self, control_plane):
        self.control_plane = control_plane
        self.namespace = f"process-{next(numbers)}"
        control_plane.kubectl("create", "namespace", self.namespace)
        if not control_plane.kubectl("get", "namespace", "trainyard-system", "--ignore-not-found"):
            control_plane.kubectl("create", "namespace", "trainyard-system")

    def run(self, name):
        self.kubectl("apply", "-f", "-", text=RUN.replace("NAME", name))

    def kubectl(self, *arguments, **more):
        return self.control_plane.kubectl("-n", self.namespace, *arguments, **more)

    def get(self, kind):
        return {item["metadata"]["name"]: item for item in json.loads(self.kubectl("get", kind, "-o", "json"))["items"]}

    async def planned(self, name):
        """Wait until the operator has written the first status of a run; return the run."""
        async with asyncio.timeout(SECONDS):
            while True:
                found = (await asyncio.to_thread(self.get, "trainingjobs"))[name]
                if (found.get("status") or {}).get("jobName"):
                    return found
                await asyncio.sleep(0.1)

    def ended(self):
        runs = self.get("trainingjobs")
        return {name for name, run in runs.items() if run.get("status", {}).get("phase") == "Canceled"}

    def rob(self):
        patch = json.dumps({"spec": {"holderIdentity": "thief"}})
        self.control_plane.kubectl(
            "-n", "trainyard-system", "patch", "lease", "trainyard-operator", "--type=merge", "-p", patch
        )


@pytest.fixture
def cluster(control_plane):
    found = Cluster(control_plane)
    yield found
    sweep(control_plane, found.namespace)
    # The next test's operator must not wait for a holder that is gone.
    control_plane.kubectl("-n", "trainyard-system", "delete", "lease", "trainyard-operator", "--ignore-not-found")


@pytest.fixture
def operator(control_plane, tmp_path):
    def make(identity="operator-0"):
        return OperatorProcess(kubeconfig=control_plane.kubeconfig, log=tmp_path / f"{identity}.log", identity=identity)

    return make


async def test_a_killed_operator_comes_back_at_once_and_repeats_nothing(cluster, operator):
    async with operator() as first:
        await first.settled()  # with what earlier tests have left
        cluster.run("one")
        before = await cluster.planned("one")
        assert await first.end(signal.SIGKILL) == -signal.SIGKILL
    cluster.run("two")
    async with operator() as second:
        await cluster.planned("two")
        await second.settled(quiet_seconds=1.0)
        samples = await second.metrics()
    after = cluster.get("trainingjobs")["one"]
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert len(cluster.get("jobs")) == 2
    assert samples['trainyard_api_calls_total{code="201",kind="Job",verb="create"}'] == 1


async def test_a_second_operator_stands_by_and_takes_over_when_the_first_leaves(cluster, operator):
    async with operator("first") as first, operator("second") as second:
        assert (await second.metrics())["trainyard_leader"] == 0
        assert await first.end(signal.SIGTERM) == 0
        cluster.run("one")
        await cluster.planned("one")
        assert (await second.metrics())["trainyard_leader"] == 1


async def test_an_operator_that_is_robbed_of_its_lease_ends_at_once(cluster, operator):
    async with operator() as running:
        cluster.rob()
        assert await running.ended() == 75


async def test_signals_that_come_twice_end_it_as_cleanly_as_one(cluster, operator, tmp_path):
    async with operator() as running:
        ending = asyncio.create_task(running.end(signal.SIGTERM))
        await asyncio.sleep(0)
        assert await running.end(signal.SIGTERM) == 0
        assert await ending == 0
    assert "Traceback" not in (tmp_path / "operator-0.log").read_text()


async def test_what_was_begun_is_finished_before_the_end(cluster, operator):
    canceled = RUN.replace("spec: {", "spec: {cancel: true, ")
    cluster.kubectl("create", "-f", "-", text="---".join(canceled.replace("NAME", f"run-{n}") for n in range(MANY)))
    async with operator() as running:
        async with asyncio.timeout(SECONDS):
            while not cluster.ended():  # noqa: ASYNC110 - another process ends them
                await asyncio.sleep(0.05)
        assert await running.end(signal.SIGTERM) == 0
    told = {event["involvedObject"]["name"] for event in cluster.get("events").values()}
    assert cluster.ended() - told == set(), "a status without its Event"


@pytest.fixture
def karpenter(control_plane):
    """Return what installs Karpenter's kinds, and what removes them."""
    kinds = [(NODE_POOL, "nodepool"), (NODE_CLAIM, "nodeclaim")]
    definitions = [
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{kind.plural}.{kind.group}"},
            "spec": {
                "group": kind.group,
                "scope": "Cluster",
                "names": {"kind": kind.kind, "plural": kind.plural, "singular": singular},
                "versions": [
                    {
                        "name": kind.version,
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                    }
                ],
            },
        }
        for kind, singular in kinds
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": definitions})

    def apply(verb, *more):
        control_plane.kubectl(verb, "-f", "-", *more, text=text)

    yield apply
    apply("delete", "--ignore-not-found")


async def test_it_starts_again_when_karpenters_kinds_come_and_when_they_go(cluster, operator, karpenter):
    async with operator("without") as running:
        karpenter("apply")
        assert await running.ended() == 0
    async with operator("with") as running:
        cluster.run("one")
        await cluster.planned("one")
        karpenter("delete")
        assert await running.ended() != 0
    async with operator("without-again"):
        cluster.run("two")
        await cluster.planned("two")


def test_what_is_not_configured_is_said_in_one_line():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRAINYARD_")}
    result = subprocess.run(
        [sys.executable, "-m", "trainyard_operator"], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 78
    assert (
        result.stderr
        == "trainyard-operator: TRAINYARD_TRAINER_IMAGE is not set: set it in the operator's environment\n"
    )
