"""Where everything is in the folder that stands for a cluster."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from trainyard.errors import ConfigError

HOME_VARIABLE: Final = "TRAINYARD_HOME"
NAMESPACE: Final = "local"


@dataclass(frozen=True)
class Home:
    """The folder: keys of the bucket are paths in it, and beside them are the objects and the work of runs.

    Parameters
    ----------
    folder
        Absolute; it is made when something is put there.
    """

    folder: Path

    @classmethod
    def of(cls, folder: Path | str | None, environ: Mapping[str, str] | None = None) -> Home:
        """Return the home at `folder`, or else where ``TRAINYARD_HOME`` says, or ``~/.trainyard``."""
        given = folder or (os.environ if environ is None else environ).get(HOME_VARIABLE) or "~/.trainyard"
        place = Path(given).expanduser().absolute()
        if place.exists() and not place.is_dir():
            raise ConfigError(f"{place} is a file: give the folder that local runs are to be kept in")
        return cls(place)

    def key(self, key: str) -> Path:
        """Return where the object `key` of the bucket is."""
        return self.folder / key

    def uri(self, key: str) -> str:
        """Return `key` as an address; a folder's ends in a slash, as its key does."""
        return self.key(key).as_uri() + "/" * key.endswith("/")

    def objects(self, namespace: str) -> Path:
        """Return the folder of the objects of a namespace."""
        return self.folder / "objects" / namespace

    def work(self, uid: str) -> Path:
        """Return where a run works: what a node would have of it."""
        return self.folder / "work" / uid

    @contextmanager
    def writing(self, target: Path, *, exclusive: bool = False) -> Iterator[BinaryIO]:
        """Yield a file that becomes `target`, whole or not at all.

        Raises
        ------
        FileExistsError
            If `target` is there and `exclusive` was asked for.
        """
        scratch = self.folder / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=scratch)
        try:
            with os.fdopen(number, "wb") as file:
                yield file
            target.parent.mkdir(parents=True, exist_ok=True)
            if exclusive:
                os.link(name, target)
            else:
                Path(name).replace(target)
        finally:
            Path(name).unlink(missing_ok=True)

    def write(self, target: Path, content: bytes, *, exclusive: bool = False) -> None:
        """Write a whole file."""
        with self.writing(target, exclusive=exclusive) as file:
            file.write(content)

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file."""
        with source.open("rb") as content, self.writing(target) as file:
            shutil.copyfileobj(content, file, 1 << 20)


def environments_folder(environ: Mapping[str, str]) -> Path:
    """Return where the packages of environments are kept for all homes."""
    if environ.get(HOME_VARIABLE):
        return Path(environ[HOME_VARIABLE]).expanduser().absolute() / "environments"
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "trainyard" / "environments"
