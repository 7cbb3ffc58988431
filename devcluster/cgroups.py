"""The cgroup that holds everything of a cluster, by which it is found again whatever became of its files."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

from devcluster.waiting import wait_for

ROOT = Path("/sys/fs/cgroup")
MACHINE = "machine"
PODS = "pods"
CONTROLLERS_V2 = "+cpu +cpuset +memory +pids +io"
CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")
# A hierarchy in which nothing but our own placement moves processes about.
TRACKING = ("pids", "memory", "cpu", "systemd")


class Cgroup:
    """One cgroup of ours, in the unified hierarchy or in each of the old ones.

    Parameters
    ----------
    name
        Its name at the top of each hierarchy.
    root
        Where the hierarchies are.
    """

    def __init__(self, name: str, *, root: Path = ROOT) -> None:
        self.name = name
        self._root = root
        self._unified = (root / "cgroup.controllers").exists()

    @property
    def hierarchies(self) -> list[Path]:
        """Every hierarchy of this machine."""
        if self._unified:
            return [self._root]
        return sorted(path for path in self._root.iterdir() if (path / "cgroup.procs").exists())

    @property
    def pods(self) -> str:
        """What the kubelet takes as its root."""
        return f"/{self.name}/{PODS}"

    def create(self) -> None:
        """Make the cgroup with a part for programs and one for pods."""
        for hierarchy in self.hierarchies:
            for part in (MACHINE, PODS):
                (hierarchy / self.name / part).mkdir(parents=True, exist_ok=True)
            if self._unified:
                (hierarchy / self.name / "cgroup.subtree_control").write_text(CONTROLLERS_V2, encoding="ascii")
            elif (hierarchy / CPUSET_FILES[0]).exists():
                # An empty cpuset takes no process; the children of one start empty.
                for part in (".", MACHINE, PODS):
                    for file in CPUSET_FILES:
                        value = (hierarchy / file).read_text(encoding="ascii")
                        (hierarchy / self.name / part / file).write_text(value, encoding="ascii")

    def entry(self) -> Path:
        """Find the file by which a process joins the part for programs."""
        if self._unified:
            return self._root / self.name / MACHINE / "cgroup.procs"
        tracking = next(self._root / name for name in TRACKING if (self._root / name / "cgroup.procs").exists())
        return tracking / self.name / MACHINE / "cgroup.procs"

    def processes(self) -> set[int]:
        """Every process in the cgroup, however deep."""
        found: set[int] = set()
        for hierarchy in self.hierarchies:
            for folder, _, _ in os.walk(hierarchy / self.name):
                try:
                    found.update(int(pid) for pid in Path(folder, "cgroup.procs").read_text(encoding="ascii").split())
                except OSError:
                    continue  # It vanished while we looked.
        # Processes that this one cannot see (of another pid namespace) are listed as 0.
        return found - {0, os.getpid()}

    def kill(self) -> None:
        """End every process in the cgroup and wait until the kernel has buried them."""

        def empty() -> bool:
            remaining = self.processes()
            for pid in remaining:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            return not remaining

        wait_for(empty, what=f"the processes of cgroup {self.name} to end", timeout=60)

    def remove(self) -> None:
        """Remove the cgroup from every hierarchy; a cgroup with processes stays."""
        for hierarchy in self.hierarchies:
            for folder, _, _ in os.walk(hierarchy / self.name, topdown=False):
                wait_for(partial(_removed, Path(folder)), what=f"cgroup {folder} to be free", timeout=20)


def _removed(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
