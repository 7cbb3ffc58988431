"""Numbers and texts of any library, as JSON can hold them; what is neither is refused in a sentence."""

from __future__ import annotations

import math
from typing import Any

_SHOWN_CHARS = 60


def number_of(value: Any, *, what: str) -> float:
    """Return the one number that `value` is or holds.

    Raises
    ------
    TypeError
        If it is not one number.
    """
    kind = type(value)
    if kind is float:
        return value  # type: ignore[no-any-return]
    if not isinstance(value, (int, float)):
        # numpy, torch and their like give their one number as a plain one; Decimal and Fraction have only __float__.
        try:
            value = value.item() if hasattr(value, "item") else type(value).__float__(value)
        except (AttributeError, TypeError, ValueError, RuntimeError):
            raise TypeError(f"{what} is {described(value)}: give one number") from None
        if not isinstance(value, (int, float)):
            raise TypeError(f"{what} is {described(value)}: give one number")
    if isinstance(value, int):
        # Beyond 64 bits no reader of JSON agrees with another on what an integer is.
        return int(value) if -(2**63) <= value < 2**63 else _as_float(value)
    return float(value)


def finite(value: Any, *, what: str) -> float:
    """Return the number that `value` is, neither NaN nor infinite.

    Raises
    ------
    TypeError
        If it is not.
    """
    number = float(number_of(value, what=what))
    if not math.isfinite(number):
        raise TypeError(f"{what} is {number}: give a finite number")
    return number


def whole(value: Any, *, what: str) -> int:
    """Return the whole number that `value` is.

    Raises
    ------
    TypeError
        If it is not.
    """
    number = number_of(value, what=what)
    if int(finite(number, what=what)) != number:
        raise TypeError(f"{what} is {number}: give a whole number")
    return int(number)


def text_of(value: Any, *, what: str, example: str) -> str:
    """Return `value` if it is text.

    Raises
    ------
    TypeError
        If it is not.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} is {described(value)}: give text, such as {example!r}")
    return value


def items_of(value: Any, *, what: str) -> list[Any]:
    """Return the items of a list, an array or anything else that can be gone through once.

    Raises
    ------
    TypeError
        If it cannot, or is a text.
    """
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{what} is {described(value)}: give a list of numbers")
    try:
        return list(value)
    except TypeError:
        raise TypeError(f"{what} is {described(value)}: give a list of numbers") from None


def described(value: object) -> str:
    """Return what `value` is, for a sentence."""
    text = repr(value)
    shown = text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
    return f"of type {type(value).__name__} ({shown})"


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
