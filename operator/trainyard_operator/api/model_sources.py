"""What a RegisteredModel says of versions that no run of its namespace made, and of who may take its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from trainyard.contract import MAX_METRICS, MetricValue, decode_metric, encode_metric, metric_name
from trainyard_operator.api.fields import (
    MAX_DESCRIPTION,
    MAX_MODEL_NAME,
    MODEL_NAME,
    SHA256,
    SpecError,
    read_list,
    read_object,
    read_optional_text,
    read_path,
    read_tags,
    read_text,
    read_whole,
)

MAX_IMPORTS: Final = 256
MAX_IMPORT_KEY: Final = 128
IMPORT_KEY: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
MAX_IMPORT_PATH: Final = 1024
MAX_SHARED: Final = 256
MAX_NAMESPACE: Final = 63
NAMESPACE: Final = re.compile(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
MAX_VERSION_NUMBER: Final = 2**53 - 1
_MAX_SHA256: Final = 64
# What the API server keeps as an integer.
_INT64: Final = 2**63


@dataclass(frozen=True, kw_only=True)
class ImportSpec:
    """A file or folder of the namespace's datastore that is to become a version; `key` makes asking idempotent."""

    key: str
    path: str
    sha256: str | None
    description: str | None
    tags: Mapping[str, str]
    metrics: Mapping[str, MetricValue]

    @classmethod
    def parse(cls, value: object, field: str) -> Self:
        """Return what one entry of `spec.imports` means."""
        fields = read_object(value, field)
        return cls(
            key=read_text(fields.get("key"), f"{field}.key", at_most=MAX_IMPORT_KEY, pattern=IMPORT_KEY),
            path=read_path(fields.get("datastorePath"), f"{field}.datastorePath", at_most=MAX_IMPORT_PATH),
            sha256=read_optional_text(fields.get("sha256"), f"{field}.sha256", at_most=_MAX_SHA256, pattern=SHA256),
            description=read_optional_text(fields.get("description"), f"{field}.description", at_most=MAX_DESCRIPTION),
            tags=read_tags(fields.get("tags"), f"{field}.tags"),
            metrics=_read_metrics(fields.get("metrics"), f"{field}.metrics"),
        )


@dataclass(frozen=True, kw_only=True)
class PromotionSpec:
    """One version of another namespace's model, which is to become the next version of this one."""

    namespace: str
    model: str
    version: int
    sha256: str  # of the version's manifest, and so of every byte of it

    @property
    def id(self) -> str:
        """The version, for people."""
        return f"{self.namespace}/{self.model}:{self.version}"

    @classmethod
    def parse(cls, value: object, field: str) -> Self:
        """Return what `spec.promoteFrom` means."""
        fields = read_object(value, field)
        version = fields.get("version")
        if version is None:
            raise SpecError(f"{field}.version", "is missing", "give the number of the version to promote")
        return cls(
            namespace=read_text(
                fields.get("namespace"), f"{field}.namespace", at_most=MAX_NAMESPACE, pattern=NAMESPACE
            ),
            model=read_text(fields.get("model"), f"{field}.model", at_most=MAX_MODEL_NAME, pattern=MODEL_NAME),
            version=read_whole(version, f"{field}.version", at_least=1, at_most=MAX_VERSION_NUMBER, default=0),
            sha256=read_text(fields.get("sha256"), f"{field}.sha256", at_most=_MAX_SHA256, pattern=SHA256),
        )


def read_imports(value: object, field: str) -> tuple[ImportSpec, ...]:
    """Return the entries of `spec.imports`, of which no two have the same key."""
    entries = read_list(value, field, at_most=MAX_IMPORTS)
    imports = tuple(ImportSpec.parse(entry, f"{field}[{index}]") for index, entry in enumerate(entries))
    keys = [entry.key for entry in imports]
    for key in keys:
        if keys.count(key) > 1:
            raise SpecError(field, f"has the key {key!r} twice", "give each import a key of its own")
    return imports


def read_promotion(value: object, field: str, *, namespace: str | None) -> PromotionSpec | None:
    """Return `spec.promoteFrom`, None where it is absent; `namespace` is the model's own, where that is known."""
    if value is None:
        return None
    promotion = PromotionSpec.parse(value, field)
    if promotion.namespace == namespace:
        fix = "name another one; a version of this namespace is used where it is"
        raise SpecError(f"{field}.namespace", f"is {namespace!r}, the model's own namespace", fix)
    return promotion


def read_shared_with(value: object, field: str) -> tuple[str, ...]:
    """Return the namespaces of `spec.sharedWith`: exact names, no patterns."""
    return tuple(
        read_text(name, f"{field}[{index}]", at_most=MAX_NAMESPACE, pattern=NAMESPACE)
        for index, name in enumerate(read_list(value, field, at_most=MAX_SHARED))
    )


def _read_metrics(value: object, field: str) -> dict[str, MetricValue]:
    metrics = {}
    for name, number in read_object(value, field, at_most=MAX_METRICS).items():
        metrics[metric_name(name)] = _read_metric(number, f"{field}.{metric_name(name)}")
    return metrics


def _read_metric(value: Any, field: str) -> MetricValue:
    wrong = SpecError(field, f"is {str(value)[:40]!r}", "it must be a number, or one of NaN, Infinity and -Infinity")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise wrong
    try:
        number = decode_metric(value)
        return encode_metric(number if abs(number) < _INT64 else float(number))
    except (ValueError, OverflowError):
        raise wrong from None
