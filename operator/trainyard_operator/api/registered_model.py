"""The spec of a RegisteredModel, parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from trainyard_operator.api.fields import (
    MAX_DESCRIPTION,
    MAX_MODEL_NAME,
    MODEL_NAME,
    SpecError,
    read_object,
    read_optional_text,
    read_tags,
    read_text,
    read_whole,
)
from trainyard_operator.api.model_keeping import KeepingSpec
from trainyard_operator.api.model_sources import (
    ImportSpec,
    PromotionSpec,
    read_imports,
    read_promotion,
    read_shared_with,
)
from trainyard_operator.api.names import object_name

if TYPE_CHECKING:
    from collections.abc import Mapping

ALIAS: Final = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")
MAX_ALIASES: Final = 32
MAX_ALIAS: Final = 63
MAX_VERSION: Final = 2**53 - 1
_NUMBER = re.compile(r"[0-9.]+")


MAX_REQUEST: Final = 256
REQUEST: Final = re.compile(r"^[^\x00-\x1f\x7f]+$")
MAX_EVERY_HOURS: Final = 8760


@dataclass(frozen=True, kw_only=True)
class VerificationSpec:
    """When the versions' files are compared with their manifests; 0 hours is no schedule."""

    request: str | None = None
    every_hours: int = 0

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return what `spec.verification` means, and raise a `SpecError` if it cannot work."""
        fields = read_object(value, "spec.verification")
        hours, field = fields.get("everyHours"), "spec.verification.everyHours"
        return cls(
            request=read_optional_text(
                fields.get("request"), "spec.verification.request", at_most=MAX_REQUEST, pattern=REQUEST
            ),
            every_hours=read_whole(hours, field, at_least=1, at_most=MAX_EVERY_HOURS, default=0),
        )


@dataclass(frozen=True, kw_only=True)
class RegisteredModelSpec:
    """What is said of a model as a whole; `aliases` are the numbers of the versions that names are to mean."""

    model_name: str
    description: str | None
    tags: Mapping[str, str]
    aliases: Mapping[str, int]
    imports: tuple[ImportSpec, ...] = ()
    promote_from: PromotionSpec | None = None
    shared_with: tuple[str, ...] = ()
    verification: VerificationSpec = VerificationSpec()
    keeping: KeepingSpec = field(default_factory=KeepingSpec)

    @classmethod
    def parse(cls, spec: object, *, name: str | None = None, namespace: str | None = None) -> Self:
        """Return what `spec` means.

        Parameters
        ----------
        spec
            The object's spec.
        name
            The object's name. Where it is given, it must be the one that belongs to the model's name: two objects
            that speak of one model would give the same version numbers twice.
        namespace
            The object's namespace. Where it is given, nothing can be promoted from there.

        Raises
        ------
        SpecError
            If it cannot work.
        """
        fields = read_object(spec, "spec")
        model = read_text(fields.get("modelName"), "spec.modelName", at_most=MAX_MODEL_NAME, pattern=MODEL_NAME)
        if name is not None and name != object_name(model):
            fix = f"create it under the name {object_name(model)} and delete this one"
            raise SpecError("metadata.name", f"is {name!r}, which is not the object of the model {model!r}", fix)
        return cls(
            model_name=model,
            description=read_optional_text(fields.get("description"), "spec.description", at_most=MAX_DESCRIPTION),
            tags=read_tags(fields.get("tags"), "spec.tags"),
            aliases=_read_aliases(fields.get("aliases")),
            imports=read_imports(fields.get("imports"), "spec.imports"),
            promote_from=read_promotion(fields.get("promoteFrom"), "spec.promoteFrom", namespace=namespace),
            shared_with=read_shared_with(fields.get("sharedWith"), "spec.sharedWith"),
            verification=VerificationSpec.parse(fields.get("verification")),
            keeping=KeepingSpec.parse(fields),
        )


def _read_aliases(value: object) -> Mapping[str, int]:
    field = "spec.aliases"
    aliases = {}
    for name, version in read_object(value, field, at_most=MAX_ALIASES).items():
        read_text(name, f"{field}: the name", at_most=MAX_ALIAS, pattern=ALIAS)
        if name == "latest" or _NUMBER.fullmatch(name):
            raise SpecError(field, f"has the name {name!r}, which means a version by itself", "rename the alias")
        if version is None:
            raise SpecError(f"{field}.{name}", "names no version", "give a version's number, or remove the alias")
        aliases[name] = read_whole(version, f"{field}.{name}", at_least=1, at_most=MAX_VERSION, default=1)
    return aliases
