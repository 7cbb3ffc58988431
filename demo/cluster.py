"""The cluster that the demo runs on: the SDK's workspace, and kubectl for what a person would type."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from demo.errors import DemoError
from trainyard.errors import Forbidden, NotFound
from trainyard.remote.api import connect
from trainyard.remote.config import WorkspaceConfig
from trainyard.remote.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REPOSITORY: Final = Path(__file__).resolve().parent.parent


def find_kubeconfig(environment: Mapping[str, str], *, yard: Path) -> str:
    """Return the kubeconfig to use: the user's own, else the embedded cluster's.

    Raises
    ------
    DemoError
        If there is neither.
    """
    if environment.get("KUBECONFIG"):
        return environment["KUBECONFIG"]
    embedded = yard / "kubeconfig"
    if embedded.exists():
        return str(embedded)
    raise DemoError(f"there is no {embedded}: run `make up`, or set KUBECONFIG to use a cluster of your own")


def find_kubectl(*, yard: Path) -> str:
    """Return the kubectl to use: the embedded cluster's, else the one on the path.

    Raises
    ------
    DemoError
        If there is neither.
    """
    embedded = yard / "bin" / "kubectl"
    found = str(embedded) if embedded.exists() else shutil.which("kubectl")
    if found is None:
        raise DemoError("there is no kubectl: install it, or run `make up`, which brings one")
    return found


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """One cluster and the namespace in it that the demo works in."""

    kubectl: str
    kubeconfig: str
    workspace: Workspace

    @classmethod
    @contextmanager
    def connect(cls, *, namespace: str | None, operator_namespace: str) -> Iterator[Cluster]:
        """Lend the cluster of the kubeconfig; no `namespace` means the one of its current context."""
        yard = REPOSITORY / ".yard"
        kubeconfig = find_kubeconfig(os.environ, yard=yard)
        api, place = connect(environ={**os.environ, "KUBECONFIG": kubeconfig})
        settings = WorkspaceConfig(
            workspace_name=namespace or place.namespace, subscription_id=None, resource_group=operator_namespace
        )
        with closing(Workspace.of_api(api, place, settings)) as workspace:
            workspace.objects.require_trainyard()
            yield cls(kubectl=find_kubectl(yard=yard), kubeconfig=kubeconfig, workspace=workspace)

    def run_kubectl(self, *arguments: str) -> str:
        """Return what kubectl prints.

        Raises
        ------
        DemoError
            With kubectl's own words, if it does not succeed.
        """
        command = [self.kubectl, "--namespace", self.workspace.name, *arguments]
        environment = {**os.environ, "KUBECONFIG": self.kubeconfig}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoError(f"kubectl {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def has_object(self, group: str, version: str, plural: str, name: str) -> bool:
        """Return whether there is such an object outside of all namespaces, and a kind for it."""
        try:
            self.workspace.objects.api.request("GET", f"/apis/{group}/{version}/{plural}/{name}")
        except (NotFound, Forbidden):
            # Whoever may not look has no use for it either.
            return False
        return True
