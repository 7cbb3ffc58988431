"""Unpacking a run's source: files, folders, and links that stay inside; nothing outside the folder it is meant for.

Whoever made the archive is not trusted. What it claims of sizes is checked while it is read, no member is read into
memory whole, and links are made last, so that nothing is ever written through one.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zipfile
import zlib
from typing import TYPE_CHECKING, BinaryIO, cast

from trainyard.contract import MAX_SOURCE_BYTES, MAX_SOURCE_FILES, OUTPUTS, InvalidPathError, check_relative_path

if TYPE_CHECKING:
    from pathlib import Path

# Text packs well, but not like this; what is smaller than the floor may be as regular as it likes.
MAX_RATIO = 200
RATIO_FLOOR_BYTES = 64 * 1024 * 1024
# Names and extended headers are read at once, and their sizes are the archive's own word.
_MAX_READ_BYTES = 1024 * 1024
_COPY_BYTES = 256 * 1024
_SHOWN_FILES = 20
_ZIP_MAGIC = b"PK"


class SourceError(Exception):
    """The source cannot be used; the message says why, and `reason` is one of the operator's."""

    def __init__(self, message: str, *, reason: str = "SourceInvalid") -> None:
        super().__init__(message)
        self.reason = reason


def unpack(archive: Path, folder: Path) -> None:
    """Unpack `archive`, a tar.gz or a zip, into `folder`.

    Raises
    ------
    SourceError
        If it is damaged, too large, or has a member that has no business in `folder`.
    """
    unpacking = _Unpacking(folder, packed=archive.stat().st_size)
    try:
        with archive.open("rb") as file:
            if file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC:
                _unpack_zip(archive, unpacking)
            else:
                file.seek(0)
                _unpack_tar(file, unpacking)
        unpacking.finish()
    except (tarfile.TarError, zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error, InvalidPathError) as error:
        raise SourceError(f"the source cannot be unpacked: {error}") from error
    except gzip.BadGzipFile as error:
        raise SourceError(f"the source cannot be unpacked: it is neither a tar.gz nor a zip: {error}") from error
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise SourceError(f"the source has two members in one place: {error.filename}") from error


def check_entry_script(folder: Path, script: str) -> None:
    """Make sure that `script` is a file below `folder`.

    Raises
    ------
    SourceError
        If it is not, with the names of the files that are there.
    """
    if not (folder / script).is_file():
        raise SourceError(f"entryScript is {script!r}, but the source has no such file: {_has(folder)}")


def read_text(folder: Path, name: str, *, field: str, at_most: int) -> str:
    """Return the text of a file below `folder`, which `field` of the spec names.

    Raises
    ------
    SourceError
        If it is no file, too long or no text.
    """
    path = folder / name
    if not path.is_file():
        raise SourceError(f"{field} is {name!r}, but the source has no such file: {_has(folder)}")
    with path.open("rb") as file:
        content = file.read(at_most + 1)
    if len(content) > at_most:
        raise SourceError(f"{field} is {name!r}, which has more than {at_most} bytes: shorten it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{field} is {name!r}, which is no text in UTF-8: save it as such ({error})") from error


def _has(folder: Path) -> str:
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    shown = ", ".join(names[:_SHOWN_FILES]) + (f" and {len(names) - _SHOWN_FILES} more" if names[_SHOWN_FILES:] else "")
    return f"it has {shown}" if names else "it is empty"


def too_large() -> SourceError:
    """Return the error of a source with too many bytes."""
    limit = f"{MAX_SOURCE_BYTES // (1000 * 1000)} MB"
    return SourceError(f"the source is larger than {limit} unpacked: move data to an input of the run")


def too_many() -> SourceError:
    """Return the error of a source with too many files."""
    return SourceError(f"the source has more than {MAX_SOURCE_FILES} files: leave out what is not needed")


class _Unpacking:
    """One archive on its way into a folder, with what is still allowed of it."""

    def __init__(self, folder: Path, *, packed: int) -> None:
        self._folder = folder
        self._most = min(MAX_SOURCE_BYTES, max(RATIO_FLOOR_BYTES, packed * MAX_RATIO))
        self._bytes = 0
        self._members = 0
        self._links: list[tuple[Path, str]] = []

    def target(self, name: str) -> Path:
        """Count a member and return its place."""
        self._members += 1
        if self._members > MAX_SOURCE_FILES:
            raise too_many()
        # Archives that were made of "." name it, and everything in it by "./".
        path = check_relative_path(name.removeprefix("./"), what="the name of a member")
        if path.split("/")[0] == OUTPUTS:
            raise SourceError(f"the source has {name!r}: {OUTPUTS} is for what the script saves, rename it")
        return self._folder / path

    def make_folder(self, target: Path) -> None:
        """Make a folder."""
        target.mkdir(parents=True, exist_ok=True)

    def announce(self, size: int) -> None:
        """Refuse a member that says itself that it is too large."""
        if self._bytes + size > self._most:
            self._refuse(self._bytes + size)

    def write(self, target: Path, content: BinaryIO, *, executable: bool) -> None:
        """Write a file, without whatever else its mode says."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            while chunk := content.read(_COPY_BYTES):
                self._bytes += len(chunk)
                if self._bytes > self._most:
                    self._refuse(self._bytes)
                file.write(chunk)
        target.chmod(0o755 if executable else 0o644)

    def copy(self, target: Path, name: str) -> None:
        """Write a hard link: a copy of the member `name`, which must have come before."""
        origin = self._folder / check_relative_path(name.removeprefix("./"), what="the target of a link")
        if not stat.S_ISREG(_mode(origin)):
            raise SourceError(f"the source has a hard link to {name!r}, which is no file that came before it")
        self.announce(origin.stat().st_size)
        with origin.open("rb") as content:
            self.write(target, content, executable=bool(_mode(origin) & 0o100))

    def link(self, target: Path, to: str) -> None:
        """Remember a symbolic link."""
        if not to or to.startswith("/"):
            raise SourceError(f"the source has a link to {to!r}: links must be relative and stay inside the source")
        self._links.append((target, to))

    def finish(self) -> None:
        """Make the links. Only when all of them are there can be told where each one leads."""
        root = os.path.realpath(self._folder)
        for target, to in self._links:
            if os.path.realpath(target.parent) != os.path.normpath(f"{root}/{target.parent.relative_to(self._folder)}"):
                raise SourceError(f"the source has {target.name!r} below a link: leave it out")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(to)
        for target, to in self._links:
            leads = os.path.realpath(target)
            if leads != root and not leads.startswith(root + os.sep):
                name = target.relative_to(self._folder)
                raise SourceError(
                    f"the source has the link {str(name)!r} to {to!r}, which leads out of it: leave it out"
                )

    def _refuse(self, size: int) -> None:
        if size > MAX_SOURCE_BYTES:
            raise too_large()
        raise SourceError(
            f"the source unpacks to more than {MAX_RATIO} times its size: move data to an input of the run"
        )


def _unpack_tar(file: BinaryIO, unpacking: _Unpacking) -> None:
    # Reading on from a bounded stream keeps members that only claim to be large from filling the memory.
    with (
        gzip.GzipFile(fileobj=file) as unzipped,
        tarfile.open(fileobj=cast("BinaryIO", _Bounded(unzipped)), mode="r:") as tar,
    ):
        for member in tar:
            if member.isdir() and member.name in {".", "./"}:
                continue
            target = unpacking.target(member.name)
            if member.isdir():
                unpacking.make_folder(target)
            elif member.isreg():
                unpacking.announce(member.size)
                content = cast("BinaryIO", tar.extractfile(member))
                unpacking.write(target, content, executable=bool(member.mode & 0o100))
            elif member.issym():
                unpacking.link(target, member.linkname)
            elif member.islnk():
                unpacking.copy(target, member.linkname)
            else:
                raise SourceError(f"the source has {member.name!r}, which is no file, folder or link: leave it out")


def _unpack_zip(archive: Path, unpacking: _Unpacking) -> None:
    with zipfile.ZipFile(archive) as members:
        for info in members.infolist():
            target = unpacking.target(info.filename)
            mode = info.external_attr >> 16
            if info.flag_bits & 1:
                raise SourceError("the source is an encrypted zip: pack it without a password")
            if info.is_dir():
                unpacking.make_folder(target)
                continue
            unpacking.announce(info.file_size)
            with members.open(info) as content:
                if stat.S_ISLNK(mode):
                    unpacking.link(target, content.read(_COPY_BYTES).decode(errors="replace"))
                elif stat.S_IFMT(mode) in {0, stat.S_IFREG}:
                    unpacking.write(target, cast("BinaryIO", content), executable=bool(mode & 0o100))
                else:
                    raise SourceError(
                        f"the source has {info.filename!r}, which is no file, folder or link: leave it out"
                    )


class _Bounded:
    """A stream from which nobody reads much at once."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_READ_BYTES:
            raise SourceError("the source has a member with an unreasonably long name or header")
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()


def _mode(path: Path) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0
