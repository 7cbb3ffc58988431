"""Packing a folder into the archive that every attempt of a run unpacks: the same files give the same bytes."""

from __future__ import annotations

import gzip
import os
import tarfile
from typing import TYPE_CHECKING

from trainyard.contract import MAX_SOURCE_BYTES, MAX_SOURCE_FILES
from trainyard_runner.source import too_large, too_many

if TYPE_CHECKING:
    from pathlib import Path

_LEFT_OUT = frozenset({".git"})


def pack(folder: Path, archive: Path) -> None:
    """Pack `folder` into `archive`, a tar.gz that depends on names, contents, and who may execute what.

    Raises
    ------
    SourceError
        If there is more than a source may have.
    """
    count = size = 0
    with (
        archive.open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in _files(folder):
            count += 1
            size += 0 if path.is_symlink() else path.stat().st_size
            if count > MAX_SOURCE_FILES:
                raise too_many()
            if size > MAX_SOURCE_BYTES:
                raise too_large()
            _add(tar, path, str(path.relative_to(folder)))


def _files(folder: Path) -> list[Path]:
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        here = [folder.__class__(root) / name for name in [*names, *folders] if name not in _LEFT_OUT]
        found += [path for path in here if path.is_symlink() or path.is_file()]
    return sorted(found)


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    member = tarfile.TarInfo(name)
    if path.is_symlink():
        member.type = tarfile.SYMTYPE
        member.linkname = os.readlink(path)  # noqa: PTH115 - a Path would tidy it up
        member.mode = 0o777
        tar.addfile(member)
        return
    status = path.stat()
    member.size = status.st_size
    member.mode = 0o755 if status.st_mode & 0o100 else 0o644
    with path.open("rb") as content:
        tar.addfile(member, content)
