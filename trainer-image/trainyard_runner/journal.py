"""The log of `prepare`: what its container prints, kept on the pod's disk for the object store as well."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TYPE_CHECKING

from trainyard.contract import PREPARE_LOG
from trainyard.patience import Retry, TransferError
from trainyard_runner.gateway import Clients
from trainyard_runner.logs import put_log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO, TextIO

    from trainyard_runner.layout import Layout

KEPT_BYTES = 1024 * 1024
# The pod fails in any case: its log is worth a short wait.
_PATIENCE = Retry(limit=10.0)


@contextlib.contextmanager
def journaled(path: Path) -> Iterator[None]:
    """Keep what is printed to the standard error output at `path` as well, its first MiB."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb", buffering=0)
    except OSError:
        yield  # a disk that takes nothing is met by what comes next, which can say so
        return
    with file, contextlib.redirect_stderr(_Journal(sys.stderr, file)):
        yield


def save_journal(layout: Layout, environ: Mapping[str, str]) -> None:
    """Save the log of a `prepare` that failed; a log that cannot be saved changes nothing."""
    with contextlib.suppress(TransferError, OSError, KeyError):
        clients = Clients(environ=environ, layout=layout, retry=_PATIENCE)
        put_log(PREPARE_LOG, [layout.prepare_log], gateway=clients.gateway, store=clients.store)


class _Journal(io.TextIOBase):
    def __init__(self, stream: TextIO, file: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._file = file
        self._left = KEPT_BYTES

    def write(self, text: str) -> int:
        kept = text.encode(errors="replace")[: self._left]
        if kept:
            with contextlib.suppress(OSError):
                self._left -= len(kept)
                self._file.write(kept)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()
