"""Which objects a path means: nothing at all, one object, or the folder of that name, never a neighbour's files."""

from __future__ import annotations

from dataclasses import dataclass

from trainyard.contract import MAX_GRANTS, check_relative_path
from trainyard_operator.storage.store import ObjectInfo, ObjectStore

SHOWN_NAMES = 10


class UnusableNameError(Exception):
    """An object's key cannot be a file's name below a folder."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One object, and its path relative to what was asked for."""

    path: str
    info: ObjectInfo


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One page; `next` is what to ask for after it, None at the end."""

    files: tuple[Found, ...] = ()
    next: str | None = None


async def find(store: ObjectStore, *, root: str, path: str, after: str = "", limit: int = MAX_GRANTS) -> Listing:
    """Return what `path` means below `root`, which ends in a slash.

    ``""`` is everything, ``"a/"`` the folder, and ``"a"`` the object of that name or else the folder.

    Raises
    ------
    UnusableNameError
        If there is an object that could not be a file.
    """
    if path and not path.endswith("/"):
        info = await store.head(root + path)
        if info is not None:
            return Listing(files=() if after else (Found(path=path.rsplit("/", 1)[-1], info=info),))
        path += "/"
    folder = root + path
    page = await store.list(folder, after=folder + after if after else "", limit=limit)
    names = [(info.key.removeprefix(folder), info) for info in page.objects if info.key.startswith(folder)]
    # Some programs mark a folder by an empty object whose key ends in a slash.
    files = tuple(Found(path=_usable(name, info), info=info) for name, info in names if name and name[-1] != "/")
    return Listing(files=files, next=names[-1][0] if page.more and names else None)


async def top_level(store: ObjectStore, root: str) -> tuple[str, ...]:
    """Return the first names below `root`, folders with a slash, as a help for whoever asked for something else."""
    page = await store.list(root, limit=SHOWN_NAMES + 1, delimiter="/")
    names = sorted({*page.folders, *(info.key for info in page.objects)})
    return tuple(name for name in (name.removeprefix(root) for name in names) if name)[:SHOWN_NAMES]


def _usable(name: str, info: ObjectInfo) -> str:
    try:
        return check_relative_path(name)
    except ValueError as error:
        raise UnusableNameError(f"the object {info.key!r} cannot be a file: {error}") from error
