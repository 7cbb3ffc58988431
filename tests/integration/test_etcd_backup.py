"""A cluster whose etcd comes back from a backup, while the object store went on."""

from __future__ import annotations

import shutil

import pytest

from devcluster.controlplane import ControlPlane
from tests.perf.process import OperatorProcess
from tests.support.lab import Lab
from trainyard_operator.api.names import REGISTERED_MODEL, TRAINING_JOB
from trainyard_operator.kube.client import KubeClient
from trainyard_operator.kube.connection import from_kubeconfig

DIGITS = {"name": "digits", "path": "outputs/m.pkl"}
SERVERS = ("kube-apiserver", "etcd")


@pytest.fixture
def cluster(tmp_path, repository):
    """A control plane of one's own, to be stopped as one likes."""
    with ControlPlane(home=tmp_path / "cluster") as running:
        crds = repository / "crds"
        running.kubectl("apply", "--server-side", "-f", str(crds))
        running.kubectl("wait", "--for=condition=Established", "--timeout=120s", "-f", str(crds))
        running.kubectl("create", "namespace", "trainyard-system")
        yield running


def swap(cluster, source, target):
    """Stop the servers, put a copy of etcd's folder `source` in the place of `target`, and start them again."""
    for name in SERVERS:
        cluster.stop(name)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    for name in reversed(SERVERS):
        cluster.start(name)


def versions(model):
    return {entry["id"]: entry["manifestSha256"] for entry in model["status"]["versions"]}


async def test_what_was_registered_after_the_backup_is_known_again_and_no_number_is_given_twice(
    cluster, versitygw, bucket, tmp_path
):
    data, backup = cluster.home / "etcd", tmp_path / "backup"

    async def live(*names):
        """Be an operator in whose life these runs train; return what the model is then."""
        log = tmp_path / "operator.log"
        connection = from_kubeconfig(cluster.kubeconfig)
        async with (
            OperatorProcess(kubeconfig=cluster.kubeconfig, log=log, objects=versitygw),
            connection.open_session() as session,
        ):
            client = KubeClient(connection=connection, session=session)
            lab = Lab(cluster, client, bucket, "backed-up")
            for name in names:
                await lab.train(name, DIGITS)
            return await lab.until(REGISTERED_MODEL, "digits", lambda _: True), await lab.find(TRAINING_JOB, "three")

    await live("one", "two")
    swap(cluster, data, backup)
    before, _ = await live("three", "four")
    assert list(versions(before)) == ["digits:1", "digits:2", "digits:3", "digits:4"]

    swap(cluster, backup, data)
    after, lost = await live("five")
    assert lost is None
    assert list(versions(after)) == [f"digits:{number}" for number in range(1, 6)]
    assert versions(after).items() >= versions(before).items()
    assert after["status"]["latestVersion"] == 5
