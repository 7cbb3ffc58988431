"""Readers of fields: each gives the value in the type that was asked for, or says in a `SpecError` what is wrong.

The API server has checked an object against the schema before anybody sees it. It is checked again here where a name or
path becomes part of something else (a label, a folder, a key in the object store), since schemas change and stored
objects stay.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Final, TypeVar

from trainyard.contract import InvalidPathError, check_relative_path

JsonObject = dict[str, Any]
Choice = TypeVar("Choice", bound=StrEnum)

MODEL_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
MAX_MODEL_NAME: Final = 255
MAX_OBJECT_NAME: Final = 253
OBJECT_NAME: Final = re.compile(r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
LABEL_VALUE: Final = re.compile(r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$")
LABEL_KEY: Final = re.compile(
    r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
)
SHA256: Final = re.compile(r"^[0-9a-f]{64}$")
MAX_TAGS: Final = 32
MAX_TAG_KEY: Final = 128
MAX_TAG_VALUE: Final = 256
MAX_DESCRIPTION: Final = 2048

# Nearly every path is one of these, and needs no look at each of its characters.
_PLAIN_PATH = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*/?")


class SpecError(ValueError):
    """A spec that cannot work, said in words for the person who wrote it.

    Attributes
    ----------
    field
        Path of the field, for example ``spec.entryScript``.
    message
        What is wrong with it; reads on from the field.
    fix
        What to do about it, or the empty string.
    """

    def __init__(self, field: str, message: str, fix: str = "") -> None:
        super().__init__(f"{field} {message}: {fix}" if fix else f"{field} {message}")
        self.field = field
        self.message = message
        self.fix = fix


def read_object(value: object, field: str, *, at_most: int | None = None) -> JsonObject:
    """Return `value`, an object; an absent one is empty."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SpecError(field, "must be an object", f"it is a {_type_name(value)} now")
    for key in value:
        if not isinstance(key, str):
            raise SpecError(field, f"has the key {key!r}, which is no text", "put it in quotes")
    if at_most is not None and len(value) > at_most:
        raise SpecError(field, f"has {len(value)} entries", f"at most {at_most} are possible")
    return value


def read_list(value: object, field: str, *, at_most: int) -> list[Any]:
    """Return `value`, a list; an absent one is empty."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise SpecError(field, "must be a list", f"it is a {_type_name(value)} now")
    if len(value) > at_most:
        raise SpecError(field, f"has {len(value)} entries", f"at most {at_most} are possible")
    return value


def read_text(value: object, field: str, *, at_most: int, pattern: re.Pattern[str] | None = None) -> str:
    """Return `value`, a text without NUL, which neither arguments nor environment variables can hold."""
    if not isinstance(value, str):
        raise SpecError(field, "must be text", "it is missing" if value is None else f"it is a {_type_name(value)} now")
    if len(value) > at_most:
        raise SpecError(field, f"has {len(value)} characters", f"at most {at_most} are possible")
    if "\x00" in value:
        raise SpecError(field, "contains a NUL character", "remove it")
    # `$` alone would let a newline through at the end.
    if pattern is not None and (pattern.match(value) is None or value.endswith("\n")):
        raise SpecError(field, f"is {value!r}", f"it must match {pattern.pattern}")
    return value


def read_optional_text(
    value: object, field: str, *, at_most: int, pattern: re.Pattern[str] | None = None
) -> str | None:
    """Return `value`, a text, or None where it is absent."""
    return None if value is None else read_text(value, field, at_most=at_most, pattern=pattern)


def read_reference(value: object, field: str, at_most: int) -> str | None:
    """Return the `name` of `value`, a reference to an object, or None where there is no reference."""
    if value is None:
        return None
    name = read_object(value, field).get("name")
    return read_text(name, f"{field}.name", at_most=at_most, pattern=OBJECT_NAME)


def read_quantity(value: object, field: str, *, at_most: int, pattern: re.Pattern[str]) -> str:
    """Return `value`, an amount as Kubernetes writes it; a whole number is one too."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return read_text(text, field, at_most=at_most, pattern=pattern)


def read_choice(value: object, field: str, choices: type[Choice], default: Choice | None = None) -> Choice:
    """Return the member of `choices` that `value` names; an absent one is the default, where there is one."""
    if value is None and default is not None:
        return default
    try:
        return choices(str(value))
    except ValueError:
        raise SpecError(field, f"is {value!r}", f"it must be one of {', '.join(choices)}") from None


def read_flag(value: object, field: str) -> bool:
    """Return `value`, a boolean; an absent one is false."""
    if value is not None and not isinstance(value, bool):
        raise SpecError(field, "must be true or false", f"it is a {_type_name(value)} now")
    return bool(value)


def read_whole(value: object, field: str, *, at_least: int = 0, at_most: int, default: int) -> int:
    """Return `value`, a whole number; an absent one is the default."""
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise SpecError(field, "must be a whole number", f"it is a {_type_name(value)} now")
    if not at_least <= value <= at_most:
        raise SpecError(field, f"is {value}", f"give a number from {at_least} to {at_most}")
    return value


def read_path(value: object, field: str, *, at_most: int, empty: bool = False) -> str:
    """Return `value`, a relative path that stays inside the folder that it is relative to."""
    text = read_text(value, field, at_most=at_most)
    if _PLAIN_PATH.fullmatch(text):
        return text
    try:
        return check_relative_path(text, what=field, empty=empty)
    except InvalidPathError as error:
        raise SpecError(field, str(error).removeprefix(f"{field} ")) from None


def read_tags(value: object, field: str) -> dict[str, str]:
    """Return `value`, labels that a user gave to a model or to one of its versions."""
    tags = {}
    for key, text in read_object(value, field, at_most=MAX_TAGS).items():
        if not 0 < len(key) <= MAX_TAG_KEY:
            raise SpecError(field, "has a key that is empty or too long", f"keys have 1 to {MAX_TAG_KEY} characters")
        tags[key] = read_text(text, f"{field}.{key}", at_most=MAX_TAG_VALUE)
    return tags


def _type_name(value: object) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "text", list: "list", dict: "object"}
    return names.get(type(value), type(value).__name__)
