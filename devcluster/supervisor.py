"""The first process of a cluster's machine: starts its programs, buries its dead, and takes all with it when it dies.

Run as a script, as process 1 of a new process, mount and network namespace. It needs the standard library only, and
stands apart from the rest of the package, so that a running one does not mind the checkout's changing under it.

It answers one JSON line for each JSON line on the socket ``machine.sock``:

- ``{"op": "start", "name", "argv", "environment", "log", "digest"}``
- ``{"op": "signal", "name", "signal"}``
- ``{"op": "forget", "name"}``: no longer tell of a program that has ended
- ``{"op": "status"}``
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

SOCKET = "machine.sock"
OVERLAID = "/var/lib"
# Folder of the yard's machine -> where programs expect it.
BINDS = (("kubelet", "/var/lib/kubelet"), ("containerd", "/var/lib/containerd"), ("var-log", "/var/log"))


def mount(*arguments: str) -> None:
    """Mount something in this namespace."""
    subprocess.run(["mount", *arguments], check=True)


def prepare_mounts(yard: Path, machine: Path) -> None:
    """Give the machine its own /run, /var/lib and /var/log; the host's stay as they are."""
    for folder, _ in BINDS:
        (machine / folder).mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for folder in ("yard", "upper", "work"):
        Path("/run/trainyard", folder).mkdir(parents=True)
    # The checkout itself may be below a folder that is about to be covered.
    mount("--bind", str(yard), "/run/trainyard/yard")
    layers = "lowerdir=/var/lib,upperdir=/run/trainyard/upper,workdir=/run/trainyard/work"
    mount("-t", "overlay", "-o", layers, "overlay", OVERLAID)
    inner = Path("/run/trainyard/yard") / machine.relative_to(yard)
    for folder, target in BINDS:
        Path(target).mkdir(parents=True, exist_ok=True)
        mount("--bind", str(inner / folder), target)
    if not machine.is_dir() or not machine.samefile(inner):
        yard.mkdir(parents=True, exist_ok=True)
        mount("--bind", "/run/trainyard/yard", str(yard))
    # Volumes that pods share with the node need it, as on any node with systemd.
    mount("--make-rshared", "/")


class Supervisor:
    """Keeps the programs by name."""

    def __init__(self) -> None:
        self._programs: dict[str, dict[str, Any]] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked."""
        self.bury()
        match request["op"]:
            case "start":
                return self._start(request)
            case "signal":
                return self._signal(request)
            case "forget":
                return self._forget(request)
            case _:
                return {"programs": self._programs}

    def bury(self) -> None:
        """Collect every process that has ended, also those that were left to us."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                for program in self._programs.values():
                    if program["pid"] == pid:
                        program["status"] = os.waitstatus_to_exitcode(status)

    def _start(self, request: dict[str, Any]) -> dict[str, Any]:
        running = self._programs.get(request["name"])
        if running and running["status"] is None:
            return {"error": f"{request['name']} is running"}
        argv = request["argv"]
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            pid = os.posix_spawnp(
                argv[0],
                argv,
                {**os.environ, **request["environment"]},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, request["log"], append, 0o644),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
            )
        except OSError as error:
            return {"error": f"{argv[0]}: {error.strerror}"}
        self._programs[request["name"]] = {"pid": pid, "digest": request["digest"], "status": None}
        return {"pid": pid}

    def _signal(self, request: dict[str, Any]) -> dict[str, Any]:
        program = self._programs.get(request["name"])
        if program and program["status"] is None:
            os.kill(program["pid"], request["signal"])
        return {}

    def _forget(self, request: dict[str, Any]) -> dict[str, Any]:
        program = self._programs.get(request["name"])
        if program and program["status"] is None:
            return {"error": f"{request['name']} is running"}
        self._programs.pop(request["name"], None)
        return {}


def serve(machine: Path) -> None:
    """Answer until killed."""
    supervisor = Supervisor()
    wake_read, wake_write = socket.socketpair()
    wake_read.setblocking(False)
    wake_write.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
    listener = socket.socket(socket.AF_UNIX)
    (machine / SOCKET).unlink(missing_ok=True)
    folder = os.open(machine, os.O_PATH | os.O_DIRECTORY)
    # A path of more than 107 bytes is no address of a socket; this one is always short.
    listener.bind(f"/proc/self/fd/{folder}/{SOCKET}")
    listener.listen()
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is wake_read:
                    with contextlib.suppress(BlockingIOError):
                        wake_read.recv(4096)
                    supervisor.bury()
                else:
                    _converse(listener, supervisor)


def _converse(listener: socket.socket, supervisor: Supervisor) -> None:
    connection, _ = listener.accept()
    # A client that dies in the middle must not take the machine with it.
    with connection, contextlib.suppress(OSError, ValueError, KeyError):
        connection.settimeout(5)
        with connection.makefile("r", encoding="utf-8") as lines:
            request = json.loads(lines.readline())
        connection.sendall(json.dumps(supervisor.answer(request)).encode() + b"\n")


if __name__ == "__main__":
    prepare_mounts(Path(sys.argv[1]), Path(sys.argv[2]))
    serve(Path(sys.argv[2]))
