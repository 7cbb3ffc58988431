"""The way of a log into the object store: live in parts, and as one object in the end.

An object cannot be appended to, so the part under way is written again as it grows. It is sealed once it is large
enough for that to be a waste (`REWRITTEN_BYTES`). In the end the whole log becomes one object and the parts go: a
reader takes the whole where it is there, and else the parts in the order of their names, and sees each line once.
A log that outgrew the disk stays in its parts.
"""

from __future__ import annotations

import contextlib
import io
import threading
from typing import TYPE_CHECKING, cast

from trainyard.contract import LOG_PARTS, MAX_GRANTS, PREPARE_LOG, TRAIN_LOG
from trainyard.patience import TransferError
from trainyard.transfer import Upload
from trainyard.uploads import in_parallel, put_file
from trainyard_runner.spool import PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from trainyard.contract import PutGrant
    from trainyard.transfer import GatewayClient, StoreClient
    from trainyard_runner.spool import LogSpool

REWRITTEN_BYTES = 256 * 1024
SHIP_SECONDS = 2.0
GRANTS_AHEAD = 8


class LogShipper(threading.Thread):
    """Carries what is in a `LogSpool`, and the log of `prepare`, to ``logs/`` of the run."""

    def __init__(self, *, spool: LogSpool, prepare_log: Path, gateway: GatewayClient, store: StoreClient) -> None:
        super().__init__(name="log-shipper", daemon=True)
        self._spool = spool
        self._prepare_log: Path | None = prepare_log
        self._gateway = gateway
        self._store = store
        self._stopping = threading.Event()
        self._grants: dict[int, PutGrant] = {}
        self._shipped: list[str] = []
        self._part = 1
        self._sent = 0
        self._trouble: TransferError | OSError | None = None

    def run(self) -> None:
        """Ship every few seconds; at the end all of it."""
        self._try(self._save_prepare_log)
        while not self._stopping.wait(SHIP_SECONDS):
            self._try(self._ship)
        self._try(self._save_all)

    def finish(self, *, seconds: float) -> str | None:
        """Wait at most `seconds` until everything is saved; return None if it is, or why something is not."""
        self._spool.close()
        self._stopping.set()
        self.join(seconds)
        if self.is_alive():
            return "the object store was away for too long"
        return str(self._trouble) if self._trouble else None

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
            self._trouble = None
        except (TransferError, OSError) as trouble:
            # Nothing is lost yet: the next round begins with the same part.
            self._trouble = trouble

    def _save_prepare_log(self) -> None:
        if self._prepare_log is not None:
            put_log(PREPARE_LOG, [self._prepare_log], gateway=self._gateway, store=self._store)
            self._prepare_log = None

    def _save_all(self) -> None:
        self._save_prepare_log()
        whole = self._spool.whole()
        if whole is None:
            self._ship()
        else:
            put_log(TRAIN_LOG, whole, gateway=self._gateway, store=self._store)
            self._remove_parts()

    def _ship(self) -> None:
        while True:
            size, sealed = self._spool.state(self._part)
            if size > self._sent:
                self._put(size)
            if sealed and self._sent == size and size > 0:
                self._spool.sent(self._part)
                self._grants.pop(self._part, None)
                following = self._spool.after(self._part)
                # A part that was cut out leaves its number unused.
                self._part, self._sent = following or self._part + 1, 0
                continue
            if self._sent < REWRITTEN_BYTES:
                return
            self._spool.seal(self._part)

    def _put(self, size: int) -> None:
        path = self._spool.path(self._part)
        upload = Upload(path=LOG_PARTS + path.name, size=size, opener=lambda: path.open("rb"))
        if upload.path not in self._shipped[-1:]:
            self._shipped.append(upload.path)
        grant = put_file(upload, gateway=self._gateway, store=self._store, grant=self._grant())
        self._grants[self._part] = grant
        self._sent = size

    def _grant(self) -> PutGrant:
        if self._part not in self._grants:
            numbers = range(self._part, self._part + GRANTS_AHEAD)
            wishes = [{"path": LOG_PARTS + self._spool.path(n).name, "bytes": PART_BYTES} for n in numbers]
            self._grants.update(zip(numbers, self._gateway.put_grants(wishes)))
        return self._grants[self._part]

    def _remove_parts(self) -> None:
        # Parts that stay cost space and nothing else: the whole log is what readers take.
        with contextlib.suppress(TransferError):
            for start in range(0, len(self._shipped), MAX_GRANTS):
                grants = self._gateway.delete_grants(self._shipped[start : start + MAX_GRANTS])
                in_parallel(self._store.delete, [grant["url"] for grant in grants])


def put_log(target: str, files: Sequence[Path], *, gateway: GatewayClient, store: StoreClient) -> None:
    """Save `files` as one object; those that are not there are empty.

    Raises
    ------
    TransferError
        If it cannot be saved.
    OSError
        If a file cannot be read.
    """
    there = [path for path in files if path.exists()]
    size = sum(path.stat().st_size for path in there)
    upload = Upload(path=target, size=size, opener=lambda: cast("BinaryIO", _Joined(there)))
    put_file(upload, gateway=gateway, store=store)


class _Joined(io.RawIOBase):
    """Files read as one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self._left = list(paths)
        self._file: BinaryIO | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while True:
            if self._file is None:
                if not self._left:
                    return b""
                self._file = self._left.pop(0).open("rb")
            chunk = self._file.read(size)
            if chunk:
                return chunk
            self._file.close()
            self._file = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()
