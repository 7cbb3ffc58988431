"""SHA-256 of files that may be larger than memory."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

_CHUNK_BYTES = 1024 * 1024


def digest_of(file: BinaryIO) -> tuple[str, int]:
    """Return the SHA-256, in hex, of what is left to read of a file, and how many bytes that was."""
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def sha256_of(path: Path) -> str:
    """Return the SHA-256, in hex, of a file."""
    with path.open("rb") as file:
        return digest_of(file)[0]
