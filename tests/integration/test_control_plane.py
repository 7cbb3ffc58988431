"""The control plane that every other test here rests on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from devcluster.controlplane import ControlPlane
from devcluster.errors import DevclusterError
from devcluster.waiting import wait_for

HOLD = """
import sys, time
from pathlib import Path
from devcluster.controlplane import ControlPlane
with ControlPlane(home=Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(600)
"""


def running(home: Path) -> list[int]:
    """Return the processes that work in `home`."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = " ".join(process.info["cmdline"] or [])
        if str(home) in command and "pytest" not in command and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def test_two_run_side_by_side_and_nothing_is_left_of_either(tmp_path: Path):
    with ControlPlane(home=tmp_path / "a") as one, ControlPlane(home=tmp_path / "b") as other:
        assert one.server != other.server
        one.kubectl("create", "namespace", "only-here")
        with pytest.raises(DevclusterError, match=r"only-here.* not found"):
            other.kubectl("get", "namespace", "only-here")
    assert running(tmp_path) == []


def test_the_death_of_who_started_it_takes_all_with_it_and_its_folder_is_used_again(tmp_path: Path, repository: Path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "a")], cwd=repository, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "ready\n"
        os.kill(holder.pid, signal.SIGKILL)
    wait_for(lambda: not running(tmp_path), what="etcd and the API server to die too", timeout=30)
    with ControlPlane(home=tmp_path / "a") as plane:
        assert "default" in plane.kubectl("get", "namespaces")


def test_a_program_can_be_away_for_a_while(tmp_path: Path):
    with ControlPlane(home=tmp_path / "a") as plane:
        plane.kubectl("create", "configmap", "kept", "--from-literal=a=b")
        plane.stop("kube-apiserver")
        with pytest.raises(DevclusterError, match=r"kubectl get configmap"):
            plane.kubectl("get", "configmap", "kept")
        plane.start("kube-apiserver")
        assert "kept" in plane.kubectl("get", "configmap", "kept")


def test_controllers_make_pods_of_jobs(tmp_path: Path):
    with ControlPlane(home=tmp_path / "a", controller_manager=True) as plane:
        plane.kubectl("create", "job", "one", "--image=none")
        wait_for(lambda: "one-" in plane.kubectl("get", "pods"), what="the Job's pod", timeout=60)
