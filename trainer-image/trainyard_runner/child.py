"""Minding the script as the container's first process: signals go through to it, and nobody's zombies stay."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import FrameType

    from trainyard_runner.tee import Tee

FORWARDED = (signal.SIGTERM, signal.SIGINT)
# How long what a script left running may go on printing before it is killed.
LEFTOVER_SECONDS = 2.0


class Minder:
    """Starts one script in a process group of its own and waits for it.

    `stopped_by` is the signal that came from outside, if one did: it has been passed on to the group.
    """

    def __init__(self) -> None:
        self.stopped_by: int | None = None
        self._pid: int | None = None
        for number in FORWARDED:
            signal.signal(number, self._forward)

    def start(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> int:
        """Start the script and return the end of the pipe that all its output comes out of.

        Raises
        ------
        OSError
            If it cannot be started.
        """
        reading, writing = os.pipe()
        try:
            child = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._pid = child.pid
        # This object would wait for the child by itself; `wait` does that, together with everybody else's orphans.
        child.returncode = 0
        if self.stopped_by is not None:
            self._forward(self.stopped_by, None)
        return reading

    def wait(self) -> int:
        """Wait for the script's end and return its wait status; orphans that end meanwhile are buried."""
        assert self._pid is not None
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == self._pid:
                return status

    def drain(self, tee: Tee) -> bool:
        """Let `tee` come to its end; return whether something that the script left running had to be killed for it."""
        tee.join(LEFTOVER_SECONDS)
        late = tee.is_alive()
        # Those that print nothing may still be writing into outputs/, which is about to be saved.
        left = self._signal_group(signal.SIGKILL)
        tee.stop()
        tee.join()
        # A container's log that is read slowly is late as well.
        return late and (left or not tee.complete)

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        self.stopped_by = number
        if self._pid is not None:
            self._signal_group(number)

    def _signal_group(self, number: int) -> bool:
        assert self._pid is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, number)
            return True
        return False
