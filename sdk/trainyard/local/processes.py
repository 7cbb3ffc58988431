"""Processes of a run: started, listened to, and ended with all that they have started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainyard.contract import SIGNAL_BASE
from trainyard_runner.layout import Layout

Take = Callable[[bytes], None]

# How long the last words of a process may take to come, once it has ended.
LAST_WORDS_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Root:
    """The folder that is ``/`` to the runner: what a pod's volumes are in a cluster."""

    folder: Path

    @property
    def layout(self) -> Layout:
        """Where everything is in it."""
        return Layout.below(self.folder)

    def make(self, *, archive: bytes, token: str) -> Path:
        """Make the folders that the runner finds in a pod, and return its archive's place."""
        layout = self.layout
        for folder in (layout.home, layout.work, layout.inputs, layout.checkpoint, layout.tools):
            folder.mkdir(parents=True, exist_ok=True)
        for file in (layout.token, layout.termination_log):
            file.parent.mkdir(parents=True, exist_ok=True)
        layout.token.touch(mode=0o600)
        layout.token.write_text(token)
        place = self.folder / "runner.pyz"
        place.write_bytes(archive)
        return place

    def remove(self) -> None:
        """Remove all of it, as a pod's volumes go with the pod."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Process:
    """One command of the runner.

    Parameters
    ----------
    command
        ``prepare``, ``execute``, ``read`` or ``build``.
    take
        Gets what it prints, as it comes, in a thread of its own.
    """

    def __init__(self, command: str, *, root: Root, environ: Mapping[str, str], take: Take) -> None:
        # It ends when the other end of its standard input closes, that is with this process at the latest.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(root.folder / "runner.pyz"), command, str(root.folder)],
            cwd=root.layout.work,
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(take,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def wait(self, seconds: float) -> int | None:
        """Return the exit code as a container would have it, None where it has not ended in time."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(LAST_WORDS_SECONDS)
        self._close()
        return code if code >= 0 else SIGNAL_BASE - code

    def terminate(self) -> None:
        """Tell it to stop, as a node tells a container."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, and all that it has started."""
        for pid in [self.pid, *_descendants(self.pid)]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _read(self, take: Take) -> None:
        assert self._process.stdout is not None
        # Closed under the hands of whoever reads where something that was left running still has the other end.
        with contextlib.suppress(ValueError, OSError):
            while chunk := self._process.stdout.read1(1 << 16):  # type: ignore[attr-defined]
                take(chunk)

    def _close(self) -> None:
        for end in (self._process.stdin, self._process.stdout):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.close()


def _descendants(pid: int) -> list[int]:
    """Return the processes that `pid` has started, and those that these have."""
    with contextlib.suppress(OSError, ValueError):
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
        parents = {int(child): int(parent) for child, parent in (line.split() for line in listed.splitlines())}
        found = {pid}
        while more := {child for child, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found - {pid})
    return []


def wait_until(process: Process, *, tick: Callable[[], None], seconds: float = 0.1) -> int:
    """Return the exit code of a process; `tick` is called again and again until it has ended."""
    while True:
        begun = time.monotonic()
        code = process.wait(seconds)
        if code is not None:
            return code
        tick()
        time.sleep(max(0.0, seconds - (time.monotonic() - begun)))
