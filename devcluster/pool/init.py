"""Process 1 of one machine of the pool: brings up containerd and the kubelet, keeps them up, buries the dead.

Run as a script, as process 1 of a new process and mount namespace inside the cluster's machine. It needs the standard
library only. Whatever runs in a pod here is its descendant: when it is killed, the machine is gone as in a power cut,
with its processes, mounts and the network namespaces of its pods. On SIGHUP it imports the images that are new.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SETTINGS = "init.json"
# In the machine's folder: a kubelet that ended is left as it is.
NO_RESTART = "no-restart"
SOCKET = "/run/containerd/containerd.sock"
# Folder of the machine -> where programs expect it.
BINDS = (
    ("kubelet", "/var/lib/kubelet"),
    ("containerd", "/var/lib/containerd"),
    ("cni-cache", "/var/lib/cni"),
    ("log", "/var/log"),
)
VOLATILE = ("/run/containerd", "/run/netns", "/run/cni-addresses")
RESTART_SECONDS = 1
START_SECONDS = 60


def mount(*arguments: str) -> None:
    """Mount something in this namespace."""
    subprocess.run(["mount", *arguments], check=True)


def isolate(home: Path) -> None:
    """Give the machine its own state; the rest of the cluster's machine is shared."""
    for folder, target in BINDS:
        (home / folder).mkdir(parents=True, exist_ok=True)
        Path(target).mkdir(parents=True, exist_ok=True)
        mount("--bind", str(home / folder), target)
    for target in VOLATILE:
        Path(target).mkdir(parents=True, exist_ok=True)
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", target)
    mount("--make-rshared", "/")


def clone(template: Path, target: Path) -> None:
    """Take over a containerd's images by links: nothing ever writes into a layer or a blob, only into databases."""
    if target.exists() or not template.exists():
        return
    temporary = target.with_name(f".{target.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    subprocess.run(["cp", "--archive", "--link", str(template), str(temporary)], check=True)
    for database in temporary.glob("*/*.db"):
        copy = database.with_suffix(".new")
        shutil.copy2(database, copy)
        copy.replace(database)
    temporary.rename(target)


class Init:
    """Keeps this machine's programs.

    Parameters
    ----------
    home
        The machine's folder.
    settings
        ``containerd`` and ``kubelet`` (command lines, the latter may be absent), ``images`` (archives by reference),
        ``log`` (what the names of logs begin with).
    """

    def __init__(self, *, home: Path, settings: dict[str, Any]) -> None:
        self._home = home
        self._settings = settings
        self._running: dict[int, str] = {}

    def run(self) -> None:
        """Bring the machine up and keep it so; without a kubelet end when the images are there."""
        containerd = self._start("containerd")
        self._await_containerd()
        self._import_images()
        if not self._settings["kubelet"]:
            os.kill(containerd, signal.SIGTERM)
            os.waitpid(containerd, 0)
            return
        signal.signal(signal.SIGHUP, lambda *_: self._reload())
        self._start("kubelet")
        while True:
            self._bury()

    def _reload(self) -> None:
        self._settings = read_settings(self._home)
        self._import_images()

    def _bury(self) -> None:
        pid, status = os.waitpid(-1, 0)
        name = self._running.pop(pid, None)
        if not name:
            return
        print(f"{name} ended with status {os.waitstatus_to_exitcode(status)}", flush=True)
        if name == "kubelet" and (self._home / NO_RESTART).exists():
            return
        # One that ends as soon as it is started must not take the processor from all others.
        time.sleep(RESTART_SECONDS)
        self._start(name)

    def _start(self, name: str) -> int:
        argv = self._settings[name]
        log = f"{self._settings['log']}-{name}.log"
        pid = os.posix_spawnp(
            argv[0],
            argv,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        self._running[pid] = name
        return pid

    def _await_containerd(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(SOCKET)
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                else:
                    return
            time.sleep(0.02)

    def _import_images(self) -> None:
        known = self._ctr("list", "--quiet").split()
        for reference, archive in self._settings["images"].items():
            if reference not in known:
                self._ctr("import", archive)

    def _ctr(self, *arguments: str) -> str:
        command = ["ctr", f"--address={SOCKET}", "--namespace=k8s.io", "images", *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def read_settings(home: Path) -> dict[str, Any]:
    """Read what the agent wrote."""
    return dict(json.loads((home / SETTINGS).read_text(encoding="utf-8")))


def main(home: Path) -> None:
    """Be the machine whose folder is `home`."""
    settings = read_settings(home)
    if settings["template"]:
        clone(Path(settings["template"]), home / "containerd")
    isolate(home)
    Init(home=home, settings=settings).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
