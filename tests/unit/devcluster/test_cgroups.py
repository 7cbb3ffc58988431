from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from devcluster.cgroups import Cgroup


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The old hierarchies, as far as files go."""
    for controller in ("cpu", "cpuset", "memory", "pids", "unified"):
        (tmp_path / controller).mkdir()
        (tmp_path / controller / "cgroup.procs").touch()
    for file in ("cpuset.cpus", "cpuset.mems"):
        (tmp_path / "cpuset" / file).write_text("0-1\n" if file.endswith("cpus") else "0\n")
    (tmp_path / "not-a-hierarchy").mkdir()
    return tmp_path


@pytest.fixture
def unified(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (tmp_path / "cgroup.procs").touch()
    return tmp_path


def test_every_old_hierarchy_gets_the_cgroup_and_cpusets_are_not_empty(old: Path):
    Cgroup("trainyard-x", root=old).create()
    made = sorted(str(path.relative_to(old)) for path in old.glob("*/trainyard-x/*") if path.is_dir())
    assert made == [
        f"{c}/trainyard-x/{part}"
        for c in ("cpu", "cpuset", "memory", "pids", "unified")
        for part in ("machine", "pods")
    ]
    for part in (".", "machine", "pods"):
        assert (old / "cpuset" / "trainyard-x" / part / "cpuset.cpus").read_text() == "0-1\n"
        assert (old / "cpuset" / "trainyard-x" / part / "cpuset.mems").read_text() == "0\n"


def test_processes_join_one_old_hierarchy(old: Path):
    assert Cgroup("trainyard-x", root=old).entry() == old / "pids" / "trainyard-x" / "machine" / "cgroup.procs"


def test_the_unified_hierarchy_delegates_its_controllers(unified: Path):
    cgroup = Cgroup("trainyard-x", root=unified)
    cgroup.create()
    assert "+memory" in (unified / "trainyard-x" / "cgroup.subtree_control").read_text()
    assert cgroup.entry() == unified / "trainyard-x" / "machine" / "cgroup.procs"
    assert cgroup.pods == "/trainyard-x/pods"


def test_processes_are_found_however_deep_and_only_below_our_name(old: Path):
    cgroup = Cgroup("trainyard-x", root=old)
    cgroup.create()
    for path, pids in {
        "pids/trainyard-x/machine": "101\n102\n",
        "memory/trainyard-x/pods/kubepods/pod1": "103\n0\n",
        "pids/trainyard-y/machine": "104\n",
        "pids": "105\n",
    }.items():
        (old / path).mkdir(parents=True, exist_ok=True)
        (old / path / "cgroup.procs").write_text(pids)
    assert cgroup.processes() == {101, 102, 103}


def test_the_process_that_asks_is_never_among_those_to_kill(old: Path):
    cgroup = Cgroup("trainyard-x", root=old)
    cgroup.create()
    (old / "pids" / "trainyard-x" / "machine" / "cgroup.procs").write_text(f"{os.getpid()}\n")
    assert cgroup.processes() == set()


def test_what_is_in_the_cgroup_is_killed(old: Path, monkeypatch: pytest.MonkeyPatch):
    cgroup = Cgroup("trainyard-x", root=old)
    with subprocess.Popen(["sleep", "60"]) as victim:
        # A real cgroup forgets the dead by itself.
        monkeypatch.setattr(Cgroup, "processes", lambda _: {victim.pid} if victim.poll() is None else set())
        cgroup.kill()
        assert victim.returncode == -9


def test_a_cgroup_that_is_not_there_has_no_processes_and_is_removed_already(old: Path):
    cgroup = Cgroup("trainyard-x", root=old)
    assert cgroup.processes() == set()
    cgroup.kill()
    cgroup.remove()
    assert (old / "pids").is_dir()
