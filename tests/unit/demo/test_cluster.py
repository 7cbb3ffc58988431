"""Reaching a cluster: which kubeconfig and kubectl, and what the API server's answers become."""

from __future__ import annotations

import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kubernetes import client

from demo.cluster import Cluster, find_kubeconfig, find_kubectl
from demo.errors import DemoError
from demo.portforward import port_forward
from devcluster.waiting import wait_for

JOBS = "/apis/trainyard.dev/v1alpha1/namespaces/team/trainingjobs"


def event(kind, phase):
    return json.dumps({"type": kind, "object": {"metadata": {"name": "mnist"}, "status": {"phase": phase}}}) + "\n"


class ApiServer(BaseHTTPRequestHandler):
    """Answers each path with the next of its prepared answers; the last one stays."""

    answers: dict[str, list[tuple[int, str, bool]]]

    def do_GET(self):
        self._reply()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self._reply()

    def _reply(self):
        prepared = self.answers[self.path.split("?")[0]]
        status, body, whole = prepared.pop(0) if len(prepared) > 1 else prepared[0]
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body.encode()) + (not whole)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def answers():
    return {}


@pytest.fixture
def cluster(answers, tmp_path):
    handler = type("Handler", (ApiServer,), {"answers": answers})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        configuration = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
        yield Cluster(
            kubectl=str(tmp_path / "kubectl"),
            kubeconfig="a-kubeconfig",
            namespace="team",
            operator_namespace="trainyard-system",
            api=client.ApiClient(configuration),
        )
        server.shutdown()
        thread.join()


@pytest.fixture
def kubectl(cluster, tmp_path):
    """Return a function that makes a few lines of Python the cluster's kubectl."""

    def write(*lines):
        (tmp_path / "kubectl").write_text("\n".join([f"#!{sys.executable}", "import os, sys, time", *lines]))
        (tmp_path / "kubectl").chmod(0o755)

    return write


def test_the_user_s_kubeconfig_comes_before_the_embedded_cluster_s(tmp_path):
    (tmp_path / "kubeconfig").touch()
    assert find_kubeconfig({"KUBECONFIG": "/mine"}, yard=tmp_path) == "/mine"
    assert find_kubeconfig({"KUBECONFIG": ""}, yard=tmp_path) == str(tmp_path / "kubeconfig")


def test_no_kubeconfig_at_all_is_explained(tmp_path):
    with pytest.raises(DemoError, match="run `make up`, or set KUBECONFIG"):
        find_kubeconfig({}, yard=tmp_path)


def test_the_embedded_cluster_s_kubectl_comes_first(tmp_path, monkeypatch):
    for name in ("path", "bin"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kubectl").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert find_kubectl(yard=tmp_path) == str(tmp_path / "bin" / "kubectl")
    assert find_kubectl(yard=tmp_path / "absent") == str(tmp_path / "path" / "kubectl")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DemoError, match="there is no kubectl"):
        find_kubectl(yard=tmp_path / "absent")


def test_kubectl_gets_kubeconfig_and_namespace(cluster, kubectl):
    kubectl("print(os.environ['KUBECONFIG'], *sys.argv[1:])")
    assert cluster.run_kubectl("apply", "-k", "x") == "a-kubeconfig --namespace team apply -k x\n"


def test_kubectl_s_own_words_explain_its_failure(cluster, kubectl):
    kubectl("sys.exit('error: the server is away')")
    with pytest.raises(DemoError, match="kubectl apply failed: error: the server is away"):
        cluster.run_kubectl("apply")


def test_a_port_forward_yields_the_local_port_and_ends_with_the_block(cluster, kubectl, tmp_path):
    ended = tmp_path / "ended"
    kubectl(
        "import pathlib, signal",
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(ended)!r}).touch(), os._exit(0)))",
        "print('Forwarding from 127.0.0.1:45123 -> 8443', flush=True)",
        "signal.pause()",
    )
    with port_forward(cluster, service="trainyard-gateway", port=8443) as port:
        assert port == 45123
        assert not ended.exists()
    assert ended.exists()


def test_a_port_forward_that_ended_is_begun_again_on_the_same_port(cluster, kubectl, tmp_path):
    calls = tmp_path / "calls"
    kubectl(
        f"calls = open({str(calls)!r}, 'a+')",
        "first = not calls.seek(0) and not calls.read()",
        "print(sys.argv[-1], file=calls, flush=True)",
        "print('Forwarding from 127.0.0.1:45123 -> 8443', flush=True)",
        "first or time.sleep(600)",
    )
    with port_forward(cluster, service="trainyard-gateway", port=8443) as port:
        wait_for(lambda: calls.read_text().count("\n") == 2, what="the second port-forward", timeout=30)
    assert port == 45123
    assert calls.read_text().splitlines() == [":8443", "45123:8443"]


def test_a_port_forward_that_cannot_be_had_is_explained(cluster, kubectl, monkeypatch):
    monkeypatch.setattr("demo.portforward.START_SECONDS", 1.0)
    kubectl("sys.exit('error: services \"trainyard-gateway\" not found')")
    expected = 'service/trainyard-gateway cannot be reached: error: services "trainyard-gateway" not found'
    with pytest.raises(DemoError, match=expected), port_forward(cluster, service="trainyard-gateway", port=8443):
        pass


def test_the_token_is_that_of_the_namespace_s_default_service_account(cluster, answers):
    review = {"spec": {"audiences": ["trainyard"]}, "status": {"token": "t", "expirationTimestamp": None}}
    review["status"]["expirationTimestamp"] = "2026-01-01T00:00:00Z"
    answers["/api/v1/namespaces/team/serviceaccounts/default/token"] = [(201, json.dumps(review), True)]
    assert cluster.token() == "t"


def test_the_gateway_s_authority_comes_from_its_secret(cluster, answers):
    secret = {"data": {"tls.crt": base64.b64encode(b"PEM").decode(), "tls.key": ""}}
    answers["/api/v1/namespaces/trainyard-system/secrets/trainyard-gateway-tls"] = [(200, json.dumps(secret), True)]
    assert cluster.gateway_ca() == "PEM"


def test_a_cluster_without_trainyard_is_explained(cluster, answers):
    answers["/api/v1/namespaces/trainyard-system/secrets/trainyard-gateway-tls"] = [(404, "{}", True)]
    with pytest.raises(DemoError, match="is Trainyard installed there, and its operator running"):
        cluster.gateway_ca()


@pytest.mark.parametrize(("status", "there"), [(200, True), (404, False)], ids=["there", "absent"])
def test_a_service_is_there_or_not(cluster, answers, status, there):
    answers["/api/v1/namespaces/trainyard-system/services/trainyard-store"] = [(status, "{}", True)]
    assert cluster.has_service("trainyard-store") is there


@pytest.mark.parametrize(
    ("status", "there"), [(200, True), (404, False), (403, False)], ids=["there", "absent", "forbidden"]
)
def test_an_object_of_the_whole_cluster_is_there_or_not(cluster, answers, status, there):
    answers["/apis/g.example/v1/things/one"] = [(status, "{}", True)]
    assert cluster.has_object("g.example", "v1", "things", "one") is there


def test_a_watch_that_breaks_or_ends_is_begun_again(cluster, answers, monkeypatch):
    monkeypatch.setattr("demo.cluster.RECONNECT_SECONDS", 0)
    answers[JOBS] = [
        (200, "", False),
        (500, "{}", True),
        (200, event("ADDED", "Pending") + event("MODIFIED", "Running"), True),
        (200, event("ADDED", "Completed"), True),
    ]
    seen = []
    for job in cluster.watch_object("trainingjobs", "mnist"):
        seen.append(job["status"]["phase"])
        if seen[-1] == "Completed":
            break
    assert seen == ["Pending", "Running", "Completed"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param((200, event("DELETED", "Running"), True), "trainingjobs/mnist was deleted", id="deleted"),
        pytest.param((403, "{}", True), "trainingjobs/mnist cannot be watched: Forbidden", id="forbidden"),
    ],
)
def test_a_watch_ends_when_there_is_nothing_to_watch(cluster, answers, answer, message):
    answers[JOBS] = [answer]
    with pytest.raises(DemoError, match=message):
        next(cluster.watch_object("trainingjobs", "mnist"))
