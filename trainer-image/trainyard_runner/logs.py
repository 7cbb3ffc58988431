"""The way of a log into the object store: parts on disk, and a thread that carries them there.

An object cannot be appended to, so the part under way is written again as it grows. It is sealed once it is large
enough for that to be a waste (`REWRITTEN_BYTES`), and never grows beyond `PART_BYTES`. A part leaves the disk only when
the store has all of it, so that an outage costs nothing but space.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from trainyard.patience import TransferError
from trainyard.transfer import Upload
from trainyard.uploads import put_file

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from trainyard.contract import PutGrant
    from trainyard.transfer import GatewayClient, StoreClient

PART_BYTES = 4 * 1024 * 1024
REWRITTEN_BYTES = 256 * 1024
# A script that prints faster than the store takes is slowed down once this much is waiting.
SPOOL_BYTES = 1024 * 1024 * 1024
SHIP_SECONDS = 2.0
GRANTS_AHEAD = 8


class LogSpool:
    """Log parts on disk, numbered from 1: one writer, one reader."""

    def __init__(self, folder: Path, *, bound: int = SPOOL_BYTES) -> None:
        self._folder = folder
        self._bound = bound
        self._changed = threading.Condition()
        self._file: BinaryIO | None = None
        self._number = 0
        self._sizes: dict[int, int] = {}
        self._waiting = 0

    def write(self, data: bytes) -> None:
        """Append `data`, waiting while too much is on disk already."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting < self._bound)
            if self._file is None or self._sizes[self._number] + len(data) > PART_BYTES:
                self._begin_part()
            assert self._file is not None
            self._file.write(data)
            self._sizes[self._number] += len(data)
            self._waiting += len(data)

    def seal(self, number: int) -> None:
        """Let the next write begin another part than `number`."""
        with self._changed:
            if self._number == number and self._file is not None:
                self._file.close()
                self._file = None

    def close(self) -> None:
        """Seal the last part."""
        self.seal(self._number)

    def path(self, number: int) -> Path:
        """Return where the part `number` lies."""
        return self._folder / f"{number:06d}.log"

    def state(self, number: int) -> tuple[int, bool]:
        """Return how large a part is by now, and whether it stays so."""
        with self._changed:
            return self._sizes.get(number, 0), number < self._number or (number == self._number and self._file is None)

    def forget(self, number: int) -> None:
        """Take a sealed part off the disk."""
        self.path(number).unlink(missing_ok=True)
        with self._changed:
            self._waiting -= self._sizes.pop(number)
            self._changed.notify_all()

    def _begin_part(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._file is not None:
            self._file.close()
            self._file = None
        # Unbuffered: what is counted is on disk.
        self._file = self.path(self._number + 1).open("wb", buffering=0)
        self._number += 1
        self._sizes[self._number] = 0


class LogShipper(threading.Thread):
    """Carries the parts of a `LogSpool` to ``logs/`` of the run."""

    def __init__(self, *, spool: LogSpool, gateway: GatewayClient, store: StoreClient) -> None:
        super().__init__(name="log-shipper", daemon=True)
        self._spool = spool
        self._gateway = gateway
        self._store = store
        self._stopping = threading.Event()
        self._grants: dict[int, PutGrant] = {}
        self._part = 1
        self._sent = 0
        self._trouble: TransferError | OSError | None = None

    def run(self) -> None:
        """Ship every few seconds; at the end once more."""
        while not self._stopping.wait(SHIP_SECONDS):
            self._try_to_ship()
        self._try_to_ship()

    def finish(self, *, seconds: float) -> str | None:
        """Wait at most `seconds` until everything is saved; return None if it is, or why something is not."""
        self._spool.close()
        self._stopping.set()
        self.join(seconds)
        if self.is_alive():
            return "the object store was away for too long"
        return str(self._trouble) if self._trouble else None

    def _try_to_ship(self) -> None:
        try:
            self._ship()
            self._trouble = None
        except (TransferError, OSError) as trouble:
            # Nothing is lost yet: the next round begins with the same part.
            self._trouble = trouble

    def _ship(self) -> None:
        while True:
            size, sealed = self._spool.state(self._part)
            if size > self._sent:
                self._put(size)
            if sealed and self._sent == size and size > 0:
                self._spool.forget(self._part)
                self._grants.pop(self._part, None)
                self._part, self._sent = self._part + 1, 0
                continue
            if self._sent < REWRITTEN_BYTES:
                return
            self._spool.seal(self._part)

    def _put(self, size: int) -> None:
        path = self._spool.path(self._part)
        upload = Upload(path=f"logs/{path.name}", size=size, opener=lambda: path.open("rb"))
        grant = put_file(upload, gateway=self._gateway, store=self._store, grant=self._grant())
        self._grants[self._part] = grant
        self._sent = size

    def _grant(self) -> PutGrant:
        if self._part not in self._grants:
            numbers = range(self._part, self._part + GRANTS_AHEAD)
            wishes = [{"path": f"logs/{self._spool.path(n).name}", "bytes": PART_BYTES} for n in numbers]
            self._grants.update(zip(numbers, self._gateway.put_grants(wishes)))
        return self._grants[self._part]
