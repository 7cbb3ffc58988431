"""A real API server and a real S3 server, one of each for the whole session."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from devcluster.controlplane import ControlPlane
from tests.perf.process import OperatorProcess
from tests.support.accounts import make_accounts
from tests.support.lab import Lab, sweep
from tests.support.objectstore import ObjectServer
from trainyard.contract import ENV_CA, ENV_GATEWAY
from trainyard_operator.kube.client import KubeClient
from trainyard_operator.kube.connection import from_kubeconfig
from trainyard_operator.storage.store import S3Store

SYSTEM = "trainyard-system"

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[ControlPlane]:
    """An API server that knows our kinds; see `ControlPlane` for `kubeconfig`, `server` and `kubectl()`."""
    with ControlPlane(home=tmp_path_factory.mktemp("control-plane")) as running:
        crds = repository / "crds"
        running.kubectl("apply", "--server-side", "-f", str(crds))
        running.kubectl("wait", "--for=condition=Established", "--timeout=120s", "-f", str(crds))
        yield running


@pytest.fixture(scope="session")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """An S3 server; see `ObjectServer` for `endpoint`, `keys.access`, `keys.secret` and `region`."""
    with ObjectServer(folder=tmp_path_factory.mktemp("versitygw")) as running:
        yield running


@pytest.fixture
async def bucket(versitygw: ObjectServer) -> AsyncIterator[S3Store]:
    """The operators' bucket."""
    store = await S3Store.open(
        endpoint=versitygw.endpoint, region=versitygw.region, bucket="trainyard",
        access_key=versitygw.keys.access, secret_key=versitygw.keys.secret,
    )  # fmt: skip
    await store.ensure_bucket()
    yield store
    store.close()


@pytest.fixture
async def lab(control_plane: ControlPlane, bucket: S3Store, request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    """A namespace of one's own, for runs that are played and models that are real."""
    connection = from_kubeconfig(control_plane.kubeconfig)
    if not control_plane.kubectl("get", "namespace", "trainyard-system", "--ignore-not-found"):
        control_plane.kubectl("create", "namespace", "trainyard-system")
    async with connection.open_session() as session:
        client = KubeClient(connection=connection, session=session)
        yield Lab(control_plane, client, bucket, f"models-{abs(hash(request.node.name)) % 10**8}")
    # The next test's operator must not wait for a holder that is gone.
    control_plane.kubectl("-n", "trainyard-system", "delete", "lease", "trainyard-operator", "--ignore-not-found")


@pytest.fixture
def swept(control_plane: ControlPlane, lab: Lab) -> Iterator[None]:
    """Leave no runs behind."""
    yield
    sweep(control_plane, lab.namespace)


@pytest.fixture
def operator(control_plane: ControlPlane, versitygw: ObjectServer, tmp_path: Path) -> Callable[[], OperatorProcess]:
    """Makes operators as processes of their own, all with one log."""

    def make() -> OperatorProcess:
        return OperatorProcess(kubeconfig=control_plane.kubeconfig, log=tmp_path / "log", objects=versitygw)

    return make


@pytest.fixture
async def served(
    control_plane: ControlPlane, lab: Lab, operator: Callable[[], OperatorProcess], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[OperatorProcess]:
    """The operator is there, its ConfigMap leads to it, and the kubeconfig is the administrator's."""
    address = f"--from-literal={ENV_GATEWAY}=https://to-be-known"
    control_plane.kubectl("create", "configmap", "trainyard-gateway", f"-n={SYSTEM}", address)
    make_accounts(control_plane, lab.namespace)
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    for name in (ENV_GATEWAY, ENV_CA):
        monkeypatch.delenv(name, raising=False)
    try:
        async with operator() as process:
            get = ("get", "configmap", "trainyard-gateway", f"-n={SYSTEM}", "-o=json")
            while ENV_CA not in json.loads(control_plane.kubectl(*get))["data"]:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.1)
            data = json.dumps({"data": {ENV_GATEWAY: f"https://localhost:{process.gateway_port}"}})
            control_plane.kubectl("patch", "configmap", "trainyard-gateway", f"-n={SYSTEM}", "-p", data)
            yield process
    finally:
        control_plane.kubectl("delete", "configmap", "trainyard-gateway", f"-n={SYSTEM}")
