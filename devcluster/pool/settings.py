"""What `up` tells the pool's agent, and where the agent keeps its machines."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devcluster.components import Component, ControlPlaneLayout
from devcluster.layout import REPOSITORY, Yard, write_atomically
from devcluster.names import POOL_MACHINES, Addresses, Names
from devcluster.sizes import Size

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = "pool-agent"
PROGRAM = "pool"
FOLDER = "pool"
KUBELET_PORT = 10300
HEALTH_PORT = 10400


@dataclass(frozen=True)
class Slot:
    """The place of one machine: everything that two of them must not share follows from its index."""

    folder: Path
    index: int

    @property
    def home(self) -> Path:
        """Folder of the machine in this place."""
        return self.folder / str(self.index)

    @property
    def program(self) -> str:
        """Name of the machine as a program, and of its cgroup."""
        return f"{PROGRAM}-{self.index}"

    @property
    def kubelet_port(self) -> int:
        """Port that the API server reaches the kubelet by: all machines have one address."""
        return KUBELET_PORT + self.index

    @property
    def health_port(self) -> int:
        """Port of the kubelet's health on loopback."""
        return HEALTH_PORT + self.index


@dataclass(frozen=True)
class Settings:
    """What the agent has to know.

    Parameters
    ----------
    checkout
        The checkout whose cluster this is.
    octet
        The cluster's addresses.
    kubelet
        The program.
    pause_image
        What holds a pod's namespaces.
    images
        Archives of the images that every machine has from its start, by reference.
    sizes
        What machines there can be.
    plugins
        Folder of the CNI plugins.
    resolvers
        Name servers outside of the cluster.
    """

    checkout: Path
    octet: int
    kubelet: Path
    pause_image: str
    images: dict[str, Path]
    sizes: list[Size]
    plugins: str
    resolvers: list[str]

    @property
    def yard(self) -> Yard:
        """The checkout's folder."""
        return Yard(checkout=self.checkout)

    @property
    def folder(self) -> Path:
        """Home of all machines of the pool."""
        return self.yard.machine / FOLDER

    @property
    def names(self) -> Names:
        """The cluster's names."""
        return Names.of(self.checkout)

    @property
    def addresses(self) -> Addresses:
        """The cluster's addresses."""
        return Addresses(octet=self.octet)

    @property
    def control_plane(self) -> ControlPlaneLayout:
        """Where the API server is."""
        return ControlPlaneLayout.embedded(yard=self.yard, addresses=self.addresses)

    @property
    def file(self) -> Path:
        """Where these settings are written."""
        return self.folder / "settings.json"

    @property
    def template(self) -> Path:
        """Folder of the unpacked images that every machine takes over; another one for other images."""
        key = hashlib.sha256(json.dumps(sorted(self.images)).encode()).hexdigest()[:16]
        return self.folder / f"template-{key}"

    def slot(self, index: int) -> Slot:
        """Give the place of an index."""
        return Slot(folder=self.folder, index=index)

    def write(self) -> None:
        """Leave the settings for the agent."""
        write_atomically(self.file, json.dumps(asdict(self), default=str, indent=1, sort_keys=True) + "\n")

    @classmethod
    def read(cls, file: Path) -> Settings:
        """Read what `write` wrote."""
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return cls(
            **{
                **content,
                "checkout": Path(content["checkout"]),
                "kubelet": Path(content["kubelet"]),
                "images": {reference: Path(archive) for reference, archive in content["images"].items()},
                "sizes": [Size(**size) for size in content["sizes"]],
            }
        )


def free_index(taken: Iterable[int]) -> int | None:
    """Pick the lowest index that no machine has; None if all have one."""
    used = set(taken)
    return next((index for index in range(POOL_MACHINES) if index not in used), None)


def component(settings: Settings) -> Component:
    """Run the agent; another version of it, or of its settings, replaces a running one."""
    sources = (path for folder in ("", "pool") for path in (REPOSITORY / "devcluster" / folder).glob("*.py"))
    return Component(
        name=NAME,
        argv=(sys.executable, "-P", "-m", "devcluster.pool", str(settings.file)),
        environment={"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
        files=(settings.file, *sorted(sources)),
    )
