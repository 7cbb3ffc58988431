"""Unpacking a run's source: plain files and folders only, all of them inside the folder they are meant for."""

from __future__ import annotations

import tarfile
import zlib
from typing import TYPE_CHECKING, BinaryIO, cast

from trainyard.contract import InvalidPathError, check_relative_path

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 1024 * 1024 * 1024
MAX_FILES = 20_000
_COPY_BYTES = 256 * 1024
_SHOWN_FILES = 20


class SourceError(Exception):
    """The source cannot be used; the message says why."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the tar.gz `archive` into `folder`.

    Raises
    ------
    SourceError
        If it is damaged, too large, or has a member that is not a plain file or folder inside `folder`.
    """
    left = MAX_BYTES
    try:
        with tarfile.open(archive, mode="r:gz") as tar:
            for count, member in enumerate(tar):
                if count >= MAX_FILES:
                    raise SourceError(f"the source has more than {MAX_FILES} files: leave out what is not needed")
                left -= member.size
                if left < 0:
                    raise SourceError(f"the source is larger than {MAX_BYTES} bytes: move data to an input of the run")
                _unpack_member(tar, member, folder)
    except (tarfile.TarError, EOFError, zlib.error, InvalidPathError) as error:
        raise SourceError(f"the source cannot be unpacked: {error}") from error
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise SourceError(f"the source has two members in one place: {error.filename}") from error


def check_entry_script(folder: Path, script: str) -> None:
    """Make sure that `script` is a file below `folder`.

    Raises
    ------
    SourceError
        If it is not, with the names of the files that are there.
    """
    if (folder / script).is_file():
        return
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    shown = ", ".join(names[:_SHOWN_FILES]) + (f" and {len(names) - _SHOWN_FILES} more" if names[_SHOWN_FILES:] else "")
    has = f"it has {shown}" if names else "it is empty"
    raise SourceError(f"entryScript is {script!r}, but the source has no such file: {has}")


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    target = folder / check_relative_path(member.name, what="the name of a member")
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    if not member.isreg():
        raise SourceError(f"the source has {member.name!r}, which is neither a plain file nor a folder: leave it out")
    target.parent.mkdir(parents=True, exist_ok=True)
    content = cast("BinaryIO", tar.extractfile(member))
    with target.open("wb") as file:
        while chunk := content.read(_COPY_BYTES):
            file.write(chunk)
    if member.mode & 0o100:
        target.chmod(0o755)
