"""The manifest of a model's version, which its bytes are held against wherever they are fetched to."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from trainyard.contract import MODEL_MANIFEST_SCHEMA, InvalidPathError, check_relative_path
from trainyard.digest import digest_of
from trainyard.uploads import open_regular

if TYPE_CHECKING:
    from trainyard.contract import ModelFile

_SHA256 = re.compile(r"[0-9a-f]{64}")


class BadModelError(Exception):
    """Bytes are not those that were registered, or a manifest cannot be one."""


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


def _safe(path: str) -> str:
    try:
        check_relative_path(path, what="the name of a file in the manifest")
    except InvalidPathError as error:
        raise BadModelError(str(error)) from error
    if path.endswith("/"):
        raise BadModelError(f"the manifest names the folder {path!r} as a file")
    return path
