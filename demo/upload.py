"""Bringing a folder into the namespace's datastore, file by file, without those that are there already."""

from __future__ import annotations

import hashlib
import io
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tqdm import tqdm

from trainyard.transfer import Upload
from trainyard.uploads import put_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from demo.console import Console
    from demo.storage import Storage

MEGABYTE = 1_000_000


def upload_folder(storage: Storage, files: Sequence[Path], *, prefix: str, console: Console) -> None:
    """Upload `files` to `prefix`, a folder of the datastore that ends in a slash, and tell of each how it went."""
    present = {file["path"]: file for file in storage.files(area="data", prefix=prefix)}
    missing = []
    for path in files:
        there = present.get(path.name)
        if there is not None and storage.holds(there, path):
            console.say(f"{prefix}{path.name} is in the datastore already")
        else:
            missing.append(path)
    if not missing:
        return
    total = sum(path.stat().st_size for path in missing)
    console.say(f"Uploading {len(missing)} file{'s' * (len(missing) > 1)}, {total / MEGABYTE:.1f} MB, to {prefix}")
    with _bar(total, console=console) as advance:
        uploads = [_upload(path, prefix=prefix, advance=advance) for path in missing]
        put_files(uploads, gateway=storage.gateway, store=storage.store, op="data-put")
    for path in missing:
        console.say(f"Uploaded {prefix}{path.name}, {path.stat().st_size / MEGABYTE:.1f} MB")


class CountingReader(io.BufferedReader):
    """A file that tells how many of its bytes were read, and takes that back when it is closed half-way.

    A try that failed is repeated from the start: what it had counted must not be counted twice.
    """

    def __init__(self, path: Path, *, advance: Callable[[int], object]) -> None:
        super().__init__(io.FileIO(path))
        self._left = path.stat().st_size
        self._counted = 0
        self._advance = advance

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes, all that are left where it is negative."""
        chunk = super().read(size)
        self._counted += len(chunk)
        self._left -= len(chunk)
        self._advance(len(chunk))
        return chunk

    def close(self) -> None:
        """Close the file."""
        if not self.closed and self._left > 0:
            self._advance(-self._counted)
        super().close()


def _upload(path: Path, *, prefix: str, advance: Callable[[int], object]) -> Upload:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Upload(
        path=prefix + path.name,
        size=path.stat().st_size,
        sha256=sha256,
        opener=lambda: CountingReader(path, advance=advance),
    )


@contextmanager
def _bar(total: int, *, console: Console) -> Iterator[Callable[[int], object]]:
    if not console.is_terminal:
        yield lambda _count: None
        return
    with tqdm(total=total, unit="B", unit_scale=True, leave=False, file=console.stream) as bar:
        yield bar.update
