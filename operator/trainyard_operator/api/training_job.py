"""The spec of a TrainingJob, parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self

from trainyard.contract import OUTPUTS, arguments_of
from trainyard_operator.api.environment import EnvironmentSpec
from trainyard_operator.api.fields import (
    MAX_DESCRIPTION,
    MAX_MODEL_NAME,
    MODEL_NAME,
    OBJECT_NAME,
    SpecError,
    read_choice,
    read_flag,
    read_list,
    read_object,
    read_optional_text,
    read_path,
    read_quantity,
    read_reference,
    read_tags,
    read_text,
    read_whole,
)
from trainyard_operator.api.inputs import InputSpec, read_inputs
from trainyard_operator.api.metric_condition import MetricCondition
from trainyard_operator.api.names import MAX_LABEL_VALUE
from trainyard_operator.api.quantities import CPU, MEMORY
from trainyard_operator.api.source import SourceSpec, read_entry_script

if TYPE_CHECKING:
    from collections.abc import Mapping

Scalar = str | int | float | bool | None

DEFAULT_EXPERIMENT: Final = "default"
EXPERIMENT: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*[A-Za-z0-9]$")
MIN_EXPERIMENT: Final = 3
MAX_RUN_NAME: Final = 52
MAX_EXPERIMENT: Final = 36
PARAMETER_NAME: Final = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$")
MAX_PARAMETERS: Final = 100
MAX_ARGUMENTS: Final = 100
MAX_ARGUMENT: Final = 4096
MAX_PATH: Final = 1024
QUANTITIES: Final = {"cpu": CPU, "memory": MEMORY, "ephemeral-storage": MEMORY}
MAX_QUANTITY: Final = 24
MAX_MODELS: Final = 16
MAX_PRIORITY: Final = 1000
MAX_RETRIES: Final = 10
MAX_SECONDS: Final = 31_536_000
DEFAULT_GRACE_SECONDS: Final = 60
MAX_GRACE_SECONDS: Final = 3600

_INPUT_REFERENCE = re.compile(r"\$\(inputs\.([^()]*)\)")


class RunDeletionPolicy(StrEnum):
    """What becomes of a run's data in the object store when its TrainingJob is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model to register from the run's outputs; `when` is what its metrics must be for that."""

    name: str
    path: str
    description: str | None
    tags: Mapping[str, str]
    when: MetricCondition | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingJobSpec:
    """What a TrainingJob asks for, with defaults filled in.

    Exactly one of `source` and `rerun_of`, the name of another run, is given.
    """

    experiment: str
    cluster_name: str | None
    cluster_namespace: str | None
    source: SourceSpec | None
    rerun_of: str | None
    entry_script: str
    parameters: Mapping[str, Scalar]
    arguments: tuple[str, ...]
    inputs: tuple[InputSpec, ...]
    environment: EnvironmentSpec
    requests: Mapping[str, str]
    limits: Mapping[str, str]
    models: tuple[ModelSpec, ...]
    priority: int
    retries: int
    start_timeout: int | None
    run_timeout: int | None
    grace_seconds: int
    ttl: int | None
    deletion_policy: RunDeletionPolicy
    suspend: bool
    cancel: bool

    @property
    def argv(self) -> list[str]:
        """The script's arguments, as the process gets them."""
        folders = {item.name: item.folder for item in self.inputs}
        return arguments_of(dict(self.parameters), list(self.arguments), folders)

    @classmethod
    def parse(cls, spec: object) -> Self:
        """Return what `spec` means.

        The contents of inline files may have been replaced by their sizes.

        Raises
        ------
        SpecError
            If it cannot work.
        """
        fields = read_object(spec, "spec")
        rerun_of = read_optional_text(fields.get("rerunOf"), "spec.rerunOf", at_most=MAX_RUN_NAME, pattern=OBJECT_NAME)
        if (fields.get("source") is None) == (rerun_of is None):
            raise SpecError("spec", "must have exactly one of source and rerunOf", "remove one, or add one")
        source = SourceSpec.parse(fields["source"]) if rerun_of is None else None
        inputs = read_inputs(fields.get("inputs"))
        environment = EnvironmentSpec.parse(fields.get("environment"))
        _check_requirements_file(environment, source)
        resources = read_object(fields.get("resources"), "spec.resources")
        return cls(
            experiment=_read_experiment(fields.get("experiment")),
            cluster_name=read_reference(fields.get("computeClusterRef"), "spec.computeClusterRef", MAX_LABEL_VALUE),
            cluster_namespace=_read_namespace(fields.get("computeClusterRef")),
            source=source,
            rerun_of=rerun_of,
            entry_script=read_entry_script(fields.get("entryScript"), source),
            parameters=_read_parameters(fields.get("parameters")),
            arguments=_read_arguments(fields.get("arguments"), inputs),
            inputs=inputs,
            environment=environment,
            requests=_read_amounts(resources.get("requests"), "spec.resources.requests"),
            limits=_read_amounts(resources.get("limits"), "spec.resources.limits"),
            models=_read_models(fields.get("models")),
            priority=read_whole(
                fields.get("priority"), "spec.priority", at_least=-MAX_PRIORITY, at_most=MAX_PRIORITY, default=0
            ),
            retries=read_whole(fields.get("retries"), "spec.retries", at_most=MAX_RETRIES, default=0),
            start_timeout=_read_seconds(fields.get("startTimeoutSeconds"), "spec.startTimeoutSeconds"),
            run_timeout=_read_seconds(fields.get("runTimeoutSeconds"), "spec.runTimeoutSeconds"),
            grace_seconds=read_whole(
                fields.get("terminationGracePeriodSeconds"),
                "spec.terminationGracePeriodSeconds",
                at_least=1,
                at_most=MAX_GRACE_SECONDS,
                default=DEFAULT_GRACE_SECONDS,
            ),
            ttl=_read_seconds(fields.get("ttlSecondsAfterFinished"), "spec.ttlSecondsAfterFinished", at_least=0),
            deletion_policy=read_choice(
                fields.get("deletionPolicy"), "spec.deletionPolicy", RunDeletionPolicy, RunDeletionPolicy.RETAIN
            ),
            suspend=read_flag(fields.get("suspend"), "spec.suspend"),
            cancel=read_flag(fields.get("cancel"), "spec.cancel"),
        )


def _read_seconds(value: object, field: str, *, at_least: int = 1) -> int | None:
    return None if value is None else read_whole(value, field, at_least=at_least, at_most=MAX_SECONDS, default=0)


def _read_experiment(value: object) -> str:
    if value is None:
        return DEFAULT_EXPERIMENT
    experiment = read_text(value, "spec.experiment", at_most=MAX_EXPERIMENT, pattern=EXPERIMENT)
    if len(experiment) < MIN_EXPERIMENT:
        raise SpecError("spec.experiment", f"is {experiment!r}", f"give it at least {MIN_EXPERIMENT} characters")
    return experiment


def _read_namespace(value: object) -> str | None:
    field = "spec.computeClusterRef"
    namespace = read_object(value, field).get("namespace")
    return read_optional_text(namespace, f"{field}.namespace", at_most=MAX_LABEL_VALUE, pattern=OBJECT_NAME)


def _read_parameters(value: object) -> Mapping[str, Scalar]:
    field = "spec.parameters"
    parameters = read_object(value, field, at_most=MAX_PARAMETERS)
    for name, parameter in parameters.items():
        if PARAMETER_NAME.match(name) is None or name.endswith("\n"):
            fix = "use 1 to 63 letters, digits, '_', '-' and '.', beginning with a letter, a digit or '_'"
            raise SpecError(field, f"has the name {name!r}, which cannot be an option of the script", fix)
        if isinstance(parameter, str):
            read_text(parameter, f"{field}.{name}", at_most=MAX_ARGUMENT)
        elif parameter is not None and not isinstance(parameter, (int, float)):
            raise SpecError(f"{field}.{name}", "is no single value", "give a text, number, boolean or null")
    return parameters


def _read_arguments(value: object, inputs: tuple[InputSpec, ...]) -> tuple[str, ...]:
    known = {item.name for item in inputs}
    arguments = []
    for index, item in enumerate(read_list(value, "spec.arguments", at_most=MAX_ARGUMENTS)):
        field = f"spec.arguments[{index}]"
        argument = read_text(item, field, at_most=MAX_ARGUMENT)
        if "$(inputs." in argument:
            for name in _INPUT_REFERENCE.findall(argument):
                if name not in known:
                    there = f"the inputs are {', '.join(sorted(known))}" if known else "add it to spec.inputs"
                    raise SpecError(field, f"refers to the input {name!r}, which spec.inputs does not have", there)
        arguments.append(argument)
    return tuple(arguments)


def _check_requirements_file(environment: EnvironmentSpec, source: SourceSpec | None) -> None:
    file, field = environment.requirements, "spec.environment.requirements"
    # Without a source the run repeats another one, and gets the packages that that one had.
    if file is None or source is None:
        return
    if source.inline_files is not None and file not in source.inline_files:
        names = ", ".join(sorted(source.inline_files))
        raise SpecError(field, f"is {file!r}, which is not in spec.source.inline", f"the files there are {names}")
    if source.config_map is not None and "/" in file:
        raise SpecError(field, f"is {file!r}", "keys of a ConfigMap have no '/'; give the key alone")


def _read_amounts(value: object, field: str) -> Mapping[str, str]:
    amounts: dict[str, str] = {}
    given = read_object(value, field)
    for name, pattern in QUANTITIES.items():
        amount: Any = given.get(name)
        if amount is None:
            continue
        amounts[name] = read_quantity(amount, f"{field}.{name}", at_most=MAX_QUANTITY, pattern=pattern)
    return amounts


def _read_models(value: object) -> tuple[ModelSpec, ...]:
    models: dict[tuple[str, str], ModelSpec] = {}
    for index, item in enumerate(read_list(value, "spec.models", at_most=MAX_MODELS)):
        field = f"spec.models[{index}]"
        entry = read_object(item, field)
        name = read_text(entry.get("name"), f"{field}.name", at_most=MAX_MODEL_NAME, pattern=MODEL_NAME)
        path = read_path(entry.get("path"), f"{field}.path", at_most=MAX_PATH)
        if path.endswith("/") or not (path == OUTPUTS or path.startswith(f"{OUTPUTS}/")):
            raise SpecError(
                f"{field}.path", f"is {path!r}", "give outputs or a path below it, without a '/' at its end"
            )
        if (name, path) in models:
            raise SpecError(field, f"names {name!r} and {path!r} a second time", "remove one of them")
        text = read_optional_text(entry.get("description"), f"{field}.description", at_most=MAX_DESCRIPTION)
        tags = read_tags(entry.get("tags"), f"{field}.tags")
        when = MetricCondition.parse(entry.get("when"), f"{field}.when")
        models[name, path] = ModelSpec(name=name, path=path, description=text, tags=tags, when=when)
    return tuple(models.values())
