"""From the bytes that a script prints to text that a person can read later.

Torn or foreign encodings are replaced, never fatal. A carriage return starts the line again, so of a progress bar only
the state that was there when somebody looked is kept. What is held back is at most `HELD_CHARS` long, however long a
line is: a longer one passes through in pieces that join up to the very same line.
"""

from __future__ import annotations

import codecs
import re

HELD_CHARS = 64 * 1024
_PIECES = re.compile(r"[^\r\n]+|\r*\n|\r+")


class LineFolder:
    """Turns chunks of output into text; `feed` returns what is final, `settle` what a look at the screen would show."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._line = ""  # what the screen shows of the line under way
        self._shown = ""  # what has been returned of the line under way
        self._returning = False  # the next character takes the place of the whole line

    @property
    def holds_text(self) -> bool:
        """Whether something has been printed that was not returned yet."""
        return self._line != self._shown

    def feed(self, chunk: bytes, *, final: bool = False) -> str:
        """Return the text that `chunk` completes."""
        text = self._decoder.decode(chunk, final)
        if "\r" in text or self._returning:
            return "".join(self._piece(piece) for piece in _PIECES.findall(text))
        # Plain lines, which most output is, in one go.
        head, end, rest = text.rpartition("\n")
        out = self._extend(head) + self._end() if end else ""
        return out + self._extend(rest)

    def settle(self) -> str:
        """Return the part of the line under way that was not returned yet, as it stands."""
        # A line whose shown state has been overwritten since gets another line for its new state.
        fresh = self._line.startswith(self._shown)
        out = self._line[len(self._shown) :] if fresh else "\n" + self._line
        self._shown = self._line
        return out

    def _piece(self, piece: str) -> str:
        if piece.endswith("\n"):
            return self._end()
        if piece.endswith("\r"):
            self._returning = True
            return ""
        return self._extend(piece)

    def _extend(self, text: str) -> str:
        if not text:
            return ""
        self._line = text if self._returning else self._line + text
        self._returning = False
        if len(self._line) <= HELD_CHARS:
            return ""
        out = self.settle()
        self._line = self._shown = ""
        return out

    def _end(self) -> str:
        out = self.settle() + "\n"
        self._line = self._shown = ""
        self._returning = False
        return out
