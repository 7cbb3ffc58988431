"""From the bytes that a script prints to text that a person can read later.

Torn or foreign encodings are replaced, never fatal. A carriage return starts the line again, so of a progress bar only
the state that was there when somebody looked is kept. A step up, which ends each state of a bar that is nested in
another one, takes that state back, and the step down to it adds no line. What is held back is at most `HELD_CHARS`
long, however long a line is: a longer one passes through in pieces that join up to the very same line.
"""

from __future__ import annotations

import codecs
import re

HELD_CHARS = 64 * 1024
UP = "\x1b[A"
_PIECES = re.compile(r"\x1b\[A|(?:(?!\x1b\[A)[^\r\n])+|\r*\n|\r+")
_TORN_UP = ("\x1b[", "\x1b")


class LineFolder:
    """Turns chunks of output into text; `feed` returns what is final, `settle` what a look at the screen would show."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._line = ""  # what the screen shows of the line under way
        self._shown = ""  # what has been returned of the line under way
        self._returning = False  # the next character takes the place of the whole line
        self._redrawn = False  # the line under way was put there by a return
        self._above = False  # the cursor is on a line that has ended already
        self._torn = ""  # the beginning of a step up

    @property
    def holds_text(self) -> bool:
        """Whether something has been printed that was not returned yet."""
        return self._line != self._shown

    def feed(self, chunk: bytes, *, final: bool = False) -> str:
        """Return the text that `chunk` completes."""
        text = self._torn + self._decoder.decode(chunk, final)
        self._torn = "" if final else next((torn for torn in _TORN_UP if text.endswith(torn)), "")
        text = text[: len(text) - len(self._torn)]
        if "\r" in text or UP in text or self._returning or self._above:
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
        if piece == UP:
            return self._up()
        if piece.endswith("\n"):
            if self._above and not self._line:
                self._above = False
                return ""
            return self._end()
        if piece.endswith("\r"):
            self._returning = True
            return ""
        return self._extend(piece)

    def _extend(self, text: str) -> str:
        if not text:
            return ""
        if self._returning:
            self._line, self._redrawn = "", True
        self._line += text
        self._returning = self._above = False
        if len(self._line) <= HELD_CHARS:
            return ""
        out = self.settle()
        self._line = self._shown = ""
        return out

    def _up(self) -> str:
        """Leave the line under way; the state of a bar stays only where somebody has seen it."""
        if self._redrawn:
            self._line = self._shown
        out = self._end() if self._line else ""
        self._returning, self._above = False, True
        return out

    def _end(self) -> str:
        out = self.settle() + "\n"
        self._line = self._shown = ""
        self._returning = self._redrawn = self._above = False
        return out
