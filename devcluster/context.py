"""Build contexts: exactly the files that a Dockerfile copies, so that an image's hash changes only when it would."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
from pathlib import Path

from devcluster.errors import DevclusterError

# One time for all files: builders key their layers by it too.
TIMESTAMP = 1_700_000_000
IGNORED_FOLDERS = frozenset({"__pycache__", ".git", ".venv", ".yard", ".mypy_cache", ".ruff_cache", ".pytest_cache"})
IGNORED_SUFFIXES = (".pyc", ".egg-info")


def copied(dockerfile: str) -> list[str]:
    """List the sources of every COPY and ADD that reads the context.

    Parameters
    ----------
    dockerfile
        The text of a Dockerfile.

    Returns
    -------
    list
        Sources as they are written, in order, each once.
    """
    sources: dict[str, None] = {}
    for line in dockerfile.replace("\\\n", " ").splitlines():
        words = line.split(maxsplit=1)
        if len(words) != 2 or words[0].upper() not in {"COPY", "ADD"}:  # noqa: PLR2004
            continue
        rest = words[1]
        options = [word for word in rest.split() if word.startswith("--")]
        if any(option.startswith("--from") for option in options):
            continue
        for option in options:
            rest = rest.replace(option, "", 1)
        arguments = json.loads(rest) if rest.strip().startswith("[") else shlex.split(rest)
        sources.update(dict.fromkeys(arguments[:-1]))
    return list(sources)


def files(*, root: Path, sources: list[str]) -> list[Path]:
    """List the files below `root` that `sources` mean, relative to it and sorted.

    Raises
    ------
    DevclusterError
        If a source means nothing at all.
    """
    found: set[Path] = set()
    for source in sources:
        matches = sorted(root.glob(source.strip("/"))) if source.strip("./") else [root]
        if not matches:
            raise DevclusterError(f"a Dockerfile copies {source}, which is not in {root}")
        for match in matches:
            found.update(_below(match) if match.is_dir() else [match])
    return sorted(path.relative_to(root) for path in found)


def digest(*, root: Path, paths: list[Path], extra: tuple[str, ...] = ()) -> str:
    """Hash names, contents and executable bits of files, and whatever else decides."""
    entries = []
    for path in paths:
        content = hashlib.sha256((root / path).read_bytes()).hexdigest()
        entries.append([str(path), content, os.access(root / path, os.X_OK)])
    return hashlib.sha256(json.dumps([entries, extra]).encode()).hexdigest()[:16]


def stage(*, root: Path, paths: list[Path], target: Path) -> None:
    """Copy files into an empty folder, with one time and plain permissions."""
    for path in paths:
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, copy)
        copy.chmod(0o755 if os.access(root / path, os.X_OK) else 0o644)
    for folder, _, names in os.walk(target, topdown=False):
        for name in [*names, "."]:
            os.utime(Path(folder, name), (TIMESTAMP, TIMESTAMP))


def _below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in IGNORED_FOLDERS and not name.endswith(IGNORED_SUFFIXES)]
        found.extend(Path(parent, name) for name in names if not name.endswith(IGNORED_SUFFIXES))
    return found
