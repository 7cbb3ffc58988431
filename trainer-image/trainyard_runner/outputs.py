"""Saving what a script left in ``outputs/``: every plain file, hashed, and nothing that only points elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from trainyard.contract import (
    MAX_GRANTS,
    MAX_OUTPUT_FILES,
    OUTPUTS,
    InvalidPathError,
    OutputFile,
    check_relative_path,
)
from trainyard.digest import digest_of
from trainyard.patience import TransferError
from trainyard.transfer import Upload
from trainyard.uploads import in_parallel, open_regular, put_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainyard.transfer import GatewayClient, StoreClient
    from trainyard_runner.warnings import Warnings


class OutputsError(Exception):
    """Outputs could not be saved; the message says which and why."""


def save_outputs(
    folder: Path,
    *,
    gateway: GatewayClient,
    store: StoreClient,
    warnings: Warnings,
    on_saved: Callable[[int, int], None],
) -> list[OutputFile]:
    """Save the files below `folder` and return them, sorted by path.

    Parameters
    ----------
    on_saved
        Told how many files are saved so far, and of how many.

    Raises
    ------
    OutputsError
        If a file cannot be saved, or there are more than `MAX_OUTPUT_FILES`.
    """
    found = find_outputs(folder, warnings=warnings)
    saved: list[OutputFile] = []
    try:
        for start in range(0, len(found), MAX_GRANTS):
            hashed = in_parallel(lambda name: _hashed(folder, name, warnings), found[start : start + MAX_GRANTS])
            uploads = [upload for upload in hashed if upload is not None]
            put_files(uploads, gateway=gateway, store=store)
            saved += [OutputFile(path=u.path, bytes=u.size, sha256=u.sha256 or "") for u in uploads]
            on_saved(len(saved), len(found))
    except (TransferError, OSError) as error:
        raise OutputsError(f"the outputs could not be saved: {error}") from error
    return saved


def find_outputs(folder: Path, *, warnings: Warnings) -> list[str]:
    """Return the names below `folder` of the files that can be saved, sorted, with a warning for everything else.

    Raises
    ------
    OutputsError
        If there are more than `MAX_OUTPUT_FILES`.
    """
    if folder.is_symlink():
        warnings.add(f"{OUTPUTS}/ is a symbolic link: nothing of it was saved")
        return []
    found: list[str] = []
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            entries = list(os.scandir(folder / below))
        except FileNotFoundError:
            continue
        except OSError as error:
            warnings.add(f"{OUTPUTS}/{below} was not saved: {error.strerror or error}")
            continue
        for entry in entries:
            name = below + entry.name
            if entry.is_dir(follow_symlinks=False):
                pending.append(name + "/")
            elif _can_be_saved(entry, name, warnings):
                found.append(name)
        if len(found) > MAX_OUTPUT_FILES:
            raise OutputsError(
                f"{OUTPUTS}/ holds more than {MAX_OUTPUT_FILES} files: pack them into an archive before the script ends"
            )
    return sorted(found)


def _can_be_saved(entry: os.DirEntry[str], name: str, warnings: Warnings) -> bool:
    if not entry.is_file(follow_symlinks=False):
        what = "a symbolic link" if entry.is_symlink() else "neither a file nor a folder"
        warnings.add(f"{_shown(name)} was not saved: it is {what}")
        return False
    try:
        check_relative_path(f"{OUTPUTS}/{name}", what="its name")
    except InvalidPathError as error:
        warnings.add(f"{_shown(name)} was not saved: {error}")
        return False
    return True


def _shown(name: str) -> str:
    return repr(f"{OUTPUTS}/{name if len(name) <= 80 else name[:79] + '…'}")  # noqa: PLR2004


def _hashed(folder: Path, name: str, warnings: Warnings) -> Upload | None:
    path = folder / name
    try:
        file = open_regular(path)
    except OSError as error:
        warnings.add(f"{_shown(name)} was not saved: {error.strerror or error}")
        return None
    with file:
        sha256, size = digest_of(file)
    return Upload(path=f"{OUTPUTS}/{name}", size=size, opener=lambda: open_regular(path), sha256=sha256)
