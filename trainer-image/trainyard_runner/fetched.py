"""The folder that a model is fetched to, and the manifest that its bytes are held against."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from trainyard.contract import MODEL_MANIFEST_SCHEMA, InvalidPathError, check_relative_path
from trainyard.uploads import open_regular
from trainyard_runner.digest import digest_of

if TYPE_CHECKING:
    from trainyard.contract import ModelFile

MANIFEST_ENDING = ".manifest.json"
SIGNATURE_ENDING = ".sig"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BadModelError(Exception):
    """Bytes are not those that were registered, or a manifest cannot be one."""


class FolderError(Exception):
    """The folder is in use for something else."""


class Manifest:
    """The files of a version: `files` gives size and SHA-256 by path; `content` is the manifest's own bytes."""

    def __init__(self, content: bytes, files: dict[str, tuple[int, str]]) -> None:
        self.content = content
        self.files = files

    @classmethod
    def read(cls, content: bytes, *, sha256: str) -> Manifest:
        """Return what `content` says, which must have the digest `sha256`.

        Raises
        ------
        BadModelError
            If it has another one, or names files that no folder can have.
        """
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise BadModelError(f"the manifest has the SHA-256 {found}, and {sha256} is what was registered")
        try:
            document = json.loads(content)
            if document["schema"] != MODEL_MANIFEST_SCHEMA:
                raise BadModelError(f"the manifest has not the schema {MODEL_MANIFEST_SCHEMA}: use a newer image")
            listed = [(file["path"], file["bytes"], file["sha256"]) for file in document["files"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadModelError(f"the manifest is none: {error!r}") from error
        files: dict[str, tuple[int, str]] = {}
        for path, size, digest in listed:
            if not (isinstance(path, str) and isinstance(size, int) and size >= 0 and _SHA256.fullmatch(str(digest))):
                raise BadModelError(f"the manifest has an entry that is no file: {path!r}")
            if path in files:
                raise BadModelError(f"the manifest names {path!r} twice")
            files[_safe(path)] = (size, digest)
        for path in files:
            above = next((str(parent) for parent in Path(path).parents if str(parent) in files), None)
            if above is not None:
                raise BadModelError(f"the manifest has {above!r} both as a file and as a folder")
        return cls(content, files)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for size, _ in self.files.values())

    def check_listed(self, file: ModelFile) -> str:
        """Return the path of a file that the gateway offers.

        Raises
        ------
        BadModelError
            If the manifest knows no such file.
        """
        path = file["path"]
        if path not in self.files:
            raise BadModelError(f"{path!r} is offered, and is not in the manifest")
        if self.files[path] != (file["bytes"], file["sha256"]):
            raise BadModelError(f"{path!r} is offered with another size or SHA-256 than the manifest's")
        return path

    def check_whole(self, seen: set[str]) -> None:
        """Raise a `BadModelError` where not every file was seen."""
        missing = sorted(self.files.keys() - seen)
        if missing:
            raise BadModelError(f"{missing[0]!r} is in the manifest and was not offered ({len(missing)} missing)")

    def verify(self, path: str, target: Path) -> None:
        """Raise a `BadModelError` where `target` has not the bytes of `path`."""
        with open_regular(target) as content:
            sha256, size = digest_of(content)
        if (size, sha256) != self.files[path]:
            raise BadModelError(
                f"{path!r} has the SHA-256 {sha256} and {size} bytes, and {self.files[path][1]} and "
                f"{self.files[path][0]} bytes are what was registered"
            )


class Folder:
    """A folder that is replaced whole: what is being fetched is beside it, under a name that begins with a dot.

    The manifest is put beside the folder before the folder appears, so that a folder without one is somebody else's.
    """

    def __init__(self, path: Path) -> None:
        # Without following a link at its end: the folder itself is what is replaced.
        self._path = Path(os.path.abspath(path))  # noqa: PTH100
        self._stage = self._beside("fetching")
        self._old = self._beside("old")
        self._manifest = self._path.with_name(self._path.name + MANIFEST_ENDING)

    def _beside(self, what: str) -> Path:
        return self._path.with_name(f".{self._path.name}.{what}")

    def check(self) -> None:
        """Raise a `FolderError` where fetching would destroy what somebody else has put here."""
        path = self._path
        if os.path.ismount(path):
            raise FolderError(
                f"{path} is a mount point, which cannot appear at once: name a folder below it, such as {path}/model"
            )
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise FolderError(f"{path} is no folder: remove it, or name another one")
        if path.is_dir() and any(path.iterdir()) and not self._manifest.is_file():
            raise FolderError(
                f"{path} has files of somebody else, for there is no {self._manifest.name} beside it: remove it, "
                "or name another folder"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        self.clear()

    def holds(self, manifest: Manifest) -> bool:
        """Return whether exactly this version is here already, byte for byte."""
        try:
            if self._manifest.read_bytes() != manifest.content or _names(self._path) != manifest.files.keys():
                return False
            for path in manifest.files:
                manifest.verify(path, self._path / path)
        except (OSError, BadModelError):
            return False
        return True

    def note_signature(self, content: bytes | None) -> None:
        """Put the version's signature beside the folder, or see to it that there is none of another version."""
        target = self._path.with_name(self._path.name + SIGNATURE_ENDING)
        if content is None:
            target.unlink(missing_ok=True)
            return
        noted = self.new_manifest()
        noted.write_bytes(content)
        noted.replace(target)

    def new_manifest(self) -> Path:
        """Return where the manifest, or the signature, may be downloaded to."""
        return self._beside("manifest")

    def stage(self) -> Path:
        """Return a new folder to collect the files in."""
        self._stage.mkdir()
        return self._stage

    def appear(self, manifest: Manifest) -> None:
        """Put what was collected in its place."""
        if self._path.exists():
            self._path.rename(self._old)
        noted = self.new_manifest()
        noted.write_bytes(manifest.content)
        noted.replace(self._manifest)
        self._stage.rename(self._path)

    def clear(self) -> None:
        """Remove what an earlier call, or this one, has left beside the folder."""
        for path in (self._stage, self._old):
            if path.exists():
                shutil.rmtree(path)
        self.new_manifest().unlink(missing_ok=True)


def _safe(path: str) -> str:
    try:
        check_relative_path(path, what="the name of a file in the manifest")
    except InvalidPathError as error:
        raise BadModelError(str(error)) from error
    if path.endswith("/"):
        raise BadModelError(f"the manifest names the folder {path!r} as a file")
    return path


def _names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
