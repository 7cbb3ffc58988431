"""What a RegisteredModel's spec says of versions to lay aside and to delete, parsed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from trainyard_operator.api.fields import SpecError, read_flag, read_list, read_object, read_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_NUMBER: Final = 2**53 - 1
MAX_ARCHIVED: Final = 200
MAX_DELETED: Final = 500
MAX_KEPT: Final = 100_000
MAX_DAYS: Final = 36_500


@dataclass(frozen=True, kw_only=True)
class Retention:
    """A rule by which versions are deleted."""

    keep_last: int
    keep_days: int
    dry_run: bool = False

    @classmethod
    def parse(cls, value: object) -> Self | None:
        """Return what `spec.retention` means, None where there is no rule."""
        if value is None:
            return None
        where = "spec.retention"
        fields = read_object(value, where)
        return cls(
            keep_last=_given(fields.get("keepLast"), f"{where}.keepLast", at_least=1, at_most=MAX_KEPT),
            keep_days=_given(fields.get("keepReadyDays"), f"{where}.keepReadyDays", at_least=0, at_most=MAX_DAYS),
            dry_run=read_flag(fields.get("dryRun"), f"{where}.dryRun"),
        )


@dataclass(frozen=True, kw_only=True)
class KeepingSpec:
    """Numbers of versions to lay aside and to delete, in the order of the spec, and the rule for the others."""

    archive: tuple[int, ...] = ()
    delete: tuple[int, ...] = ()
    retention: Retention | None = None

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Self:
        """Return what the fields of a spec say.

        Raises
        ------
        SpecError
            If it cannot work.
        """
        return cls(
            archive=_numbers(fields.get("archive"), "spec.archive", at_most=MAX_ARCHIVED),
            delete=_numbers(fields.get("delete"), "spec.delete", at_most=MAX_DELETED),
            retention=Retention.parse(fields.get("retention")),
        )


def _numbers(value: object, field: str, *, at_most: int) -> tuple[int, ...]:
    items = read_list(value, field, at_most=at_most)
    numbers = [_given(item, f"{field}[{n}]", at_least=1, at_most=MAX_NUMBER) for n, item in enumerate(items)]
    return tuple(dict.fromkeys(numbers))


def _given(value: object, field: str, *, at_least: int, at_most: int) -> int:
    # No defaults: nothing is deleted because of a number that nobody wrote.
    if value is None:
        raise SpecError(field, "is missing", f"give a number from {at_least} to {at_most}")
    return read_whole(value, field, at_least=at_least, at_most=at_most, default=at_least)
