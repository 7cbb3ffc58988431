"""Karpenter with its kwok provider: it decides which machines there are; the pool's agent makes them real."""

from __future__ import annotations

import json
import platform
import subprocess
from typing import TYPE_CHECKING, Any

import yaml

from devcluster import programs, sizes
from devcluster.components import Component
from devcluster.errors import DevclusterError
from devcluster.layout import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from devcluster.components import ControlPlaneLayout

NAME = "karpenter"
# The metrics of everything else in the machine begin at 10249.
METRICS_PORT = 10260
HEALTH_PORT = 10261
NODE_CLASS = "default"
PROVIDER_GROUP = "karpenter.kwok.sh"


def component(layout: ControlPlaneLayout, paths: dict[str, Path], *, home: Path) -> Component:
    """Run Karpenter, with decisions as quick as a test wants them."""
    file = instance_types_file(home)
    return Component(
        name=NAME,
        argv=(str(paths[NAME]),),
        environment={
            "KUBECONFIG": str(layout.kubeconfig("admin")),
            "INSTANCE_TYPES_FILE_PATH": str(file),
            "DISABLE_LEADER_ELECTION": "true",
            "METRICS_PORT": str(METRICS_PORT),
            "HEALTH_PROBE_PORT": str(HEALTH_PORT),
            "BATCH_IDLE_DURATION": "250ms",
            "BATCH_MAX_DURATION": "1s",
        },
        files=(file,),
    )


def instance_types_file(home: Path) -> Path:
    """Path of what the provider offers."""
    return home / "instance-types.json"


def write_instance_types(home: Path) -> None:
    """Offer the sizes of the chart."""
    content = sizes.instance_types(sizes.read(), machine=platform.machine())
    write_atomically(instance_types_file(home), json.dumps(content, indent=1) + "\n")


def node_class() -> dict[str, Any]:
    """Describe the only node class."""
    return {"apiVersion": f"{PROVIDER_GROUP}/v1alpha1", "kind": "KWOKNodeClass", "metadata": {"name": NODE_CLASS}}


class Installation:
    """Karpenter's kinds on their way into the API server, while other things go on.

    Parameters
    ----------
    paths
        Programs by name.
    kubeconfig
        The administrator's.
    """

    def __init__(self, *, paths: dict[str, Path], kubeconfig: Path) -> None:
        self._kubectl = [str(paths["kubectl"]), f"--kubeconfig={kubeconfig}"]
        folders = [f"--filename={folder}" for folder in programs.data_folders(NAME, paths[NAME])]
        command = [*self._kubectl, "apply", "--server-side", "--force-conflicts", *folders]
        self._applying = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def finish(self) -> None:
        """Wait until the kinds can be used, and make the node class."""
        _, errors = self._applying.communicate()
        if self._applying.returncode:
            raise DevclusterError(f"Karpenter's kinds could not be installed: {errors.strip()}")
        kinds = ("nodepools.karpenter.sh", "nodeclaims.karpenter.sh", f"kwoknodeclasses.{PROVIDER_GROUP}")
        self._run("wait", "--for=condition=Established", "--timeout=60s", *(f"crd/{kind}" for kind in kinds))
        self._run("apply", "--server-side", "--filename=-", text=yaml.safe_dump(node_class()))

    def _run(self, *arguments: str, text: str = "") -> None:
        result = subprocess.run([*self._kubectl, *arguments], input=text, capture_output=True, text=True, check=False)
        if result.returncode:
            raise DevclusterError(f"kubectl {arguments[0]}: {result.stderr.strip()}")
