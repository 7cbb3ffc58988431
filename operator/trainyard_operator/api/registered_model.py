"""The spec of a RegisteredModel, parsed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from trainyard_operator.api.fields import (
    MAX_DESCRIPTION,
    MAX_MODEL_NAME,
    MODEL_NAME,
    SpecError,
    read_object,
    read_optional_text,
    read_tags,
    read_text,
)
from trainyard_operator.api.names import object_name

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class RegisteredModelSpec:
    """What is said of a model as a whole."""

    model_name: str
    description: str | None
    tags: Mapping[str, str]

    @classmethod
    def parse(cls, spec: object, *, name: str | None = None) -> Self:
        """Return what `spec` means.

        Parameters
        ----------
        spec
            The object's spec.
        name
            The object's name. Where it is given, it must be the one that belongs to the model's name: two objects
            that speak of one model would give the same version numbers twice.

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
        )
