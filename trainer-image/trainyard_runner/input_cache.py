"""A folder that pods share, in which inputs that one run has downloaded wait for the next run that wants them.

Nothing depends on it. What goes wrong in here is told once, and the file in question is downloaded as without a cache.

Files are kept by what says which bytes they have: namespace, address, ETag and size of an object. Beside each is a
small file whose lock says who is at work there, and whose content is the SHA-256 of the bytes. They are checked against
it each time; what has changed is dropped.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable
from urllib.parse import urlsplit

from trainyard_runner.cache_files import Beat, Place, copy, locked, places

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trainyard.contract import FileGrant

# Brings the file from the object store; what it is given wants to be called now and then while that lasts.
Download = Callable[[Callable[[], None]], None]
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class InputCache:
    """The cache of one run's namespace, within the limit that all namespaces share.

    Parameters
    ----------
    root
        The folder of all namespaces.
    limit
        How many bytes the whole of it may have.
    warn
        Told in words what is wrong with the cache.
    """

    def __init__(self, root: Path, *, namespace: str, limit: int, warn: Callable[[str], None]) -> None:
        self._root = root
        self._folder = root / namespace
        self._namespace = namespace
        self._limit = limit
        self._warn = warn
        self._lock = threading.Lock()
        self._used: int | None = None
        self._kept = False
        self._usable = self._keeps = True
        with self._careful():
            # Owner and mode keep other users of the node out: who may write here could change what runs read.
            self._folder.mkdir(mode=0o700, exist_ok=True)
            handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                os.fchmod(handle, 0o700)
            finally:
                os.close(handle)

    def bring(self, file: FileGrant, target: Path, *, part: Path, download: Download) -> bool:
        """Bring a listed file to `target`, and return whether it came from here.

        Whatever `download` raises is raised.
        """
        key = self._key(file)
        if key is None:
            download(lambda: None)
            return False
        wanted = _Wanted(place=Place(self._folder / key), size=file["bytes"], target=target, part=part)
        if self._find(wanted):
            return True
        if self._usable:
            return self._fill(wanted, download)
        download(lambda: None)
        return False

    def close(self) -> None:
        """Bring the cache below its limit, after all that this run and others at the same time have added."""
        if self._kept:
            with self._careful():
                self._used = self._evict(self._limit)

    def _key(self, file: FileGrant) -> str | None:
        etag, url = file.get("etag"), urlsplit(file["url"])
        if not self._usable or not etag or file["bytes"] > self._limit:
            return None
        # The rest of the address is a signature, another one for each run.
        said = [self._namespace, f"{url.scheme}://{url.netloc}{url.path}", etag, file["bytes"]]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def _find(self, wanted: _Wanted) -> bool:
        with self._careful(), locked(wanted.place, exclusive=False) as place:
            return self._take(wanted, place)
        return False

    def _fill(self, wanted: _Wanted, download: Download) -> bool:
        """Download what is not here, while others who want it wait; it may have come while this run waited."""
        entered = False
        try:
            with locked(wanted.place, exclusive=True) as place:
                entered = True
                with self._careful():
                    if self._take(wanted, place):
                        return True
                download(place.beat)
                with self._careful():
                    self._keep(wanted, place)
                return False
        except OSError as error:
            if entered:
                raise
            self._give_up(error)
        download(lambda: None)
        return False

    def _take(self, wanted: _Wanted, place: Beat) -> bool:
        sha256 = place.read()
        if not sha256:
            return False
        try:
            if copy(wanted.place.data, wanted.part, beat=place.beat) == (sha256, wanted.size):
                wanted.part.replace(wanted.target)
                return True
        except FileNotFoundError:
            pass  # somebody has tidied up by hand
        else:
            self._warn(f"the cache's copy of {wanted.target.name} is damaged: it is dropped, and the file downloaded")
        finally:
            wanted.part.unlink(missing_ok=True)
        place.write("")
        return False

    def _keep(self, wanted: _Wanted, place: Beat) -> None:
        if not self._keeps or not self._make_room(wanted.size):
            return
        part = wanted.place.part
        self._kept = True
        try:
            sha256, _ = copy(wanted.target, part, beat=place.beat, durable=True)
            part.replace(wanted.place.data)
            place.write(sha256)
        except OSError as error:
            part.unlink(missing_ok=True)
            if error.errno not in _FULL:
                raise
            self._keeps = False
            self._warn(f"the disk of the cache is full: {error.strerror}; what this run downloads is not kept")

    def _make_room(self, size: int) -> bool:
        with self._lock:
            goal = self._limit - size
            if self._used is None or self._used > goal:
                self._used = self._evict(goal)
            fits = self._used <= goal
            self._used += size if fits else 0
            return fits

    def _evict(self, goal: int) -> int:
        """Remove what was not used for longest until `goal` bytes are left, and return how many are."""
        found = sorted(places(self._root), key=lambda known: known.used)
        left = sum(known.size for known in found)
        for known in found:
            if left <= goal:
                break
            left -= known.size if known.place.remove() else 0
        return left

    @contextmanager
    def _careful(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        with self._lock:
            first, self._usable, self._keeps = self._usable, False, False
        if first:
            where = f": {error.filename}" if error.filename else ""
            self._warn(
                f"the cache of inputs cannot be used: {error.strerror or error}{where}; files are downloaded without "
                "it. Its folder must exist and belong to the user that this container runs as, "
                f"{os.geteuid()}: see spec.inputCache of the ComputeCluster"
            )


@dataclass(frozen=True)
class _Wanted:
    """A file that is wanted at `target`; `part` is where its bytes are collected."""

    place: Place
    size: int
    target: Path
    part: Path
