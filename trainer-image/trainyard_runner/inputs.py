"""Bringing a run's inputs into the pod: many files at once, each whole or not there at all."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import ssl
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from trainyard.connections import Connections
from trainyard.contract import InvalidPathError, check_relative_path
from trainyard.patience import TransferError
from trainyard.transfer import ONE_GRANT, FileChanged, GatewayRefused, StoreClient, StoreRefused
from trainyard.uploads import GRANTS_PER_FILE, in_parallel
from trainyard_runner.foreign_store import ForeignStore, ForeignStoreError, read_keys
from trainyard_runner.mounted import await_secret

if TYPE_CHECKING:
    from trainyard.contract import FileGrant, InputRecord, RunInput
    from trainyard_runner.gateway import Clients
    from trainyard_runner.input_cache import InputCache
    from trainyard_runner.layout import Layout

_MEGABYTE = 1000 * 1000
_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("bytes", 1))
_TIMEOUT = 60.0
# Pages whose addresses are kept while the others are looked at; those of later ones are asked for again.
_KEPT_PAGES = 20

# From the end of the page before to a page: {"files": [FileGrant], "next": str | None}.
Lister = Callable[[str], "dict[str, Any]"]


class InputError(Exception):
    """An input is not there and will not come; `reason` is one of the operator's."""

    def __init__(self, *, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class _Page:
    after: str
    files: list[FileGrant] | None


class InputFetcher:
    """Fetches inputs, and says how far that is."""

    def __init__(
        self, *, clients: Clients, layout: Layout, say: Callable[[str], None], cache: InputCache | None = None
    ) -> None:
        self._cache = cache
        self._clients = clients
        self._layout = layout
        self._say = say
        # On the file system of the inputs, but outside all of them.
        self._parts = layout.inputs / ".trainyard-parts"
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._progress = _Progress("")

    def fetch(self, wanted: RunInput) -> InputRecord:
        """Fetch all files of one input, or look whether its volume has the folder; return what was there.

        Raises
        ------
        InputError
            If it does not exist, is too large, changes under the hands, or does not fit on the disk.
        """
        name = wanted["name"]
        self._say(f"input {name!r}: looking for its files")
        folder = Path(wanted["path"])
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if "claim" in wanted:
                self._check_claim(wanted, wanted["claim"])
                return {"name": name, "uri": wanted["uri"]}
            self._parts.mkdir(parents=True, exist_ok=True)
            record = self._fetch(wanted, folder)
            self._parts.rmdir()
            if self._cache is not None:
                self._cache.close()
        except GatewayRefused as refusal:
            reason = refusal.reason if refusal.reason == "InputNotFound" else "InputFailed"
            raise InputError(reason=reason, message=refusal.message) from refusal
        except ForeignStoreError as refusal:
            raise InputError(reason=refusal.reason, message=str(refusal)) from refusal
        except (TransferError, InvalidPathError) as error:
            raise InputError(reason="InputFailed", message=f"input {name!r} could not be fetched: {error}") from error
        except OSError as error:
            words = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
            reason = "DiskFull" if error.errno == errno.ENOSPC else "InputFailed"
            raise InputError(reason=reason, message=f"input {name!r} could not be written: {words}") from error
        return record

    def _check_claim(self, wanted: RunInput, path: str) -> None:
        root = self._layout.claims / wanted["name"]
        folder = root / path
        field = f"{wanted['field']}.pvc.path"
        inside = os.path.realpath(folder)
        if not folder.exists() or not (inside + os.sep).startswith(os.path.realpath(root) + os.sep):
            names = ", ".join(sorted(item.name for item in root.iterdir())[:20]) or "nothing"
            message = f"{field}: there is no folder {path!r} in the volume; at its top there is {names}"
            raise InputError(reason="InputNotFound", message=message)
        if not folder.is_dir():
            raise InputError(
                reason="InputFailed", message=f"{field}: {path!r} is a file: give the folder that it is in"
            )
        self._say(f"input {wanted['name']!r} is mounted from a volume")

    def _fetch(self, wanted: RunInput, folder: Path) -> InputRecord:
        lister, store = self._way(wanted)
        pages: list[_Page] = []
        listing = hashlib.sha256()
        files = size = 0
        after: str | None = ""
        while after is not None:
            page = lister(after)
            found: list[FileGrant] = page["files"]
            files, size = files + len(found), size + sum(file["bytes"] for file in found)
            _check_size(wanted, files, size, more=page.get("next") is not None)
            for file in found:
                entry = [file["path"], file["bytes"], file.get("etag", "").strip('"')]
                listing.update(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
            pages.append(_Page(after, found if len(pages) < _KEPT_PAGES else None))
            after = page.get("next")
        self._progress = _Progress(wanted["name"], files=files, bytes=size)
        self._tell()
        for kept in pages:
            listed = kept.files if kept.files is not None else lister(kept.after)["files"]
            self._fetch_page(listed, folder, store=store, again=partial(_files, lister, kept.after))
        return {
            "name": wanted["name"],
            "uri": wanted["uri"],
            "files": files,
            "bytes": size,
            "sha256": listing.hexdigest(),
        }

    def _way(self, wanted: RunInput) -> tuple[Lister, StoreClient]:
        if "s3" not in wanted:
            name = wanted["name"]
            return lambda after: self._clients.gateway.grants({"op": "input", "name": name, "after": after}), (
                self._clients.store
            )
        source, field = wanted["s3"], f"{wanted['field']}.s3"
        secret, mounted = source.get("secret", ""), self._layout.secrets / "inputs" / wanted["name"]
        if secret:
            await_secret(mounted, name=secret, say=self._say)
        context = _authorities(mounted / "ca.crt", field=field)
        foreign = ForeignStore(
            source,
            field=field,
            keys=read_keys(mounted, secret=secret, field=field),
            connections=Connections(timeout=_TIMEOUT, context=context),
            retry=ONE_GRANT,
            on_trouble=self._clients.trouble,
        )
        return foreign.page, StoreClient(on_trouble=self._clients.trouble, context=context)

    def _fetch_page(
        self, files: list[FileGrant], folder: Path, *, store: StoreClient, again: Callable[[], list[FileGrant]]
    ) -> None:
        refused = 0
        while files:
            done = in_parallel(lambda file: self._fetch_file(file, folder, store), files)
            left = [file for file in done if file is not None]
            if left:
                # The addresses of a page may expire while its first files are being fetched.
                refused += 1
                if refused >= GRANTS_PER_FILE:
                    raise FileChanged(f"the store refuses {left[0]['path']!r}, which was listed a moment ago")
                fresh = {file["path"]: file for file in again()}
                missing = [file["path"] for file in left if file["path"] not in fresh]
                if missing:
                    raise FileChanged(f"{missing[0]!r} was removed while the input was being fetched")
                left = [fresh[file["path"]] for file in left]
            files = left

    def _fetch_file(self, file: FileGrant, folder: Path, store: StoreClient) -> FileGrant | None:
        path = check_relative_path(file["path"], what="the name of an object")
        if path.endswith("/"):
            # What some tools leave in the place of an empty folder.
            (folder / path).mkdir(parents=True, exist_ok=True)
            return None
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = self._parts / f"{next(self._numbers)}.part"

        def download(alive: Callable[[], None]) -> None:
            def received(size: int) -> None:
                alive()
                self._count(size)

            store.download(file["url"], target, size=file["bytes"], part=part, etag=file.get("etag"), on_bytes=received)

        try:
            if self._cache is None:
                download(lambda: None)
                cached = False
            else:
                cached = self._cache.bring(file, target, part=part, download=download)
        except StoreRefused:
            return file
        self._count(file["bytes"] if cached else 0, files=1, cached=cached)
        return None

    def _count(self, received: int, files: int = 0, *, cached: bool = False) -> None:
        with self._lock:
            self._progress.files_done += files
            self._progress.files_cached += cached
            self._progress.bytes_done += received
        self._tell()

    def _tell(self) -> None:
        self._say(str(self._progress))


class _Progress:
    def __init__(self, name: str, *, files: int = 0, bytes: int = 0) -> None:  # noqa: A002 - what they are
        self._name = name
        self._files = files
        self._bytes = bytes
        self.files_done = 0
        self.files_cached = 0
        self.bytes_done = 0

    def __str__(self) -> str:
        done, whole = (
            f"{size / _MEGABYTE:.{0 if self._bytes >= 10 * _MEGABYTE else 1}f}"
            for size in (self.bytes_done, self._bytes)
        )
        cached = f" ({self.files_cached} from the cache)" if self.files_cached else ""
        return f"input {self._name!r}: {self.files_done} of {self._files} files{cached}, {done} of {whole} MB"


def _files(lister: Lister, after: str) -> list[FileGrant]:
    files: list[FileGrant] = lister(after)["files"]
    return files


def _check_size(wanted: RunInput, files: int, size: int, *, more: bool) -> None:
    limit = wanted.get("limit")
    if limit is None or size <= limit:
        return
    has = f"{'more than ' * more}{_amount(size)} in {files} files"
    message = (
        f"{wanted['field']}.sizeLimit: the input {wanted['name']!r} has {has}, and may have {_amount(limit)}: "
        "raise the limit, or give a smaller part of it"
    )
    raise InputError(reason="InputFailed", message=message)


def _amount(size: int) -> str:
    unit, divisor = next((u for u in _UNITS if size >= u[1]), _UNITS[-1])
    return f"{size / divisor:.3g} {unit}"


def _authorities(path: Path, *, field: str) -> Callable[[], ssl.SSLContext] | None:
    if not path.is_file():
        return None
    try:
        context = ssl.create_default_context(cafile=str(path))
    except (OSError, ValueError) as error:
        words = f"{field}.secretRef: the key ca.crt of the Secret is no certificate in PEM: {error}"
        raise ForeignStoreError(words) from error
    return lambda: context
