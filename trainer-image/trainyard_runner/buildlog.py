"""The log of an environment's build: on the container's own output, and in the object store while it grows."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from trainyard.patience import TransferError
from trainyard.transfer import Upload
from trainyard.uploads import open_regular, put_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from trainyard_runner.gateway import Clients

UPLOAD_SECONDS = 5.0
MAX_BYTES = 16 << 20
_HIDDEN = "****"


class BuildLog(threading.Thread):
    """Takes lines, and saves what there is every few seconds; a build does not fail for want of its log.

    Parameters
    ----------
    secrets
        Texts that appear in no line.
    """

    def __init__(self, path: Path, *, clients: Clients, secrets: Iterable[str]) -> None:
        super().__init__(name="build-log", daemon=True)
        self._path = path
        self._clients = clients
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        self._file = path.open("wb")
        self._written = 0
        self._saved = -1
        self._stopping = threading.Event()

    def add(self, line: str) -> str:
        """Take a line in; return it as it may be shown."""
        for secret in self._secrets:
            line = line.replace(secret, _HIDDEN)
        raw = f"{line}\n".encode(errors="replace")
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        if self._written + len(raw) <= MAX_BYTES:
            self._file.write(raw)
            self._file.flush()
            self._written += len(raw)
        return line

    def run(self) -> None:
        """Save until `finish`."""
        while not self._stopping.wait(UPLOAD_SECONDS):
            self._save()

    def finish(self) -> None:
        """Save a last time."""
        self._stopping.set()
        self.join()
        self._save()
        self._file.close()

    def _save(self) -> None:
        size = self._written
        if size == self._saved:
            return
        # The pod's name: each attempt keeps its own.
        name = f"logs/{os.uname().nodename}.log"
        upload = Upload(path=name, size=size, opener=lambda: open_regular(self._path))
        with contextlib.suppress(TransferError, OSError):
            put_file(upload, gateway=self._clients.gateway, store=self._clients.store, op="build-put")
            self._saved = size


def secrets_of(urls: Iterable[str]) -> list[str]:
    """Return what of `urls` nobody should read."""
    found = []
    for url in urls:
        parts = urlsplit(url)
        for secret in (parts.password, parts.username):
            found += [secret, unquote(secret)] if secret else []
    return found
