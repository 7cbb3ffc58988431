"""Files that a script hands to its run: each gets a place below the folder ``outputs``, which is saved at the end."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

from trainyard.contract import OUTPUTS
from trainyard.record import outputs_path

IMAGES = "images"
DOCUMENTS = "documents"
_SLUG_CHARS = 80
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_MOST_OF_A_NAME = 100_000


def place_file(folder: Path, name: str, source: Any) -> str:
    """Copy `source`, a path or a stream of bytes, to the place that `name` says, and return that place.

    Raises
    ------
    FileExistsError
        If the run has another file of that name.
    """
    path = outputs_path(name, what="the name of the file")
    target = _below(folder, path)
    streamed = hasattr(source, "read")
    if not streamed and target.exists() and target.samefile(source):
        return path
    with contextlib.nullcontext(source) if streamed else Path(source).open("rb") as file:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("xb") as copy:
                shutil.copyfileobj(file, copy)
        except FileExistsError:
            raise FileExistsError(f"the run has a file {path} already: give this one another name") from None
    return path


def place_folder(folder: Path, name: str, source: Any) -> list[str]:
    """Copy the files below `source` to the folder that `name` says, and return their places.

    Raises
    ------
    NotADirectoryError
        If `source` is no folder.
    """
    root = Path(source)
    if not root.is_dir():
        raise NotADirectoryError(f"{source} is no folder: give one, or use upload_file")
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return [place_file(folder, f"{name}/{path.relative_to(root).as_posix()}", path) for path in files]


def new_file(folder: Path, kind: str, name: str, suffix: str) -> tuple[str, Path]:
    """Return a place that nothing else has, named after `name`, and claim it."""
    slug = _UNFIT.sub("_", name)[:_SLUG_CHARS].strip("._") or kind
    for number in range(1, _MOST_OF_A_NAME):
        path = f"{OUTPUTS}/{kind}/{slug}" + (f"-{number}" if number > 1 else "") + suffix
        target = _below(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Two processes of a script may log the same name at the same time.
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        except FileExistsError:
            continue
        return path, target
    raise FileExistsError(f"the run has {_MOST_OF_A_NAME} files called {slug} already: use other names")


def place_image(folder: Path, name: str, *, path: Any, plot: Any) -> str:
    """Keep an image, from a file or from whatever can `savefig`, and return its place."""
    if (path is None) == (plot is None):
        raise TypeError(f"image {name!r} needs exactly one of path and plot")
    if plot is None:
        source = Path(path)
        with source.open("rb") as file:
            place, target = new_file(folder, IMAGES, name, source.suffix)
            with target.open("wb") as copy:
                shutil.copyfileobj(file, copy)
        return place
    if not hasattr(plot, "savefig"):
        raise TypeError(f"the plot of image {name!r} has no savefig: give a matplotlib figure or matplotlib.pyplot")
    place, target = new_file(folder, IMAGES, name, ".png")
    try:
        plot.savefig(target, format="png")
    except BaseException:
        target.unlink()
        raise
    return place


def file_names(folder: Path) -> list[str]:
    """Return the places of the files that are there now."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(f"{OUTPUTS}/{path.relative_to(folder).as_posix()}" for path in found)


def _below(folder: Path, path: str) -> Path:
    return folder / path[len(OUTPUTS) :].lstrip("/")
