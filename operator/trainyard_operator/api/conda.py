"""Conda packages that a run asks for: channels by name, in their order, and packages by name and version.

What names a place (a channel's address, a file, a channel of one package) is refused, as it is for packages of pip.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

from trainyard_operator.api.fields import SpecError, read_list, read_object, read_text

CHANNEL: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")
MAX_CHANNEL: Final = 128
MAX_CHANNELS: Final = 16
_CONSTRAINT = r"([=!<>~]=|[=<>]) *[A-Za-z0-9._*+!-]+"
PACKAGE: Final = re.compile(
    rf"^[A-Za-z0-9_][A-Za-z0-9._-]* *({_CONSTRAINT}( *[,|] *{_CONSTRAINT})*(=[A-Za-z0-9._*+-]+)?)?$"
)
MAX_PACKAGE: Final = 256
MAX_PACKAGES: Final = 200

_FIELD = "spec.environment.conda"
_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class CondaSpec:
    """What `spec.environment.conda` says: channels in order; packages in one spelling, sorted, each once."""

    channels: tuple[str, ...]
    packages: tuple[str, ...]

    @property
    def document(self) -> dict[str, Any]:
        """The form that is hashed."""
        return {"channels": list(self.channels), "packages": list(self.packages)}

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return what `value` means.

        Raises
        ------
        SpecError
            If it cannot work.
        """
        fields = read_object(value, _FIELD)
        channels = _read(fields, "channels", at_most=MAX_CHANNELS, length=MAX_CHANNEL, read=_channel)
        packages = _read(fields, "packages", at_most=MAX_PACKAGES, length=MAX_PACKAGE, read=normalise)
        return cls(channels=tuple(dict.fromkeys(channels)), packages=tuple(sorted(set(packages))))

    @classmethod
    def of_document(cls, document: object) -> Self | None:
        """Return what a `document` has; one that was not made from a spec has another hash."""
        if not isinstance(document, dict):
            return None
        found = {name: tuple(str(text) for text in document.get(name) or ()) for name in ("channels", "packages")}
        return cls(**found)


def normalise(text: str, field: str) -> str:
    """Return a package in its one form: a small name, and no spaces.

    Raises
    ------
    SpecError
        If it is none, or says where the package is.
    """
    words = text.strip()
    if "::" in words or "[" in words or "/" in words:
        fix = "name the package and its version alone, and its channel in spec.environment.conda.channels"
        raise SpecError(field, f"is {words!r}, which says where the package is", fix)
    if not PACKAGE.fullmatch(words):
        fix = "write name, name=version or name>=version,<version, for example python=3.12"
        raise SpecError(field, f"is {words!r}, which is no name with versions", fix)
    name = _NAME.match(words)
    assert name is not None
    return name[0].lower() + words[name.end() :].replace(" ", "")


def _channel(text: str, field: str) -> str:
    if ":" in text:
        # Who runs Trainyard says where channels are; the address of today may bring other packages tomorrow.
        fix = "name the channel alone, for example conda-forge"
        raise SpecError(field, f"is {text!r}, an address", f"{fix}; the operator knows where channels are")
    if text == "defaults":
        raise SpecError(field, "is 'defaults', which is no channel but a setting", "name channels, such as conda-forge")
    if not CHANNEL.fullmatch(text):
        raise SpecError(field, f"is {text!r}, which is no channel", "name one, for example conda-forge")
    return text


def _read(
    fields: dict[str, Any], name: str, *, at_most: int, length: int, read: Callable[[str, str], str]
) -> list[str]:
    field = f"{_FIELD}.{name}"
    items = read_list(fields.get(name), field, at_most=at_most)
    if not items:
        raise SpecError(field, "is empty", "name at least one")
    texts = [read_text(item, f"{field}[{number}]", at_most=length) for number, item in enumerate(items)]
    return [read(text, f"{field}[{number}]") for number, text in enumerate(texts)]
