"""An operator before an object store that does not keep its word about conditional writes."""

from __future__ import annotations

from tests.perf.process import OperatorProcess
from tests.support.fault_proxy import FaultProxy
from tests.support.registrations import Registrations, ready
from trainyard_operator.kube.client import KubeClient
from trainyard_operator.kube.connection import from_kubeconfig
from trainyard_operator.storage.store import S3Store


async def test_a_model_says_that_its_store_cannot_be_trusted_and_is_registered_all_the_same(
    control_plane, versitygw, tmp_path
):
    if not control_plane.kubectl("get", "namespace", "trainyard-system", "--ignore-not-found"):
        control_plane.kubectl("create", "namespace", "trainyard-system")
    connection, log = from_kubeconfig(control_plane.kubeconfig), tmp_path / "operator.log"
    objects = await S3Store.open(
        endpoint=versitygw.endpoint, region=versitygw.region, bucket="trainyard",
        access_key=versitygw.keys.access, secret_key=versitygw.keys.secret,
    )  # fmt: skip
    async with (
        connection.open_session() as session,
        FaultProxy(versitygw, without="if-none-match") as deaf,
        OperatorProcess(kubeconfig=control_plane.kubeconfig, log=log, objects=deaf) as operator,
    ):
        world = Registrations(KubeClient(connection=connection, session=session), objects, namespace="doubts")
        await world.start()
        await world.completed(await world.run("one", "doubted"))
        await world.settled("doubted", versions=1)
        found = await world.until(lambda: world.model("doubted"), lambda found: ready(found, "StoreTrusted")[0])
        assert ready(found, "StoreTrusted")[:2] == ("False", "ConditionalWritesIgnored")
        assert (await operator.metrics())["trainyard_store_conditional_writes"] == 0
    objects.close()
    assert "ignores If-None-Match" in log.read_text()
    control_plane.kubectl("-n", "trainyard-system", "delete", "lease", "trainyard-operator", "--ignore-not-found")
