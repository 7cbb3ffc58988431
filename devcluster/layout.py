"""Where everything is: the cache that all checkouts share, and one checkout's own folder.

Nothing is ever written outside these two, but for cgroups and network names of our own.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cache:
    """The folder of things that are costly to make and the same for every checkout."""

    root: Path

    @classmethod
    def default(cls) -> Cache:
        """Honour ``XDG_CACHE_HOME``, as the other tools of a machine do."""
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return cls(root=Path(base) / "trainyard")

    @property
    def programs(self) -> Path:
        """Built Go programs, one folder for each key."""
        return self.root / "programs"

    @property
    def go(self) -> Path:
        """Go's own caches while something is being built."""
        return self.root / "go"

    @property
    def toolchain(self) -> Path:
        """The Go toolchain, where the machine has none that is new enough."""
        return self.root / "toolchain"

    @property
    def images(self) -> Path:
        """Container images as archives, named by the hash of what they were built from."""
        return self.root / "images"

    @property
    def layers(self) -> Path:
        """The image builder's storage."""
        return self.root / "layers"

    def lock(self, name: str) -> Path:
        """Name the file that serialises all checkouts' work on one thing."""
        return self.root / f"{name}.lock"


@dataclass(frozen=True)
class Yard:
    """The folder ``.yard/`` of a checkout."""

    checkout: Path

    @classmethod
    def default(cls) -> Yard:
        """Find the yard of the checkout that this module belongs to."""
        return cls(checkout=REPOSITORY)

    @property
    def root(self) -> Path:
        """The folder itself."""
        return self.checkout / ".yard"

    @property
    def log(self) -> Path:
        """Logs of every program, kept when the cluster is taken down."""
        return self.root / "log"

    @property
    def bin(self) -> Path:
        """Links to the programs that people use."""
        return self.root / "bin"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.root / "kubeconfig"

    @property
    def state(self) -> Path:
        """What has to be remembered between two commands."""
        return self.root / "state.json"

    @property
    def control_plane(self) -> Path:
        """Home of etcd and of the API server's files."""
        return self.root / "control-plane"

    @property
    def machine(self) -> Path:
        """What only lives as long as the machine: containers, volumes, sockets."""
        return self.root / "machine"


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file so that a reader, or a run that was killed, sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an absent or damaged file is an empty one."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
