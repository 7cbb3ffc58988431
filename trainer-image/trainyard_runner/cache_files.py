"""The files of the cache of inputs: locks, copies that are hashed on the way, and what there is."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK, _DATA, _PART = "lock", "data", "part"
_CHUNK_BYTES = 1024 * 1024
_BEAT_SECONDS = 5.0
_LOOK_SECONDS = 0.1
# How long somebody who holds a file may be silent before it is no longer waited for.
PATIENCE_SECONDS = 120.0
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Place:
    """Where one file is kept; `base` is what the names of its parts begin with."""

    base: Path

    @property
    def lock(self) -> Path:
        """The file that is locked; its time is when the place was last used, its content the SHA-256 of the bytes."""
        return self.base.with_name(f"{self.base.name}.{_LOCK}")

    @property
    def data(self) -> Path:
        """The bytes, whole."""
        return self.base.with_name(f"{self.base.name}.{_DATA}")

    @property
    def part(self) -> Path:
        """The bytes while they are being written."""
        return self.base.with_name(f"{self.base.name}.{_PART}")

    def remove(self) -> bool:
        """Remove everything here, unless somebody is at it; return whether that was done."""
        try:
            handle = os.open(self.lock, _FLAGS, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(handle, self.lock):
                return False
            for path in (self.data, self.part, self.lock):
                path.unlink(missing_ok=True)
        except OSError:
            return False
        finally:
            os.close(handle)
        return True


@dataclass(frozen=True)
class Kept:
    """A place as it was found: its bytes, and when it was last used."""

    place: Place
    size: int
    used: float


class Beat:
    """A place whose lock is held."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._next = 0.0

    def beat(self) -> None:
        """Say that the place is in use, so that those who wait go on waiting, and it is the last to be evicted."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _BEAT_SECONDS
            # A download that goes well must not fail for the disk of the cache; whoever waits will see silence.
            with suppress(OSError):
                os.utime(self._handle)

    def read(self) -> str:
        """Return the SHA-256 of what is kept here, or nothing."""
        return os.pread(self._handle, 64, 0).decode(errors="replace")

    def write(self, sha256: str) -> None:
        """Note the SHA-256 of what is kept here, or nothing."""
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, sha256.encode(), 0)


@contextmanager
def locked(place: Place, *, exclusive: bool) -> Iterator[Beat]:
    """Hold the lock of a place, alone or together with others who only read.

    Raises
    ------
    OSError
        If there can be no lock, or somebody else holds it and shows no sign of life.
    """
    handle = _acquire(place.lock, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
    try:
        beat = Beat(handle)
        beat.beat()
        yield beat
    finally:
        os.close(handle)


def _acquire(path: Path, operation: int) -> int:
    while True:
        handle = os.open(path, _FLAGS, 0o600)
        try:
            _await(handle, operation, path)
            if _is_at(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        # It was evicted between opening and locking: what is locked now nobody else will find.
        os.close(handle)


def _await(handle: int, operation: int, path: Path) -> None:
    seen, since = 0.0, time.monotonic()
    while True:
        try:
            fcntl.flock(handle, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            return
        touched = os.fstat(handle).st_mtime
        if touched != seen:
            seen, since = touched, time.monotonic()
        if time.monotonic() - since > PATIENCE_SECONDS:
            words = f"another run has held a file of it for {PATIENCE_SECONDS:.0f} s without going on"
            raise OSError(errno.ETIMEDOUT, words, str(path))
        time.sleep(_LOOK_SECONDS)


def _is_at(handle: int, path: Path) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(handle), there)


def copy(source: Path, target: Path, *, beat: Callable[[], None], durable: bool = False) -> tuple[str, int]:
    """Copy a file and return SHA-256 and size of exactly what was copied; `durable` waits for the disk."""
    digest, size = hashlib.sha256(), 0
    with open(source, "rb", buffering=0, opener=_opener) as old, target.open("wb", buffering=0) as new:
        while chunk := old.read(_CHUNK_BYTES):
            digest.update(chunk)
            _write(new.fileno(), chunk)
            size += len(chunk)
            beat()
        if durable:
            os.fsync(new.fileno())
    return digest.hexdigest(), size


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _write(handle: int, chunk: bytes) -> None:
    left = memoryview(chunk)
    while left:
        left = left[os.write(handle, left) :]


def places(root: Path) -> Iterator[Kept]:
    """Return what all namespaces keep; folders that cannot be read are somebody else's."""
    for folder in _listed(root):
        if not folder.is_dir(follow_symlinks=False):
            continue
        sizes: dict[str, int] = {}
        locks: dict[str, float] = {}
        for item in _listed(Path(folder.path)):
            base, _, kind = item.name.partition(".")
            try:
                status = item.stat(follow_symlinks=False)
            except OSError:
                continue  # evicted by somebody else in this moment
            if kind in {_DATA, _PART}:
                sizes[base] = sizes.get(base, 0) + status.st_size
            elif kind == _LOCK:
                locks[base] = status.st_mtime
        for base in {*sizes, *locks}:
            yield Kept(Place(Path(folder.path, base)), sizes.get(base, 0), locks.get(base, 0.0))


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []
