"""Which files of a folder belong to a snapshot: what ``.amlignore``, or else ``.gitignore``, does not leave out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

# The first of them that the folder has counts, and no other.
FILES: Final = (".amlignore", ".gitignore")
# Nobody means these by "my code": no line of a file brings them back.
ALWAYS: Final = (".git/", "__pycache__/", ".ipynb_checkpoints/", ".venv/", ".trainyard/")


@dataclass(frozen=True)
class Rule:
    """One line of an ignore file, in git's syntax."""

    text: str

    @property
    def again(self) -> bool:
        """Whether it takes back what an earlier line left out."""
        return self.text.startswith("!")

    @property
    def folders_only(self) -> bool:
        """Whether it is about folders alone."""
        return self.text.endswith("/")

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The pattern that whole paths, relative to the folder and without a slash at the end, are matched with."""
        text = self.text.removeprefix("!").removesuffix("/")
        # A slash anywhere but at the end ties a pattern to the folder that the file is in.
        tied = "/" in text
        return re.compile(("" if tied else "(?:.*/)?") + _translated(text.removeprefix("/")))


class Ignore:
    """The rules of one folder.

    Parameters
    ----------
    lines
        Those of an ignore file; later ones win.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules = [Rule(line) for line in (*filter(None, map(_cleaned, lines)), *ALWAYS)]

    @classmethod
    def of_folder(cls, folder: Path) -> Ignore:
        """Return the rules that a folder has."""
        for name in FILES:
            path = folder / name
            if path.is_file():
                return cls(path.read_text(encoding="utf-8", errors="replace").splitlines())
        return cls(())

    def leaves_out(self, path: str, *, folder: bool) -> bool:
        """Return whether a path, relative to the folder, is left out; that its parents are not is the caller's care."""
        left_out = False
        for rule in self._rules:
            if (folder or not rule.folders_only) and rule.pattern.fullmatch(path):
                left_out = not rule.again
        return left_out


def _cleaned(line: str) -> str:
    if line.startswith("#"):
        return ""
    text = line.rstrip("\r\n")
    # Spaces at the end count only where a backslash says so.
    while text.endswith(" ") and not text.endswith("\\ "):
        text = text[:-1]
    return text


def _translated(text: str) -> str:
    found, at = "", 0
    while at < len(text):
        if text.startswith("**/", at):
            found, at = found + "(?:.*/)?", at + 3
        elif text.startswith("/**", at) and at + 3 == len(text):
            found, at = found + "/.+", at + 3
        elif text[at] == "*":
            found, at = found + "[^/]*", at + 1
        elif text[at] == "?":
            found, at = found + "[^/]", at + 1
        elif text[at] == "[" and (end := text.find("]", at + 2)) > 0:
            inner = text[at + 1 : end].replace("\\", "\\\\")
            found, at = f"{found}[{'^' + inner[1:] if inner[0] == '!' else inner}]", end + 1
        elif text[at] == "\\" and at + 1 < len(text):
            found, at = found + re.escape(text[at + 1]), at + 2
        else:
            found, at = found + re.escape(text[at]), at + 1
    return found
