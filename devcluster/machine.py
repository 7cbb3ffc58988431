"""A cluster's machine: process, mount and network namespaces of its own, with one process 1.

Whatever runs in it dies with that process, at the kernel's hand; mounts, interfaces and rules go with the namespaces.
So nothing of a cluster can outlive it, and two clusters never see each other.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devcluster import network, supervisor
from devcluster.cgroups import Cgroup
from devcluster.errors import DevclusterError
from devcluster.waiting import last_lines, wait_for

if TYPE_CHECKING:
    from devcluster.components import Component
    from devcluster.layout import Yard
    from devcluster.names import Names

# A shell's way into the cgroup whose file is its name, for what comes after.
JOIN = 'echo $$ > "$0" && exec'
STOP_SECONDS = 10
START_SECONDS = 20


@dataclass(frozen=True)
class Program:
    """A program in the machine: its process id inside, what it was started from, its exit status once it ended."""

    pid: int
    digest: str
    status: int | None


class Machine:
    """The machine of a checkout, running or not.

    Parameters
    ----------
    yard
        The checkout's folder.
    names
        The checkout's names.
    """

    def __init__(self, *, yard: Yard, names: Names) -> None:
        self._yard = yard
        self._names = names
        self.cgroup = Cgroup(names.cgroup)

    @property
    def pid(self) -> int | None:
        """Process 1 of the machine as the host numbers it; None where there is no machine."""
        try:
            with self._connection() as connection:
                # The kernel tells who listens, so no file with a stale number can mislead.
                credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return None
        pid = int(struct.unpack("3i", credentials)[0])
        return pid or None

    def create(self) -> None:
        """Start an empty machine; there must be none."""
        self._yard.machine.mkdir(parents=True)
        self._yard.log.mkdir(parents=True, exist_ok=True)
        self.cgroup.create()
        log = self._yard.log / "machine.log"
        # In the cgroup before anything is started, so that whatever fails half-way is found there.
        script = f'{JOIN} setsid --fork unshare --mount --net --pid --fork --mount-proc -- "$@"'
        arguments = [sys.executable, "-I", supervisor.__file__, str(self._yard.root), str(self._yard.machine)]
        with log.open("ab") as output:
            subprocess.run(
                ["/bin/sh", "-c", script, str(self.cgroup.entry()), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )

        def answers() -> bool:
            if not self.cgroup.processes():
                text = log.read_text(encoding="utf-8", errors="replace")
                raise DevclusterError(f"the cluster's namespaces could not be made:\n{last_lines(text)}")
            return self.pid is not None

        wait_for(answers, what="the cluster's first process", timeout=START_SECONDS)

    def destroy(self) -> None:
        """End every process of the machine and remove what it had; fine if there is none or only half of one."""
        self.cgroup.kill()
        network.disconnect(names=self._names)
        self.cgroup.remove()
        shutil.rmtree(self._yard.machine, ignore_errors=True)

    def programs(self) -> dict[str, Program]:
        """Tell what runs, or ran, in the machine."""
        return {name: Program(**values) for name, values in self._ask({"op": "status"})["programs"].items()}

    def ensure(self, component: Component) -> bool:
        """Start a program unless it runs just so already; True if it was started."""
        running = self.programs().get(component.name)
        if running and running.status is None:
            if running.digest == component.digest:
                return False
            self.stop(component.name)
        log = self._yard.log / f"{component.name}.log"
        self._ask(
            {
                "op": "start",
                "name": component.name,
                "argv": component.argv,
                "environment": component.environment,
                "log": str(log),
                "digest": component.digest,
            }
        )
        return True

    def check(self, name: str) -> None:
        """Raise if a program has ended."""
        program = self.programs().get(name)
        if program is None or program.status is not None:
            status = "did not start" if program is None else f"ended with status {program.status}"
            raise DevclusterError(f"{name} {status}:\n{self.tail(name)}")

    def tail(self, name: str) -> str:
        """Read the end of a program's log."""
        log = self._yard.log / f"{name}.log"
        return last_lines(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else "    (no log)"

    def stop(self, name: str) -> None:
        """Ask a program to end, then make it."""

        def ended() -> bool:
            program = self.programs().get(name)
            return program is None or program.status is not None

        self._ask({"op": "signal", "name": name, "signal": signal.SIGTERM})
        try:
            wait_for(ended, what=f"{name} to end", timeout=STOP_SECONDS)
        except DevclusterError:
            self._ask({"op": "signal", "name": name, "signal": signal.SIGKILL})
            wait_for(ended, what=f"{name} to end", timeout=STOP_SECONDS)

    def forget(self, name: str) -> None:
        """No longer tell of a program that has ended."""
        self._ask({"op": "forget", "name": name})

    def run(self, *argv: str) -> str:
        """Run a short command inside and return what it printed."""
        return network.command("nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", "--", *argv)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            with self._connection() as connection:
                connection.sendall(json.dumps(request).encode() + b"\n")
                with connection.makefile("r", encoding="utf-8") as lines:
                    answer = json.loads(lines.readline())
        except (OSError, ValueError) as error:
            raise DevclusterError(f"the cluster is not running; `make up` starts it ({error})") from error
        if "error" in answer:
            raise DevclusterError(str(answer["error"]))
        return dict(answer)

    def _connection(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        try:
            folder = os.open(self._yard.machine, os.O_PATH | os.O_DIRECTORY)
            try:
                connection.connect(f"/proc/self/fd/{folder}/{supervisor.SOCKET}")
            finally:
                os.close(folder)
        except OSError:
            connection.close()
            raise
        return connection
