"""Fetching a version of a model: every byte is held against the registry before anything of it appears."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainyard.contract import ModelFile, ModelGrant
from trainyard.errors import Conflict, DigestMismatch, NotFound, StoreUnavailable
from trainyard.model_manifest import BadModelError, Manifest
from trainyard.remote.datastore import Advance, progress
from trainyard.remote.gateway import Gateway
from trainyard.remote.versions import place_of
from trainyard.uploads import GRANTS_PER_FILE, in_parallel

# Where `Model.get_model_path` keeps what it has fetched, below the current folder.
CACHE: Final = Path("trainyard-models")


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """A version that is to be fetched.

    Parameters
    ----------
    gateway
        The namespace's gateway.
    name, version
        The version.
    path
        What it was made from, which says what it is called here.
    sha256
        What the registry says of its manifest; None where it says nothing.
    """

    gateway: Gateway
    name: str
    version: int
    path: str
    sha256: str | None

    def fetch(self, folder: Path, *, replace: bool) -> Path:
        """Fetch the version into a folder, and return where it is.

        Raises
        ------
        Conflict
            If a file is there and must not be replaced.
        DigestMismatch
            If what came is not what was registered; then nothing is put there.
        """
        page = self._page()
        try:
            manifest = Manifest.read(self.gateway.read(page["manifest"]), sha256=page["manifestSha256"])
            top = place_of(self.path, manifest)
            root = folder / top
            taken = [str(root / path) for path in manifest.files if (root / path).exists()]
            if taken and not replace:
                raise Conflict(f"{taken[0]} is there already: give exist_ok=True to replace it, or another target_dir")
            folder.mkdir(parents=True, exist_ok=True)
            # On the same disk as the target, so that what is whole appears at once.
            with tempfile.TemporaryDirectory(prefix=".trainyard-", dir=folder) as stage:
                with progress(manifest.size, show=True) as advance:
                    self._fetch(page, manifest, Path(stage), advance)
                for path in manifest.files:
                    (root / path).parent.mkdir(parents=True, exist_ok=True)
                    (Path(stage) / path).replace(root / path)
        except BadModelError as error:
            raise DigestMismatch(f"{self.name}:{self.version}: {error}; nothing of it was kept") from error
        only = next(iter(manifest.files)) if len(manifest.files) == 1 and top == Path() else ""
        return root / only

    def fetch_once(self, folder: Path) -> Path:
        """Fetch the version into a folder that has it whole or not at all, unless it has it, and return where it is."""
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".trainyard-", dir=folder.parent) as stage:
                whole = Path(stage) / "whole"
                self.fetch(whole, replace=False)
                whole.replace(folder)
        return only_entry(folder)

    def _page(self, after: str = "") -> ModelGrant:
        return self.gateway.model(self.name, self.version, after=after)

    def _fetch(self, page: ModelGrant, manifest: Manifest, stage: Path, advance: Advance) -> None:
        after, seen = "", set[str]()
        while True:
            if self.sha256 not in {None, page["manifestSha256"]}:
                raise BadModelError("the gateway names another manifest than the registry")
            seen |= {manifest.check_listed(file) for file in page["files"]}
            self._fetch_page(page["files"], manifest, stage, after=after, advance=advance)
            if page["next"] is None:
                break
            after = page["next"]
            page = self._page(after)
        manifest.check_whole(seen)

    def _fetch_page(
        self, files: Sequence[ModelFile], manifest: Manifest, stage: Path, *, after: str, advance: Advance
    ) -> None:
        def one(file: ModelFile) -> ModelFile | None:
            target = stage / file["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.gateway.download(file, target, on_bytes=advance)
            except StoreUnavailable:
                return file
            manifest.verify(file["path"], target)
            return None

        for _ in range(GRANTS_PER_FILE):
            files = [file for file in in_parallel(one, files) if file is not None]
            if not files:
                return
            # An address that expired is refused like any other: only a fresh one can tell them apart.
            fresh = {f["path"]: f for f in self._page(after)["files"]}
            files = [fresh.get(file["path"], file) for file in files]
        raise StoreUnavailable(
            f"the object store does not give {files[0]['path']!r} of {self.name}:{self.version}: try again"
        )


def cached(name: str, version: int | None) -> Path:
    """Return where a model is that was fetched before, its highest version where none is said, or ``./NAME``.

    Raises
    ------
    NotFound
        If it is in neither place.
    """
    folder = CACHE / name
    numbers = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()] if folder.is_dir() else []
    number = max(numbers, default=None) if version is None else version
    if number in numbers:
        return only_entry(folder / str(number))
    if version is None and Path(name).exists():
        return Path(name)
    raise NotFound(
        f"Model not found in cache or in root at ./{name}: looked for {folder / str(version or '<version>')} and "
        f"./{name}. Give _workspace=ws to have it fetched"
    )


def only_entry(folder: Path) -> Path:
    """Return the one file or folder that is in a folder, or the folder itself."""
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 else folder
