"""The namespaces that the embedded cluster runs in: what is in them, and that nothing of it is ever left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import network
from devcluster.cgroups import ROOT
from devcluster.components import Component
from devcluster.errors import DevclusterError
from devcluster.layout import Yard
from devcluster.machine import Machine
from devcluster.names import Names, choose_addresses
from devcluster.waiting import wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and cgroups need root")

# A program with a descendant that nobody would find by its parent.
PARENT = ("sh", "-c", "setsid sh -c 'sleep 601 & sleep 602' & exec sleep 603")


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    """A checkout whose path is longer than any socket's address may be."""
    return Yard(checkout=tmp_path / ("long-" * 25))


@pytest.fixture
def names(yard: Yard) -> Names:
    return Names.of(yard.checkout)


@pytest.fixture
def machine(yard: Yard, names: Names) -> Iterator[Machine]:
    machine = Machine(yard=yard, names=names)
    machine.create()
    yield machine
    machine.destroy()


def traces(yard: Yard, names: Names) -> list[str]:
    """Return whatever of a machine can be seen from outside."""
    found = [str(path) for path in ROOT.rglob(names.cgroup)]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    found += [line for line in tables.splitlines() if names.table in line]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(yard.checkout) in line]
    if Path("/sys/class/net", names.link).exists():
        found.append(names.link)
    return found


def connect(machine: Machine, names: Names) -> None:
    addresses = choose_addresses(preferred=names.preferred_octet, taken=network.used_networks())
    network.connect(names=names, addresses=addresses, pid=machine.pid)


def test_nothing_is_left_of_a_machine_that_is_taken_down(machine: Machine, yard: Yard, names: Names):
    connect(machine, names)
    machine.ensure(Component(name="p", argv=PARENT))
    wait_for(lambda: len(machine.cgroup.processes()) >= 6, what="the program's descendants", timeout=60)
    assert traces(yard, names) != []
    processes = machine.cgroup.processes()
    machine.destroy()
    assert traces(yard, names) == []
    assert [pid for pid in processes if Path("/proc", str(pid), "exe").exists()] == []


def test_a_machine_that_was_killed_takes_its_programs_along_and_another_one_starts(
    machine: Machine, yard: Yard, names: Names
):
    connect(machine, names)
    machine.ensure(Component(name="p", argv=PARENT))
    os.kill(machine.pid, signal.SIGKILL)
    wait_for(lambda: not machine.cgroup.processes(), what="its programs to die too", timeout=60)
    assert machine.pid is None
    machine.destroy()
    machine.create()
    assert machine.programs() == {}


def test_a_machine_whose_files_were_deleted_is_found_and_taken_down(machine: Machine, yard: Yard, names: Names):
    machine.ensure(Component(name="p", argv=PARENT))
    shutil.rmtree(yard.root)
    assert machine.pid is None
    Machine(yard=yard, names=names).destroy()
    assert traces(yard, names) == []


def test_a_program_is_started_again_only_if_it_would_run_otherwise(machine: Machine):
    first = Component(name="p", argv=("sleep", "600"))
    assert machine.ensure(first)
    pid = machine.programs()["p"].pid
    assert not machine.ensure(first)
    assert machine.programs()["p"].pid == pid
    assert machine.ensure(Component(name="p", argv=("sleep", "601")))
    assert machine.programs()["p"].pid != pid


def test_a_program_that_ended_can_be_forgotten_and_a_running_one_can_not(machine: Machine):
    machine.ensure(Component(name="short", argv=("true",)))
    machine.ensure(Component(name="long", argv=("sleep", "600")))
    wait_for(lambda: machine.programs()["short"].status == 0, what="a program's end", timeout=60)
    machine.forget("short")
    machine.forget("short")
    with pytest.raises(DevclusterError, match="long is running"):
        machine.forget("long")
    assert list(machine.programs()) == ["long"]


def test_the_host_sees_neither_mounts_nor_files_that_programs_of_the_machine_make(machine: Machine):
    outside = Path("/var/lib/trainyard-test-of-the-machine")
    machine.run("mkdir", str(outside))
    machine.run("mount", "-t", "tmpfs", "tmpfs", str(outside))
    assert not outside.exists()
    assert str(outside) in machine.run("cat", "/proc/self/mounts")
