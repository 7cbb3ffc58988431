"""A log on its way to the object store: parts on disk, which are there twice only as long as that costs little.

Parts stay on the disk when the store has them, so that the whole log can be saved as one object in the end. When all of
them together reach the bound, sent ones go, oldest first. When none is left that was sent, the script waits for the
store; and when the store takes nothing for a while, the middle of what waits is cut out: a script is never held up for
ever, and the beginning and the end of a log say most.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

PART_BYTES = 4 * 1024 * 1024
SPOOL_BYTES = 512 * 1024 * 1024
# So long a script that prints faster than the store takes waits for it to take something.
STALL_SECONDS = 30.0


@dataclass
class _Part:
    size: int = 0
    sent: bool = False
    cut: int = 0  # so many bytes were cut out here; the part is the line that says so


class LogSpool:
    """Log parts on disk, numbered upwards from 1: one writer, one reader."""

    def __init__(
        self,
        folder: Path,
        *,
        bound: int = SPOOL_BYTES,
        part_bytes: int = PART_BYTES,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self._folder = folder
        self._bound = bound
        self._part_bytes = part_bytes
        self._stall_seconds = stall_seconds
        self._changed = threading.Condition()
        self._file: BinaryIO | None = None
        self._number = 0
        self._parts: dict[int, _Part] = {}
        self._held = 0
        self._read = 0  # parts up to this one may be under way
        self._stalled = False
        self._whole = True

    def write(self, data: bytes) -> None:
        """Append `data`, waiting while too much is on disk already and the store takes it."""
        with self._changed:
            self._make_room(len(data))
            if self._file is None or self._parts[self._number].size + len(data) > self._part_bytes:
                self._begin_part()
            assert self._file is not None
            self._file.write(data)
            self._parts[self._number].size += len(data)
            self._held += len(data)

    def seal(self, number: int) -> None:
        """Let the next write begin another part than `number`."""
        with self._changed:
            if self._number == number and self._file is not None:
                self._file.close()
                self._file = None

    def close(self) -> None:
        """Seal the last part."""
        self.seal(self._number)

    def path(self, number: int) -> Path:
        """Return where the part `number` lies."""
        return self._folder / f"{number:06d}.log"

    def after(self, number: int) -> int | None:
        """Return the number of the part that follows `number`, None where there is none yet."""
        with self._changed:
            return next((other for other in self._parts if other > number), None)

    def state(self, number: int) -> tuple[int, bool]:
        """Return how large a part is by now, and whether it stays so; from now on it is not cut out."""
        with self._changed:
            self._read = max(self._read, number)
            part = self._parts.get(number)
            sealed = number < self._number or (number == self._number and self._file is None)
            return (part.size if part else 0), sealed

    def sent(self, number: int) -> None:
        """Take note that the store has all of a sealed part."""
        with self._changed:
            self._parts[number].sent = True
            self._stalled = False
            self._changed.notify_all()

    def whole(self) -> list[Path] | None:
        """Return the files that make up the whole log, None where some of them are in the store only."""
        with self._changed:
            return [self.path(number) for number in self._parts] if self._whole else None

    def _begin_part(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._file is not None:
            self._file.close()
            self._file = None
        # Unbuffered: what is counted is on disk.
        self._file = self.path(self._number + 1).open("wb", buffering=0)
        self._number += 1
        self._parts[self._number] = _Part()

    def _make_room(self, size: int) -> None:
        while self._held + size > self._bound:
            if self._shed():
                continue
            if not self._stalled and self._changed.wait_for(self._something_sent, self._stall_seconds):
                continue
            self._stalled = True
            if not self._cut():
                return  # what is left is being sent, or written: a bound that small is passed by a part or two

    def _something_sent(self) -> bool:
        return any(part.sent for part in self._parts.values())

    def _shed(self) -> bool:
        number = next((number for number, part in self._parts.items() if part.sent), None)
        if number is None:
            return False
        self.path(number).unlink(missing_ok=True)
        self._held -= self._parts.pop(number).size
        self._whole = False
        return True

    def _cut(self) -> bool:
        """Cut one part out behind the older half of all that waits; return whether there was one."""
        older = 0
        before: int | None = None
        for number, part in self._parts.items():
            older += part.size
            if number > self._read and number < self._number and older > self._bound // 2 and not part.cut:
                gap = before if before is not None and before > self._read and self._parts[before].cut else number
                self._write_gap(gap, self._parts[gap].cut + part.size, removed=number)
                return True
            before = number
        return False

    def _write_gap(self, number: int, cut: int, *, removed: int) -> None:
        line = f"\n[trainyard: {cut} bytes of the log were cut out here, because the object store was away]\n".encode()
        self._held -= self._parts[number].size
        if removed != number:
            self._held -= self._parts.pop(removed).size
            self.path(removed).unlink(missing_ok=True)
        self.path(number).write_bytes(line)
        self._parts[number].size, self._parts[number].cut = len(line), cut
        self._held += len(line)
