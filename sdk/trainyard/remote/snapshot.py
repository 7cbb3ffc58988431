"""A source folder as one archive, whose name is its digest: the same files always make the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trainyard.contract import MAX_SOURCE_FILES
from trainyard.errors import SnapshotError
from trainyard.remote.ignore import Ignore
from trainyard.transfer import Upload

if TYPE_CHECKING:
    from trainyard.remote.gateway import Gateway

# Of the files, before they are packed. Code is small: what is larger is data that got in by mistake.
MAX_SNAPSHOT_BYTES: Final = 300_000_000
MAX_SNAPSHOT_FILES: Final = MAX_SOURCE_FILES
SHOWN: Final = 5
_MEGABYTE: Final = 1_000_000
_EXECUTABLE: Final = 0o100


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file of a source folder."""

    path: str
    place: Path
    size: int


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A packed source folder."""

    content: bytes
    sha256: str

    @property
    def name(self) -> str:
        """What it is called among the snapshots."""
        return f"{self.sha256}.tar.gz"

    def source(self) -> dict[str, Any]:
        """Return what ``spec.source`` is."""
        return {"archive": {"path": f"snapshots/{self.name}", "sha256": self.sha256}}


def take(folder: Path, *, max_bytes: int = MAX_SNAPSHOT_BYTES, max_files: int = MAX_SNAPSHOT_FILES) -> Snapshot:
    """Pack a folder.

    Raises
    ------
    SnapshotError
        If there is no such folder, or it is too large: with the largest files in the message.
    """
    files = collect(folder)
    check_size(folder, files, max_bytes=max_bytes, max_files=max_files)
    content = pack(files)
    return Snapshot(content=content, sha256=hashlib.sha256(content).hexdigest())


def keep(snapshot: Snapshot, gateway: Gateway) -> bool:
    """Bring a snapshot to the others of its namespace, unless it is there already; return whether it was sent."""
    if gateway.files(area="snapshots", prefix=snapshot.name):
        return False
    upload = Upload.of_bytes(snapshot.name, snapshot.content, sha256=snapshot.sha256)
    gateway.put([upload], op="snapshot-put")
    return True


def collect(folder: Path) -> list[SourceFile]:
    """Return the files of a folder that are not left out, in the order of their paths."""
    if not folder.is_dir():
        raise SnapshotError(f"the source directory {folder} is no folder: give the one that has the entry script")
    ignore = Ignore.of_folder(folder)
    found: list[SourceFile] = []
    for place, folders, names in os.walk(folder):
        below = Path(place).relative_to(folder)
        folders[:] = [name for name in folders if not ignore.leaves_out((below / name).as_posix(), folder=True)]
        for name in folders:
            if (Path(place) / name).is_symlink():
                raise SnapshotError(
                    f"{below / name} in {folder} is a link to a folder: put the folder itself there, or leave the link "
                    "out with a line in .amlignore"
                )
        for name in names:
            path = (below / name).as_posix()
            source = Path(place) / name
            # Sockets, pipes and links that lead nowhere are no code.
            if not ignore.leaves_out(path, folder=False) and source.is_file():
                found.append(SourceFile(path=path, place=source, size=source.stat().st_size))
    return sorted(found, key=lambda file: file.path)


def check_size(folder: Path, files: Sequence[SourceFile], *, max_bytes: int, max_files: int) -> None:
    """Raise a `SnapshotError` that names what is large, if the files are too many or too large."""
    total = sum(file.size for file in files)
    if total <= max_bytes and len(files) <= max_files:
        return
    if total > max_bytes:
        largest = sorted(files, key=lambda file: -file.size)[:SHOWN]
        named = ", ".join(f"{file.path} ({file.size / _MEGABYTE:.1f} MB)" for file in largest)
        limit = f"{max_bytes / _MEGABYTE:.1f} MB"
        said = f"your total snapshot size exceeds the limit of {limit}; the largest files: {named}"
    else:
        counts: dict[str, int] = {}
        for file in files:
            top = file.path.split("/", 1)[0] + ("/" if "/" in file.path else "")
            counts[top] = counts.get(top, 0) + 1
        most = sorted(counts.items(), key=lambda item: -item[1])[:SHOWN]
        named = ", ".join(f"{name} ({count})" for name, count in most)
        said = f"it has {len(files)} files, more than {max_files}; most of them are in: {named}"
    raise SnapshotError(
        f"While attempting to take snapshot of {folder}: {said}. Leave out what is no code with a file .amlignore in "
        "that folder, in the syntax of .gitignore, and bring data with Datastore.upload"
    )


def pack(files: Sequence[SourceFile]) -> bytes:
    """Return the files as a tar.gz without anything that differs from one machine or day to the next."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in files:
            content = file.place.read_bytes()
            info = tarfile.TarInfo(file.path)
            info.size = len(content)
            info.mode = 0o755 if file.place.stat().st_mode & _EXECUTABLE else 0o644
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()
