"""A real API server and a real S3 server, one of each for the whole session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devcluster.controlplane import ControlPlane
from tests.support.objectstore import ObjectServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[ControlPlane]:
    """An API server that knows our kinds; see `ControlPlane` for `kubeconfig`, `server` and `kubectl()`."""
    with ControlPlane(home=tmp_path_factory.mktemp("control-plane")) as running:
        crds = repository / "crds"
        running.kubectl("apply", "--server-side", "-f", str(crds))
        running.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(crds))
        yield running


@pytest.fixture(scope="session")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """An S3 server; see `ObjectServer` for `endpoint`, `keys.access`, `keys.secret` and `region`."""
    with ObjectServer(folder=tmp_path_factory.mktemp("versitygw")) as running:
        yield running
