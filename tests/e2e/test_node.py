"""The embedded cluster itself: what any workload of a restricted namespace expects of Kubernetes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from devcluster.machine import Machine
from devcluster.names import Names
from tests.e2e.yard import SYSTEM, Json, Yard

if TYPE_CHECKING:
    from devcluster import layout

LOOK = """
import json, ssl, time, urllib.request

def read(url, **more):
    for attempt in range(60):
        try:
            with urllib.request.urlopen(url, timeout=2, **more) as answer:
                return answer.read().decode()
        except OSError as error:
            if attempt == 59:
                return repr(error)
            time.sleep(0.5)

trust = ssl.create_default_context(cafile="/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
print(json.dumps({
    "by name": read("http://NAME.default.svc.cluster.local/hello"),
    "by short name": read("http://NAME/hello"),
    "api server": read("https://kubernetes.default.svc/readyz", context=trust),
}))
"""
KNOCK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10).close()
    print("open")
except ConnectionRefusedError:
    print("refused")
"""
SERVE = """
import http.server, threading
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"hello")
http.server.ThreadingHTTPServer(("", 8000), Hello).serve_forever()
"""


def pod(name: str, image: str, script: str, *, probe: Json | None = None) -> Json:
    """Build a pod that Pod Security `restricted` admits."""
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["python3", "-u", "-c", script],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    if probe:
        container["readinessProbe"] = {**probe, "periodSeconds": 1}
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"restartPolicy": "Never", "securityContext": security, "containers": [container]}
    meta = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


@pytest.fixture(scope="module")
def image(yard: Yard) -> str:
    """An image with Python that the node has."""
    deployment = yard.get("deployment", "trainyard-operator", "-n", SYSTEM)
    return deployment["spec"]["template"]["spec"]["containers"][0]["image"]


@pytest.fixture(scope="module")
def server(yard: Yard, image: str) -> Iterator[str]:
    """A Service with a pod that says hello."""
    name = f"hello-{uuid.uuid4().hex[:8]}"
    yard.apply(pod(name, image, SERVE, probe={"tcpSocket": {"port": 8000}}))
    ports_ = [{"port": 80, "targetPort": 8000}]
    spec = {"selector": {"app": name}, "ports": ports_}
    yard.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
    yard.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=420s")
    yield name
    yard.kubectl("delete", "pod,service", name, "--grace-period=1", "--wait=false")


def test_pods_reach_services_by_name_and_the_api_server(yard: Yard, image: str, server: str):
    name = yard.apply(pod(f"client-{uuid.uuid4().hex[:8]}", image, LOOK.replace("NAME", server)))
    try:
        yard.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=420s")
        assert json.loads(yard.kubectl("logs", name)) == {
            "by name": "hello",
            "by short name": "hello",
            "api server": "ok",
        }
    finally:
        yard.kubectl("delete", "pod", name, "--grace-period=1", "--wait=false")


def test_kubectl_exec_runs_a_command_in_a_pod(yard: Yard, server: str):
    assert yard.kubectl("exec", server, "--", "python3", "-c", "import os; print(os.getuid())") == "65532\n"


def test_kubectl_port_forward_reaches_a_service(yard: Yard, server: str):
    import urllib.request

    command = [yard.kubectl_program, "--kubeconfig", yard.kubeconfig, "port-forward", f"service/{server}", ":80"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        try:
            port = re.match(r"Forwarding from 127\.0\.0\.1:(\d+) ", forward.stdout.readline())[1]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
                assert answer.read() == b"hello"
        finally:
            forward.terminate()


def test_a_pod_that_is_not_restricted_is_refused(yard: Yard, image: str):
    careless = pod("careless", image, "")
    del careless["spec"]["securityContext"]["runAsNonRoot"]
    assert "violates PodSecurity" in yard.refuse(careless)


def test_what_the_machine_sends_to_a_service_reaches_its_pods_and_to_a_pod_that_is_gone_nothing(
    yard: Yard, cluster: layout.Yard, image: str, server: str
):
    machine = Machine(yard=cluster, names=Names.of(cluster.checkout))
    command = ["nsenter", f"--target={machine.pid}", "--net", sys.executable, "-c", KNOCK]

    def knock(address: str, port: int) -> str:
        done = subprocess.run([*command, address, str(port)], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    service = yard.get("service", server, "-n", "default")["spec"]["clusterIP"]
    yard.wait("kube-proxy to know the service", lambda: knock(service, 80) == "open")
    gone = f"gone-{uuid.uuid4().hex[:8]}"
    yard.apply(pod(gone, image, SERVE))
    yard.kubectl("wait", "--for=condition=Ready", f"pod/{gone}", "--timeout=420s")
    address = yard.get("pod", gone, "-n", "default")["status"]["podIP"]
    yard.wait("the pod to serve", lambda: knock(address, 8000) == "open")
    yard.kubectl("delete", "pod", gone, "--grace-period=1")
    assert knock(address, 8000) == "refused"
    assert yard.kubectl("exec", server, "--", "python3", "-c", KNOCK, address, "8000") == "refused\n"
