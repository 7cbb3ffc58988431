"""The embedded cluster with the chart of this checkout: used as it is where it runs, else up for the session only."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from devcluster import layout
from tests.e2e.bucket import Bucket, open_bucket
from tests.e2e.yard import Yard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def devcluster(command: str) -> int:
    """Run a command of devcluster; its lines stay on the terminal, because the first of them can take minutes."""
    return subprocess.run(
        [sys.executable, "-m", "devcluster", command], cwd=layout.REPOSITORY, stdin=subprocess.DEVNULL, check=False
    ).returncode


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[layout.Yard]:
    """Paths of a cluster that runs what the checkout says now: `kubeconfig`, `bin`, `log`."""
    was_up = devcluster("status") == 0
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():
            if devcluster("up"):
                pytest.fail("`devcluster up` failed; its message is above", pytrace=False)
        yield layout.Yard.default()
    finally:
        if not was_up:
            devcluster("down")


@pytest.fixture(scope="session")
def yard(cluster: layout.Yard) -> Yard:
    """kubectl against the cluster."""
    return Yard(kubectl_program=cluster.bin / "kubectl", kubeconfig=cluster.kubeconfig)


@pytest.fixture(scope="module")
def files(yard: Yard) -> Iterator[Bucket]:
    """The embedded object store, behind the operator's back."""
    with open_bucket(yard) as bucket:
        yield bucket


@pytest.fixture(scope="session")
def audit_log(cluster: layout.Yard) -> Path:
    """What the operator's service account asked the API server for, one JSON document a line."""
    return cluster.log / "audit.log"


@pytest.fixture
def configure(yard: Yard) -> Iterator[Any]:
    """Return what sets options of the pool's agent; all are taken back afterwards."""

    def set_options(**data: str) -> None:
        metadata = {"name": "pool-agent", "namespace": "kube-system"}
        yard.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})

    yield set_options
    yard.kubectl("delete", "configmap", "pool-agent", "-n", "kube-system", "--ignore-not-found")
