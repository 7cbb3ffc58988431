"""The thread between a script's output and its two readers: the container's log and the log parts."""

from __future__ import annotations

import os
import select
import threading
import time
from typing import TYPE_CHECKING

from trainyard_runner.bars import BarReader
from trainyard_runner.lines import LineFolder

if TYPE_CHECKING:
    from trainyard.contract import Progress
    from trainyard_runner.spool import LogSpool
    from trainyard_runner.warnings import Warnings

READ_BYTES = 64 * 1024
TAIL_BYTES = 8 * 1024
# A line without an end, and each state of a progress bar, is shown at most this late and this often.
SETTLE_SECONDS = 1.5
# So long is still read after `stop`, and so much of what is there by then: more than a pipe holds.
LAST_SECONDS = 1.0
LAST_BYTES = 1024 * 1024
_POLL_MILLISECONDS = 250


class Tee(threading.Thread):
    """Copies what comes out of `pipe` to the descriptor `out` and to `spool`, until its end or until `stop`.

    When a reader is slow the pipe fills and the script waits: no line is lost and no memory grows.
    """

    def __init__(self, *, pipe: int, out: int, spool: LogSpool, warnings: Warnings) -> None:
        super().__init__(name="tee", daemon=True)
        self._pipe = pipe
        self._out: int | None = out
        self._spool: LogSpool | None = spool
        self._warnings = warnings
        # Whether everybody who could print has ended.
        self.complete = False
        self._until: float | None = None
        self._tail = b""
        self._bars = BarReader()

    @property
    def progress(self) -> Progress | None:
        """What the progress bar shows that the script prints, if it prints one."""
        return self._bars.progress

    def run(self) -> None:
        """Copy until the end."""
        folder = LineFolder()
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        settled = time.monotonic()
        left = LAST_BYTES
        while True:
            late = self._until is not None and time.monotonic() >= self._until
            ready = bool(poll.poll(0 if late else _POLL_MILLISECONDS))
            if ready:
                chunk = os.read(self._pipe, READ_BYTES)
                if not chunk:
                    self.complete = True
                    break
                self._bars.feed(chunk)
                self._emit(folder.feed(chunk))
                left -= len(chunk) if late else 0
            if late and (not ready or left <= 0):
                break
            if time.monotonic() - settled >= SETTLE_SECONDS:
                self._emit(folder.settle())
                settled = time.monotonic()
        self._emit(folder.feed(b"", final=True) + folder.settle())
        os.close(self._pipe)

    def stop(self) -> None:
        """Stop soon, even though somebody holds the other end open."""
        self._until = time.monotonic() + LAST_SECONDS

    def tail(self, size: int) -> str:
        """Return the last whole lines that fit into `size` bytes, or the end of the last line."""
        cut = self._tail[-size:]
        if len(self._tail) > size and b"\n" in cut[:-1]:
            cut = cut.split(b"\n", 1)[1]
        return cut.decode(errors="ignore")

    def _emit(self, text: str) -> None:
        if not text:
            return
        data = text.encode(errors="replace")
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        self._print(data)
        if self._spool is not None:
            try:
                self._spool.write(data)
            except OSError as error:
                self._warnings.add(f"the rest of the log could not be kept for the object store: {error}")
                self._spool = None

    def _print(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view and self._out is not None:
                view = view[os.write(self._out, view) :]
        except OSError:
            self._out = None  # nobody reads the container's log any more
