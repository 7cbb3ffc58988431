"""Words of the command line as values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click


def entries(words: Iterable[str], *, what: str) -> dict[str, str]:
    """Return ``NAME=VALUE`` words as a dictionary.

    Raises
    ------
    click.UsageError
        If one is something else.
    """
    found: dict[str, str] = {}
    for word in words:
        name, mark, value = word.partition("=")
        if not mark or not name:
            raise click.UsageError(f"{what} is {word!r}: give NAME=VALUE")
        if name in found:
            raise click.UsageError(f"{what} has {name} twice: give it once")
        found[name] = value
    return found


def parameters(words: Iterable[str], *, what: str) -> dict[str, Any]:
    """Return parameters of a script: what looks like a number is one."""
    return {name: scalar(value) for name, value in entries(words, what=what).items()}


def scalar(text: str) -> int | float | str:
    """Return a number where a text is one as Python writes it, else the text."""
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        # Texts that only Python takes for numbers: 1_000, nan, or one with blanks around it.
        return value if text == text.strip() and "_" not in text and text.lower().lstrip("+-")[:1] not in "in" else text
    return text
