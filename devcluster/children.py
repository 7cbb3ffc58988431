"""Programs that run for as long as this process does, and not a moment longer, however it ends."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from devcluster.errors import DevclusterError
from devcluster.waiting import last_lines

if TYPE_CHECKING:
    from pathlib import Path

    from devcluster.components import Component

STOP_SECONDS = 10


class Child:
    """One running program.

    Parameters
    ----------
    component
        What to run.
    log
        Where its output goes.
    """

    def __init__(self, component: Component, *, log: Path) -> None:
        self.name = component.name
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                # The kernel stops the program when the thread that started it ends, even by SIGKILL.
                ["setpriv", "--pdeathsig", "KILL", "--", *component.argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **component.environment},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise if the program has ended."""
        status = self._process.poll()
        if status is not None:
            raise DevclusterError(f"{self.name} ended with status {status}:\n{self.tail()}")

    def tail(self) -> str:
        """Read the end of the program's log."""
        return last_lines(self._log.read_text(encoding="utf-8", errors="replace"))

    def stop(self) -> None:
        """Ask the program to end, then make it."""
        self._process.terminate()
        try:
            self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the program at once, as a power cut would."""
        self._process.kill()
        self._process.wait()
