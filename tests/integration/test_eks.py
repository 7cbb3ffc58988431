"""The life of a ComputeCluster of the provider EKS: its object is on a real API server, its node group in a played AWS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial

import pytest

from tests.support.aws import CLUSTER, REGION, Aws
from tests.support.rules import eks
from trainyard_operator.api.names import COMPUTE_CLUSTER, EVENT, FINALIZER, pool_name
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.cloud.eks import EksApi
from trainyard_operator.cloud.groups import PacedNodeGroups
from trainyard_operator.domain.conditions import find
from trainyard_operator.domain.job import PodSettings
from trainyard_operator.kube.client import KubeClient, find_one
from trainyard_operator.kube.connection import from_kubeconfig
from trainyard_operator.runtime.autoscalers import Autoscalers
from trainyard_operator.runtime.controllers.compute_cluster import ComputeClusterController
from trainyard_operator.runtime.executor import Executor
from trainyard_operator.runtime.informer import Informer
from trainyard_operator.runtime.memory import Memory
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.queues import Key, Queues
from trainyard_operator.runtime.reconciler import Reconciler
from trainyard_operator.runtime.store import Store
from trainyard_operator.runtime.watched import PLANNED

NAMESPACE = "default"
POOL = pool_name(NAMESPACE, "case")
CATALOGUE = Catalogue.parse({"SMALL": {"cpu": "2", "memory": "8Gi", "instanceTypes": {"eks": ["m7i.large"]}}})
WRITES = ("CreateNodegroup", "UpdateNodegroupConfig", "DeleteNodegroup")


class Operator:
    """The parts of an operator that bring one ComputeCluster on, step by step, at a time of their own."""

    def __init__(self, client: KubeClient, aws: Aws) -> None:
        self.client, self.seconds = client, 0.0
        self.store = Store()
        queues = Queues(kinds=PLANNED, clock=asyncio.get_running_loop())
        book = QueueBook(store=self.store, catalogue=CATALOGUE)
        self.informer = Informer(store=self.store, book=book, queues=queues)
        groups = PacedNodeGroups(EksApi(aws.connect), clock=lambda: self.seconds, patience=30)
        executor = Executor(
            client=client, store=self.store, informer=self.informer, memory=Memory(), copy=None, beyond=None,
            erase=None, groups=groups, environments=None, keeper=None, background=None, now=partial(datetime.now, UTC),
        )  # fmt: skip
        controller = ComputeClusterController(
            store=self.store, book=book, client=client, catalogue=CATALOGUE, karpenter=False, groups=groups,
            autoscalers=Autoscalers(client),
            pods=PodSettings(trainer_image="trainer:1", gateway_url="https://gateway:8443", gateway_ca="PEM"),
        )  # fmt: skip
        self.reconciler = Reconciler(
            controller=controller, queue=queues[COMPUTE_CLUSTER], store=self.store, executor=executor,
            now=partial(datetime.now, UTC), observer=lambda **_: None,
        )  # fmt: skip

    async def step(self, *, after: float = 0.0):
        """Reconcile the cluster as it is on the API server; return it as it is then, None once it is gone."""
        self.seconds += after
        found = await self.get()
        self.informer.take(COMPUTE_CLUSTER, found)
        await self.reconciler.reconcile(Key(COMPUTE_CLUSTER.plural, NAMESPACE, "case"))
        return await self.get()

    async def get(self):
        return await find_one(self.client, COMPUTE_CLUSTER, "case", namespace=NAMESPACE)


@pytest.fixture
async def client(control_plane) -> AsyncIterator[KubeClient]:
    connection = from_kubeconfig(control_plane.kubeconfig)
    async with connection.open_session() as session:
        yield KubeClient(connection=connection, session=session)


@pytest.fixture
def aws():
    with Aws() as account:
        yield account


@pytest.fixture
async def operator(client, aws):
    await client.create(COMPUTE_CLUSTER, eks(clusterName=CLUSTER, region=REGION))
    made = Operator(client, aws)
    yield made
    left = await made.get()
    if left is not None:
        await client.patch(COMPUTE_CLUSTER, "case", {"metadata": {"finalizers": None}}, namespace=NAMESPACE)
        await delete(client, left)


async def delete(client, obj):
    meta = obj["metadata"]
    await client.delete(COMPUTE_CLUSTER, meta["name"], namespace=meta["namespace"], uid=meta["uid"])


async def steady(operator, aws):
    await operator.step()
    aws.settle(POOL)
    return await operator.step(after=15)


def ready(obj):
    condition = find(obj["status"], "Ready")
    return condition["status"], condition["reason"]


async def test_a_node_group_comes_scales_ails_and_goes_with_its_cluster(client, operator, aws):
    made = await operator.step()
    assert made["metadata"]["finalizers"] == [FINALIZER]
    assert aws.names() == [POOL]
    assert made["status"]["provisioningState"] == "Creating"
    assert ready(await operator.step(after=15)) == ("False", "CreatingPool")

    aws.settle(POOL)
    settled = await operator.step(after=15)
    assert ready(settled) == ("True", "ScalesFromZero")
    assert settled["status"]["nodesSummary"] == "0/4"

    await client.patch(COMPUTE_CLUSTER, "case", {"spec": {"scale": {"maxNodes": 9}}}, namespace=NAMESPACE)
    await operator.step(after=1)
    assert aws.group(POOL).scaling_config["maxSize"] == 9
    assert ready(await operator.step(after=5)) == ("True", "ScalesFromZero")

    aws.ail(POOL, "DEGRADED", ("AsgInstanceLaunchFailures", "No capacity in zone a.", ["asg-1"]))
    ailing = await operator.step(after=300)
    assert ready(ailing) == ("False", "PoolNotReady")
    message = "DEGRADED: AsgInstanceLaunchFailures: No capacity in zone a. (asg-1)"
    assert message in find(ailing["status"], "Stalled")["message"]
    assert ailing["status"]["provisioningState"] == "Failed"

    aws.settle(POOL)
    well = await operator.step(after=60)
    assert ready(well) == ("True", "ScalesFromZero")
    assert find(well["status"], "Stalled") is None

    await delete(client, well)
    going = await operator.step()
    assert aws.group(POOL).status == "DELETING"
    assert find(going["status"], "Deleting")["reason"] == "WaitingForNodes"
    assert (await operator.step(after=15))["status"]["provisioningState"] == "Deleting"
    aws.settle(POOL)
    assert await operator.step(after=15) is None
    assert [aws.calls[name] for name in WRITES] == [1, 1, 1]

    events = [e async for page in client.pages(EVENT, namespace=NAMESPACE) for e in page.items]
    told = [e["reason"] for e in events if e["involvedObject"].get("uid") == well["metadata"]["uid"]]
    # An Event is told once, however often it comes true.
    assert sorted(told) == ["PoolNotReady", "ScalesFromZero", "WaitingForNodes"]


async def test_a_steady_cluster_writes_nothing_and_asks_aws_seldom(operator, aws):
    await steady(operator, aws)
    before = await operator.step(after=60)
    looks = aws.calls["DescribeNodegroup"]
    for _ in range(20):
        now = await operator.step(after=1)
    assert now["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert aws.calls["DescribeNodegroup"] == looks
    assert [aws.calls[name] for name in WRITES] == [1, 0, 0]


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        pytest.param("AccessDeniedException", 403, "CloudAccessDenied", id="denied"),
        pytest.param("ThrottlingException", 400, "CloudThrottled", id="throttled"),
        pytest.param("InvalidParameterException", 400, "CloudRefused", id="refused"),
    ],
)
async def test_a_group_that_cannot_be_created_is_asked_for_once_a_minute_and_comes_in_the_end(
    operator, aws, code, status, reason
):
    aws.fails["CreateNodegroup"] = (code, status)
    await operator.step()
    for _ in range(10):
        failed = await operator.step(after=5)
    assert ready(failed) == ("False", reason)
    assert f"{code}: words of {code}" in find(failed["status"], "Stalled")["message"]
    assert aws.calls["CreateNodegroup"] == 1
    del aws.fails["CreateNodegroup"]
    await operator.step(after=60)
    assert aws.names() == [POOL]
    assert ready(await operator.step(after=15)) == ("False", "CreatingPool")


async def test_a_moment_of_throttling_is_no_trouble_and_a_lasting_one_is(operator, aws):
    await steady(operator, aws)
    aws.fails["DescribeNodegroup"] = ("ThrottlingException", 400)
    assert ready(await operator.step(after=60)) == ("True", "ScalesFromZero")
    assert ready(await operator.step(after=300)) == ("False", "CloudThrottled")
    del aws.fails["DescribeNodegroup"]
    assert ready(await operator.step(after=60)) == ("True", "ScalesFromZero")


async def test_a_group_of_that_name_that_is_somebody_elses_is_left_alone(client, operator, aws):
    aws.connect(REGION).create_nodegroup(
        clusterName=CLUSTER, nodegroupName=POOL, nodeRole="arn:aws:iam::111122223333:role/x", subnets=["subnet-1"]
    )
    aws.settle(POOL)
    calls = dict(aws.calls)
    found = await operator.step()
    assert ready(found) == ("False", "PoolNotOurs")
    await delete(client, found)
    assert await operator.step(after=60) is None
    assert aws.names() == [POOL]
    assert {name: aws.calls[name] for name in WRITES} == {name: calls.get(name, 0) for name in WRITES}


async def test_a_group_of_that_name_is_taken_over_when_the_spec_says_so_and_goes_with_the_cluster(
    client, operator, aws
):
    aws.connect(REGION).create_nodegroup(
        clusterName=CLUSTER, nodegroupName=POOL, nodeRole="arn:aws:iam::111122223333:role/x", subnets=["subnet-1"]
    )
    aws.settle(POOL)
    assert ready(await operator.step()) == ("False", "PoolNotOurs")
    await client.patch(COMPUTE_CLUSTER, "case", {"spec": {"provider": {"adopt": True}}}, namespace=NAMESPACE)
    await operator.step(after=60)
    # The owner first, then label, taint and limits.
    await operator.step(after=5)
    taken = await operator.step(after=5)
    assert ready(taken) == ("True", "ScalesFromZero")
    assert aws.group(POOL).scaling_config["maxSize"] == 4
    assert aws.calls["TagResource"] == 1
    await delete(client, taken)
    await operator.step()
    assert aws.group(POOL).status == "DELETING"
    aws.settle(POOL)
    assert await operator.step(after=15) is None


async def test_a_group_that_is_to_stay_stays_and_is_taken_up_again(client, operator, aws):
    found = await steady(operator, aws)
    await client.patch(COMPUTE_CLUSTER, "case", {"spec": {"deletionPolicy": "Retain"}}, namespace=NAMESPACE)
    await delete(client, found)
    assert await operator.step() is None
    assert aws.names() == [POOL]
    await client.create(COMPUTE_CLUSTER, eks(clusterName=CLUSTER, region=REGION))
    assert ready(await operator.step(after=60)) == ("True", "ScalesFromZero")
    assert aws.calls["CreateNodegroup"] == 1
