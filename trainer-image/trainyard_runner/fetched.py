"""The folder that a model is fetched to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trainyard.model_manifest import BadModelError, Manifest

MANIFEST_ENDING = ".manifest.json"
SIGNATURE_ENDING = ".sig"


class FolderError(Exception):
    """The folder is in use for something else."""


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


def _names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
