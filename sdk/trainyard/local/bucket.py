"""The folder as an object store: listings and digests of what is at a prefix."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainyard.contract import InvalidPathError, check_relative_path
from trainyard.errors import Invalid


@dataclass(frozen=True, kw_only=True)
class Found:
    """One file, and its path relative to what was asked for."""

    path: str
    place: Path
    bytes: int


def find(root: Path, path: str) -> list[Found]:
    """Return what `path` means below `root`: ``""`` everything, ``"a/"`` a folder, ``"a"`` a file or else a folder."""
    place = root / path
    if path and not path.endswith("/") and place.is_file():
        return [Found(path=place.name, place=place, bytes=place.stat().st_size)]
    found = (Found(path=name, place=place / name, bytes=(place / name).stat().st_size) for name in _names(place))
    return sorted(found, key=lambda file: file.path.encode(errors="surrogatepass"))


def top_level(root: Path, limit: int = 20) -> list[str]:
    """Return the first names below `root`, folders with a slash."""
    if not root.is_dir():
        return []
    return sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir())[:limit]


class Etags:
    """What an S3 server calls contents that came in one piece; each content is read for it once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], str] = {}

    def of(self, place: Path) -> str:
        """Return the ETag of a file."""
        about = place.stat()
        known = (str(place), about.st_size, about.st_mtime_ns)
        if known not in self._known:
            with place.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
            self._known[known] = digest.hexdigest()
        return self._known[known]


def checked(path: str, what: str) -> str:
    """Return `path` if it stays inside, else raise an `Invalid`."""
    try:
        return check_relative_path(path, what=what, empty=True)
    except InvalidPathError as error:
        raise Invalid(str(error)) from error


def _names(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[str]:
    # Data is large, and may be linked to; a link to a folder above would never come to an end.
    real = folder.resolve()
    if real in above or not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from (f"{entry.name}/{name}" for name in _names(folder / entry.name, (*above, real)))
            elif entry.is_file():
                yield entry.name
