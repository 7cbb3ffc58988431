"""The way through the API server to a pod, by the protocol that the API server speaks."""

from __future__ import annotations

import hashlib
import socket
from contextlib import closing, contextmanager
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from tests.support.fake_api import FakeApiServer, pod
from tests.support.fake_yard import TOKEN
from trainyard.contract import ENV_CA, ENV_GATEWAY
from trainyard.errors import Forbidden, NotFound, StoreUnavailable, Unreachable
from trainyard.remote.gateway import Gateway, Routes
from trainyard.remote.portforward import Forward, Way, dialer, find_pod
from trainyard.transfer import Upload


@contextmanager
def forwarded(api):
    with closing(Forward(dialer(api, namespace="system", service="trainyard-gateway", port=8443))) as forward:
        yield forward


def ask(address, words):
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(words)
        return connection.recv(len(words), socket.MSG_WAITALL)


def test_each_connection_has_a_way_of_its_own_to_the_pod_s_own_port():
    with closing(FakeApiServer(pod("a"))) as yard, forwarded(yard.api()) as forward:
        assert ask(forward.address, b"hello") == b"HELLO"
        assert ask(forward.address, b"x" * 5000) == b"X" * 5000
        path = "/api/v1/namespaces/system/pods/a/portforward"
        assert yard.forwarded == [(path, "8444", "Bearer a-token")] * 2


def test_a_new_pod_is_found_by_the_next_connection():
    with closing(FakeApiServer(pod("a"))) as yard, forwarded(yard.api()) as forward:
        ask(forward.address, b"hello")
        yard.pods = [pod("a", leaving=True), pod("b", ready=False), pod("c")]
        ask(forward.address, b"hello")
        assert [path.split("/")[-2] for path, *_ in yard.forwarded] == ["a", "c"]
        yard.pods = []
        with socket.create_connection(forward.address, timeout=10) as connection:
            assert connection.recv(1) == b""


@pytest.mark.parametrize(
    ("pods", "allowed", "error", "said"),
    [
        pytest.param([pod("a")], False, Forbidden, "create on pods/portforward in namespace system", id="not allowed"),
        pytest.param(
            [pod("a", ready=False)], True, Unreachable, "no pod behind service/trainyard-gateway", id="no pod"
        ),
    ],
)
def test_what_is_wrong_is_told_to_whoever_asks(pods, allowed, error, said):
    with closing(FakeApiServer(*pods, allowed=allowed)) as yard, pytest.raises(error, match=said):
        dialer(yard.api(), namespace="system", service="trainyard-gateway", port=8443)()


@pytest.mark.parametrize(
    ("connected", "ended"),
    [
        pytest.param(False, ["socket", "websocket"], id="the API server has said goodbye"),
        pytest.param(True, ["socket"], id="the library does it"),
    ],
)
def test_a_way_that_ends_leaves_no_connection_open(connected, ended):
    found = []
    websocket = SimpleNamespace(connected=connected, shutdown=lambda: found.append("websocket"))
    near = SimpleNamespace(close=lambda: found.append("socket"))
    Way(SimpleNamespace(websocket=websocket, socket=lambda _port: near), 8443).close()
    assert found == ended


def test_a_port_by_its_number_is_that():
    with closing(FakeApiServer(pod("s", app="trainyard-store"))) as yard:
        assert find_pod(yard.api(), namespace="system", service="trainyard-store", port=7070) == ("s", 7071)


def test_only_hosts_of_the_cluster_that_do_not_answer_get_a_way():
    with closing(FakeApiServer(pod("a"))) as yard, closing(Routes(yard.api())) as routes:
        assert routes.address("s3.example.com") is None
        assert routes.address("localhost:8443") is None
        first = routes.address("trainyard-gateway.system.svc:8443")
        assert first is not None
        assert routes.address("trainyard-gateway.system.svc:8443") == first
        assert ask(first, b"hello") == b"HELLO"


URL = "https://trainyard-gateway.system.svc:8443"
BODY = b"weights" * 100_000


@pytest.fixture
def gateway(yard):
    """A gateway and a store that only the API server's pods lead to."""
    at = {
        name: (urlsplit(url).hostname, urlsplit(url).port)
        for name, url in (("g", yard.gateway.url), ("s", yard.store.url))
    }
    yard.store.url = "http://trainyard-store.system.svc:7070"
    objects = {
        "/api/v1/namespaces/system/configmaps/trainyard-gateway": {
            "data": {ENV_GATEWAY: URL, ENV_CA: yard.gateway.ca_pem}
        },
        "/api/v1/namespaces/team/serviceaccounts/people/token": {"status": {"token": TOKEN}},
    }
    pods = (pod("g"), pod("s", app="trainyard-store"))
    with closing(FakeApiServer(*pods, servers=at, objects=objects)) as server:
        made = Gateway(
            server.api(), namespace="team", system="system", service_account="people", environ={}, patience=2
        )
        with closing(made):
            yield made, server


def test_a_namespace_without_an_account_for_its_people_is_told_how_to_get_one(yard):
    data = {ENV_GATEWAY: yard.gateway.url, ENV_CA: yard.gateway.ca_pem}
    objects = {"/api/v1/namespaces/system/configmaps/trainyard-gateway": {"data": data}}
    with (
        closing(FakeApiServer(objects=objects)) as server,
        closing(Gateway(server.api(), namespace="team", system="system", environ={}, patience=2)) as made,
        pytest.raises(NotFound) as raised,
    ):
        made.files(area="data", prefix="")
    said = str(raised.value)
    assert "there is no service account trainyard-user in namespace team" in said
    assert "kubectl create serviceaccount trainyard-user --namespace team && kubectl create rolebinding" in said


def test_files_go_to_and_fro_through_the_api_server_alone(gateway, yard, tmp_path):
    made, server = gateway
    upload = Upload.of_bytes("a.bin", BODY, sha256=hashlib.sha256(BODY).hexdigest())
    made.put([upload], op="data-put")
    (file,) = made.files(area="data", prefix="a")
    counted = []
    made.download(file, tmp_path / "a.bin", on_bytes=counted.append)
    assert (tmp_path / "a.bin").read_bytes() == made.read(file) == BODY
    assert sum(counted) == len(BODY)
    # The signature covers the host that the store was signed for.
    assert yard.store.hosts == {"trainyard-store.system.svc:7070"}
    assert {path.split("/")[-2] for path, *_ in server.forwarded} == {"g", "s"}


def test_a_store_whose_pod_is_gone_is_told(gateway, yard):
    made, server = gateway
    yard.store.objects["a.bin"] = b"x"
    (file,) = made.files(area="data", prefix="a")
    server.pods = [pod("g")]
    with pytest.raises(Unreachable, match="no pod behind service/trainyard-store"):
        made.read(file)


def test_a_store_that_fails_is_told(gateway, yard):
    made, _ = gateway
    yard.store.objects["a.bin"] = b"x"
    (file,) = made.files(area="data", prefix="a")
    yard.store.fault = lambda _method, _path: 503
    with pytest.raises(StoreUnavailable, match="the object store answered 503"):
        made.read(file)
