"""Conda packages, from a channel that a pod of the cluster makes of its own Python and serves."""

from __future__ import annotations

import base64
import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.yard import SYSTEM, ready, training_job
from tests.support import conda_channel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.yard import Yard

pytestmark = pytest.mark.e2e

PORT = 8000
SECRET = "trainyard-package-index"
KEY = "conda-channel-alias"
MOUNTED = f"/etc/trainyard/index/{KEY}"
RESTRICTED = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
FACTS = """
import importlib.util, json, os, shutil, subprocess, sys
import greeting, tabulate
os.makedirs("outputs")
json.dump({
    "executable": sys.executable,
    "prefix": sys.prefix,
    "greeting": [greeting.VERSION, greeting.PREFIX],
    "pip": tabulate.__file__,
    "image": importlib.util.find_spec("sklearn") is not None,
    "solver": importlib.util.find_spec("rattler") is not None,
    "program": shutil.which("greet"),
    "said": subprocess.run(["greet"], capture_output=True, text=True, check=True).stdout.strip(),
    "conda": os.environ.get("CONDA_PREFIX"),
}, open("outputs/facts.json", "w"))
"""
ENVIRONMENT = {"conda": {"channels": ["yard"], "packages": ["python>=3", "greeting"]}, "pip": ["tabulate"]}


def serve(yard: Yard, name: str) -> None:
    """Have a pod make packages and serve them, and wait until it does."""
    meta = {"name": name, "namespace": "default", "labels": {"app": name}}
    program = {"channel.py": Path(conda_channel.__file__).read_text()}
    server = {
        "name": "channel",
        "image": yard.trainer_image(),
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "/program/channel.py", str(PORT), "/tmp/channel"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "program", "mountPath": "/program"}],
        "readinessProbe": {"httpGet": {"path": "/yard/noarch/repodata.json", "port": PORT}, "periodSeconds": 1},
    }
    volume = {"name": "program", "configMap": {"name": name}}
    pod = {
        "containers": [server],
        "volumes": [volume],
        "terminationGracePeriodSeconds": 0,
        "securityContext": RESTRICTED,
    }
    yard.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": program})
    yard.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod})
    spec = {"selector": {"app": name}, "ports": [{"port": PORT}]}
    yard.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
    yard.kubectl("wait", "pod", name, "-n", "default", "--for=condition=Ready", "--timeout=420s")


def tell(yard: Yard, alias: str) -> None:
    """Have the operator know where channels are, as the chart's values do, and wait until it does."""
    data = {KEY: base64.b64encode(alias.encode()).decode()}
    yard.kubectl("patch", "secret", SECRET, "-n", SYSTEM, "--type=merge", "-p", json.dumps({"data": data}))
    pod = yard.operator_pod()
    # Otherwise the node looks at the pod's volumes once a minute.
    yard.kubectl("annotate", "pod", pod, "-n", SYSTEM, f"end-to-end/told={uuid.uuid4().hex}", "--overwrite")
    command = ("exec", pod, "-n", SYSTEM, "--", "cat", MOUNTED)
    yard.wait("the operator to know the channels", lambda: yard.kubectl(*command, check=False).strip() == alias)


@pytest.fixture(scope="module", autouse=True)
def _channel(yard: Yard) -> Iterator[None]:
    """A channel at an address of this session: what an earlier one has built is of no use to it."""
    name = f"conda-{uuid.uuid4().hex[:8]}"
    before = base64.b64decode(yard.get("secret", SECRET, "-n", SYSTEM)["data"][KEY]).decode()
    serve(yard, name)
    tell(yard, f"http://{name}.default.svc:{PORT}")
    yield
    tell(yard, before)
    yard.kubectl("delete", "pod,service,configmap", name, "-n", "default")


@pytest.fixture(scope="module")
def first(yard: Yard):
    """A run whose environment had to be built, at its end."""
    return yard.wait_for_end(yard.apply(training_job(FACTS, environment=ENVIRONMENT)))


def test_a_run_gets_python_and_packages_of_conda_and_those_of_pip_behind_them(first, files):
    assert first["status"]["phase"] == "Completed", first["status"]
    assert "Preparing" in [phase["name"] for phase in first["status"]["phases"]]
    facts = json.loads(files.read(first, "outputs/facts.json"))
    assert facts.pop("pip").startswith("/trainyard/env/")
    assert facts == {
        "executable": "/trainyard/env/bin/python3",
        "prefix": "/trainyard/env",
        "greeting": ["1.0", "/trainyard/env"],
        "image": False,
        "solver": False,
        "program": "/trainyard/env/bin/greet",
        "said": "hello",
        "conda": "/trainyard/env",
    }


def test_the_log_of_a_build_says_what_was_installed(first, files):
    digest = first["status"]["environment"]["hash"]
    log = "".join(files.bytes(key).decode() for key in files.keys(f"envs/default/{digest}/logs/"))
    assert "+ greeting=1.0=0" in log
    assert "+ python=3." in log
    assert "+ tabulate==" in log


def test_a_second_run_builds_nothing(yard: Yard, first):
    second = yard.wait_for_end(yard.apply(training_job(FACTS, environment=ENVIRONMENT)))
    assert second["status"]["phase"] == "Completed", second["status"]
    assert "Preparing" not in [phase["name"] for phase in second["status"]["phases"]]
    assert second["status"]["environment"]["hash"] == first["status"]["environment"]["hash"]


def test_packages_that_do_not_exist_are_named_in_the_solvers_words(yard: Yard):
    conda = {"channels": ["yard"], "packages": ["python", "greeting >= 7"]}
    run = yard.wait_for_end(yard.apply(training_job("print(1)", environment={"conda": conda})))
    assert ready(run)["reason"] == "EnvironmentBuildFailed"
    assert "No candidates were found for greeting >=7" in run["status"]["failure"]["message"]
    assert run["status"]["environment"]["state"] == "Failed"
