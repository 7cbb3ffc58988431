"""The runner in one file, as the trainer image has it, made from what is installed here."""

from __future__ import annotations

import io
import zipfile
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

PACKAGES: Final = ("trainyard_runner", "trainyard")
# What people work with from outside has no use beside a script.
LEFT_OUT: Final = frozenset({"cli", "local", "remote", "widgets", "__pycache__"})
MAIN: Final = b"from stage import main\n\nmain()\n"
_TIME: Final = (1980, 1, 1, 0, 0, 0)


def runner_archive() -> bytes:
    """Return the archive: the same packages always make the same bytes."""
    members = {"__main__.py": MAIN, "stage.py": files("trainyard.local").joinpath("stage.py").read_bytes()}
    for package in PACKAGES:
        _add(files(package), package, members)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, date_time=_TIME), members[name])
    return packed.getvalue()


def _add(folder: Traversable, path: str, members: dict[str, bytes]) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            if entry.name not in LEFT_OUT:
                _add(entry, f"{path}/{entry.name}", members)
        elif entry.name.endswith((".py", ".typed")):
            members[f"{path}/{entry.name}"] = entry.read_bytes()
