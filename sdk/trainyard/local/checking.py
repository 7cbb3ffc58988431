"""What of a TrainingJob a single machine can do: the operator's own checks, and what needs a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trainyard.errors import Invalid
from trainyard_operator.api.environment import KeyReference
from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.training_job import TrainingJobSpec

# Fields that mean something to schedulers, kubelets and the clock of a cluster alone.
WITHOUT_EFFECT: Final = ("computeClusterRef", "priority", "resources", "ttlSecondsAfterFinished")


def parse(spec: object) -> TrainingJobSpec:
    """Return what `spec` means.

    Raises
    ------
    Invalid
        In the operator's words, if it cannot work anywhere, or in this module's if it cannot without a cluster.
    """
    try:
        parsed = TrainingJobSpec.parse(spec)
    except SpecError as error:
        raise Invalid(str(error)) from error
    for field, fix in _impossible(parsed):
        raise Invalid(f"{field} cannot be had without a cluster: {fix}")
    return parsed


def without_effect(spec: Mapping[str, Any]) -> str:
    """Return a line about the fields that change nothing here, or the empty string."""
    fields = [f"spec.{name}" for name in WITHOUT_EFFECT if spec.get(name) is not None]
    if (spec.get("environment") or {}).get("image"):
        fields.append("spec.environment.image")
    if not fields:
        return ""
    return f"Without a cluster {', '.join(fields)} {'has' if len(fields) == 1 else 'have'} no effect."


def _impossible(spec: TrainingJobSpec) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    source = spec.source
    if source is not None and source.config_map is not None:
        found.append(("spec.source.configMapRef", "give the folder with the code, or use spec.source.inline"))
    if source is not None and source.git is not None and source.git.secret is not None:
        found.append(("spec.source.git.secretRef", "clone the repository, and give its folder as the source"))
    for index, entry in enumerate(spec.inputs):
        field, fix = f"spec.inputs[{index}]", "put the files into the local datastore, and name them as datastore.path"
        if entry.claim is not None:
            found.append((f"{field}.pvc", fix))
        if entry.s3 is not None and entry.s3.secret is not None:
            found.append((f"{field}.s3.secretRef", fix))
    if spec.environment.conda is not None:
        found.append(("spec.environment.conda", "start from a Python that has the packages, or name them in pip"))
    for name, value in spec.environment.variables.items():
        if isinstance(value, KeyReference):
            field = f"spec.environment.variables: {value.source} of {name}"
            found.append((field, "give its value, or set the variable before the run starts and leave it out here"))
    if spec.suspend:
        found.append(("spec.suspend", "remove it: nobody else would set the run going"))
    return found
