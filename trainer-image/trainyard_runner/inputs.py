"""Bringing a run's inputs into the pod: many files at once, each whole or not there at all."""

from __future__ import annotations

import errno
import itertools
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from trainyard.contract import InvalidPathError, check_relative_path
from trainyard.patience import TransferError
from trainyard.transfer import FileChanged, GatewayRefused, StoreRefused
from trainyard.uploads import GRANTS_PER_FILE, in_parallel

if TYPE_CHECKING:
    from trainyard.contract import FileGrant, RunInput
    from trainyard.transfer import GatewayClient, StoreClient

_MEBIBYTE = 1024 * 1024


class InputError(Exception):
    """An input is not there and will not come; `reason` is one of the operator's."""

    def __init__(self, *, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class InputFetcher:
    """Fetches inputs; `message` says how far that is.

    Parameters
    ----------
    parts
        A folder for files under way, on the file system of the inputs but outside all of them.
    """

    def __init__(self, *, gateway: GatewayClient, store: StoreClient, parts: Path) -> None:
        self._gateway = gateway
        self._store = store
        self._parts = parts
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._name = ""
        self._files = 0
        self._bytes = 0

    @property
    def message(self) -> str:
        """One sentence for the status of the run."""
        if not self._name:
            return "fetching the source"
        return f"fetching input {self._name!r}: {self._files} files, {self._bytes / _MEBIBYTE:.1f} MiB so far"

    def fetch(self, wanted: RunInput) -> None:
        """Fetch all files of one input.

        Raises
        ------
        InputError
            If it does not exist, changes under the hands, or does not fit on the disk.
        """
        name = wanted["name"]
        with self._lock:
            self._name, self._files, self._bytes = name, 0, 0
        folder = Path(wanted["path"])
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._parts.mkdir(parents=True, exist_ok=True)
            self._fetch_pages(name, folder)
            self._parts.rmdir()
        except GatewayRefused as refusal:
            reason = refusal.reason if refusal.reason == "InputNotFound" else "InputFailed"
            raise InputError(reason=reason, message=refusal.message) from refusal
        except (TransferError, InvalidPathError) as error:
            raise InputError(reason="InputFailed", message=f"input {name!r} could not be fetched: {error}") from error
        except OSError as error:
            words = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
            reason = "DiskFull" if error.errno == errno.ENOSPC else "InputFailed"
            raise InputError(reason=reason, message=f"input {name!r} could not be written: {words}") from error

    def _fetch_pages(self, name: str, folder: Path) -> None:
        after: str | None = ""
        while after is not None:
            request = {"op": "input", "name": name, "after": after}
            page = self._gateway.grants(request)
            refused = 0
            files: list[FileGrant] = page["files"]
            while files:
                left = [file for file in in_parallel(lambda f: self._fetch_file(f, folder), files) if file is not None]
                if left:
                    # The URLs of a page may expire while its first files are being fetched.
                    refused += 1
                    if refused >= GRANTS_PER_FILE:
                        raise FileChanged(f"the store refuses {left[0]['path']!r}, which was listed a moment ago")
                    fresh = {file["path"]: file for file in self._gateway.grants(request)["files"]}
                    missing = [file["path"] for file in left if file["path"] not in fresh]
                    if missing:
                        raise FileChanged(f"{missing[0]!r} was removed while the input was being fetched")
                    left = [fresh[file["path"]] for file in left]
                files = left
            after = page.get("next")

    def _fetch_file(self, file: FileGrant, folder: Path) -> FileGrant | None:
        path = check_relative_path(file["path"], what="the name of an object")
        if path.endswith("/"):
            # What some tools leave in the place of an empty folder.
            (folder / path).mkdir(parents=True, exist_ok=True)
            return None
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = self._parts / f"{next(self._numbers)}.part"
        try:
            self._store.download(file["url"], target, size=file["bytes"], part=part, on_bytes=self._count)
        except StoreRefused:
            return file
        with self._lock:
            self._files += 1
        return None

    def _count(self, received: int) -> None:
        with self._lock:
            self._bytes += received
