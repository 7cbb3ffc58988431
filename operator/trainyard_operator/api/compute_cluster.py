"""The spec of a ComputeCluster, parsed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

from trainyard_operator.api.fields import (
    LABEL_KEY,
    LABEL_VALUE,
    JsonObject,
    SpecError,
    read_list,
    read_object,
    read_text,
)
from trainyard_operator.api.names import MAX_LABEL_VALUE

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LABEL_KEY: Final = 317
MAX_LABELS: Final = 32
MAX_TOLERATIONS: Final = 32
MAX_TOLERATION_SECONDS: Final = 31_536_000
EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")

_EXISTING: Final = "spec.provider.existing"


class ProviderType(StrEnum):
    """Where a cluster's nodes come from."""

    EXISTING = "Existing"


@dataclass(frozen=True, kw_only=True)
class Toleration:
    """A taint that the cluster's runs put up with."""

    key: str | None
    operator: str
    value: str | None
    effect: str | None
    toleration_seconds: int | None

    def to_json(self) -> JsonObject:
        """Return the toleration as a pod's spec holds it."""
        fields = {
            "key": self.key,
            "operator": self.operator,
            "value": self.value,
            "effect": self.effect,
            "tolerationSeconds": self.toleration_seconds,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ComputeClusterSpec:
    """Which nodes a ComputeCluster has."""

    provider: ProviderType
    node_selector: Mapping[str, str]
    tolerations: tuple[Toleration, ...]

    @classmethod
    def parse(cls, spec: object) -> Self:
        """Return what `spec` means.

        Raises
        ------
        SpecError
            If it cannot work.
        """
        provider = read_object(read_object(spec, "spec").get("provider"), "spec.provider")
        kind = provider.get("type")
        if kind != ProviderType.EXISTING:
            raise SpecError("spec.provider.type", f"is {kind!r}", f"it must be {ProviderType.EXISTING}")
        if provider.get("existing") is None:
            raise SpecError(_EXISTING, "is missing", "add it, with the nodeSelector of the nodes")
        existing = read_object(provider["existing"], _EXISTING)
        return cls(
            provider=ProviderType.EXISTING,
            node_selector=_read_labels(existing.get("nodeSelector"), f"{_EXISTING}.nodeSelector"),
            tolerations=tuple(
                _read_toleration(item, f"{_EXISTING}.tolerations[{index}]")
                for index, item in enumerate(
                    read_list(existing.get("tolerations"), f"{_EXISTING}.tolerations", at_most=MAX_TOLERATIONS)
                )
            ),
        )


def _read_labels(value: object, field: str) -> Mapping[str, str]:
    labels = {}
    for key, text in read_object(value, field, at_most=MAX_LABELS).items():
        if LABEL_KEY.match(key) is None or key.endswith("\n"):
            raise SpecError(field, f"has the key {key!r}", "give the key of a label, such as pool or example.com/pool")
        labels[key] = read_text(text, f"{field}.{key}", at_most=MAX_LABEL_VALUE, pattern=LABEL_VALUE)
    return labels


def _read_toleration(item: object, field: str) -> Toleration:
    entry = read_object(item, field)
    key, value, effect = entry.get("key"), entry.get("value"), entry.get("effect")
    operator = entry.get("operator") or "Equal"
    if operator not in ("Equal", "Exists"):
        raise SpecError(f"{field}.operator", f"is {operator!r}", "it must be Equal or Exists")
    if effect is not None and effect not in EFFECTS:
        raise SpecError(f"{field}.effect", f"is {effect!r}", f"it must be one of {', '.join(EFFECTS)}")
    if key is None and operator != "Exists":
        raise SpecError(f"{field}.operator", "must be Exists where key is absent", "add a key, or set it to Exists")
    if value and operator == "Exists":
        raise SpecError(f"{field}.value", "must be absent where operator is Exists", "remove it")
    seconds = entry.get("tolerationSeconds")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int)):
        raise SpecError(f"{field}.tolerationSeconds", "must be a whole number", "give seconds")
    if seconds is not None and not 0 <= seconds <= MAX_TOLERATION_SECONDS:
        raise SpecError(f"{field}.tolerationSeconds", f"is {seconds}", "give seconds from 0 to one year")
    if seconds is not None and effect != "NoExecute":
        raise SpecError(f"{field}.tolerationSeconds", "needs effect NoExecute", "set that effect, or remove it")
    return Toleration(
        key=None if key is None else read_text(key, f"{field}.key", at_most=MAX_LABEL_KEY, pattern=LABEL_KEY),
        operator=operator,
        value=None
        if value is None
        else read_text(value, f"{field}.value", at_most=MAX_LABEL_VALUE, pattern=LABEL_VALUE),
        effect=effect,
        toleration_seconds=seconds,
    )
