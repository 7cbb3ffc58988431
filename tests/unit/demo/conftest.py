"""A namespace's storage as the demo meets it: the operator's own gateway in front of a real S3 server."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing

import pytest
from prometheus_client import CollectorRegistry

from tests.support.objectstore import ObjectServer
from trainyard.contract import ENV_CA, ENV_GATEWAY
from trainyard.remote.gateway import Gateway as PeoplesGateway
from trainyard_operator.gateway.metrics import GatewayMetrics
from trainyard_operator.gateway.ports import Identity
from trainyard_operator.gateway.server import Gateway
from trainyard_operator.storage.store import S3Store


class OnePerson:
    """Takes every token for that of one person."""

    async def review(self, _token):
        return Identity(namespace="team", service_account="default")


@pytest.fixture(scope="module")
def loop():
    """Run an event loop in a thread of its own, since the demo's clients block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout=120)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def bucket(tmp_path_factory, loop):
    """Give the operator's view of the bucket."""
    with ObjectServer(folder=tmp_path_factory.mktemp("objects")) as server:
        opening = S3Store.open(
            endpoint=server.endpoint,
            region=server.region,
            bucket="trainyard",
            access_key=server.keys.access,
            secret_key=server.keys.secret,
        )
        with closing(loop(opening)) as store:
            loop(store.ensure_bucket())
            yield store


class Api:
    """Gives every token that is asked for."""

    def request(self, _method, _path, **_rest):
        return {"status": {"token": "a-token"}}


@pytest.fixture(scope="module")
def people(bucket, loop):
    """Give the SDK's view of it."""
    gateway = Gateway(
        reviewer=OnePerson(),
        runs=None,
        queues=None,
        sources=None,
        live=None,
        environments=None,
        models=None,
        store=bucket,
        metrics=GatewayMetrics(CollectorRegistry()),
        input_limit=50 << 30,
    )
    port = loop(gateway.start(host="127.0.0.1", port=0, tls=None))
    environ = {ENV_GATEWAY: f"http://127.0.0.1:{port}", ENV_CA: "none, without TLS"}
    with closing(PeoplesGateway(Api(), namespace="team", system="there", environ=environ, patience=60)) as found:
        yield found
    loop(gateway.stop())
