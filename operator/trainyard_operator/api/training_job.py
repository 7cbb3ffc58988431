"""The spec of a TrainingJob, parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self

from trainyard.contract import INPUTS_DIR, OUTPUTS, arguments_of
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
    read_tags,
    read_text,
    read_whole,
)
from trainyard_operator.api.names import MAX_LABEL_VALUE
from trainyard_operator.api.quantities import CPU, MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Scalar = str | int | float | bool | None

DEFAULT_EXPERIMENT: Final = "default"
DEFAULT_ENTRY_SCRIPT: Final = "train.py"
EXPERIMENT: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*[A-Za-z0-9]$")
MIN_EXPERIMENT: Final = 3
MAX_EXPERIMENT: Final = 36
MAX_FILE_NAME: Final = 253
MAX_OBJECT_NAME: Final = 253
MAX_INLINE_FILES: Final = 32
MAX_INLINE_BYTES: Final = 512 * 1024
PARAMETER_NAME: Final = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$")
MAX_PARAMETERS: Final = 100
MAX_ARGUMENTS: Final = 100
MAX_ARGUMENT: Final = 4096
INPUT_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
MAX_INPUT_NAME: Final = 63
MAX_INPUTS: Final = 16
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
class InputSpec:
    """One input: what lies at `path` in the namespace's datastore."""

    name: str
    path: str

    @property
    def folder(self) -> str:
        """Where the input is in the pod."""
        return f"{INPUTS_DIR}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One model to register from the run's outputs."""

    name: str
    path: str
    description: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class TrainingJobSpec:
    """What a TrainingJob asks for, with defaults filled in.

    Exactly one of `inline_files` (sizes in bytes by path) and `config_map_name` is given.
    """

    experiment: str
    cluster_name: str | None
    cluster_namespace: str | None
    inline_files: Mapping[str, int] | None
    config_map_name: str | None
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
        inline_files, config_map_name = _read_source(fields.get("source"))
        entry_script = _read_entry_script(fields.get("entryScript"), inline_files)
        inputs = _read_inputs(fields.get("inputs"))
        environment = EnvironmentSpec.parse(fields.get("environment"))
        _check_requirements_file(environment, inline_files)
        resources = read_object(fields.get("resources"), "spec.resources")
        return cls(
            experiment=_read_experiment(fields.get("experiment")),
            cluster_name=_read_reference(fields.get("computeClusterRef"), "spec.computeClusterRef", MAX_LABEL_VALUE),
            cluster_namespace=_read_namespace(fields.get("computeClusterRef")),
            inline_files=inline_files,
            config_map_name=config_map_name,
            entry_script=entry_script,
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


def _read_reference(value: object, field: str, at_most: int) -> str | None:
    if value is None:
        return None
    name = read_object(value, field).get("name")
    return read_text(name, f"{field}.name", at_most=at_most, pattern=OBJECT_NAME)


def _read_namespace(value: object) -> str | None:
    field = "spec.computeClusterRef"
    namespace = read_object(value, field).get("namespace")
    return read_optional_text(namespace, f"{field}.namespace", at_most=MAX_LABEL_VALUE, pattern=OBJECT_NAME)


def _read_source(value: object) -> tuple[Mapping[str, int] | None, str | None]:
    source = read_object(value, "spec.source")
    config_map_name = _read_reference(source.get("configMapRef"), "spec.source.configMapRef", MAX_OBJECT_NAME)
    inline = source.get("inline")
    if (inline is None) == (config_map_name is None):
        raise SpecError("spec.source", "must have exactly one of inline and configMapRef", "remove one, or add one")
    return (None, config_map_name) if inline is None else (_read_inline(inline), None)


def _read_inline(value: object) -> Mapping[str, int]:
    field = "spec.source.inline"
    sizes = {}
    for path, content in read_object(value, field, at_most=MAX_INLINE_FILES).items():
        if read_path(path, f"{field}: a file's name", at_most=MAX_FILE_NAME).endswith("/"):
            raise SpecError(field, f"names a folder, {path!r}", "only files have content; remove the '/' at its end")
        if path == OUTPUTS or path.startswith(f"{OUTPUTS}/"):
            raise SpecError(field, f"has the file {path!r}", f"{OUTPUTS} is for what the script saves; rename it")
        sizes[path] = _read_size(content, f"{field}[{path!r}]")
    if not sizes:
        raise SpecError(field, "is empty", "add the entry script")
    if sum(sizes.values()) > MAX_INLINE_BYTES:
        raise SpecError(field, "has more than 512 KiB of files", "put the code into a ConfigMap")
    _check_no_file_is_a_folder(sizes, field)
    return sizes


def _read_size(content: object, field: str) -> int:
    if isinstance(content, str):
        return len(content.encode(errors="surrogatepass"))
    if isinstance(content, int) and not isinstance(content, bool) and content >= 0:
        return content
    raise SpecError(field, "must be the text of a file", "write the file's text after a '|'")


def _check_no_file_is_a_folder(paths: Iterable[str], field: str) -> None:
    files = set(paths)
    for path in sorted(files):
        folder = path.rpartition("/")[0]
        while folder:
            if folder in files:
                raise SpecError(field, f"has both {folder!r} and {path!r}", "a file cannot be a folder too; rename one")
            folder = folder.rpartition("/")[0]


def _read_entry_script(value: object, inline_files: Mapping[str, int] | None) -> str:
    field = "spec.entryScript"
    script = DEFAULT_ENTRY_SCRIPT if value is None else read_path(value, field, at_most=MAX_FILE_NAME)
    if script.endswith("/") or script.startswith("-"):
        raise SpecError(field, f"is {script!r}", "it must name a file, and not begin with '-'")
    if inline_files is not None and script not in inline_files:
        names = ", ".join(sorted(inline_files))
        raise SpecError(field, f"is {script!r}, which is not in spec.source.inline", f"the files there are {names}")
    if inline_files is None and "/" in script:
        raise SpecError(field, f"is {script!r}", "keys of a ConfigMap have no '/'; give the key alone")
    return script


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


def _read_inputs(value: object) -> tuple[InputSpec, ...]:
    inputs: dict[str, InputSpec] = {}
    for index, item in enumerate(read_list(value, "spec.inputs", at_most=MAX_INPUTS)):
        field = f"spec.inputs[{index}]"
        entry = read_object(item, field)
        name = read_text(entry.get("name"), f"{field}.name", at_most=MAX_INPUT_NAME, pattern=INPUT_NAME)
        if name in inputs:
            raise SpecError(f"{field}.name", f"is {name!r} a second time", "give each input a name of its own")
        datastore = entry.get("datastore")
        if datastore is None:
            raise SpecError(f"{field}.datastore", "is missing", 'add it, for example {path: ""}')
        path = read_object(datastore, f"{field}.datastore").get("path")
        path = read_path("" if path is None else path, f"{field}.datastore.path", at_most=MAX_PATH, empty=True)
        inputs[name] = InputSpec(name=name, path=path)
    return tuple(inputs.values())


def _check_requirements_file(environment: EnvironmentSpec, inline_files: Mapping[str, int] | None) -> None:
    file, field = environment.requirements, "spec.environment.requirements"
    if file is None:
        return
    if inline_files is not None and file not in inline_files:
        names = ", ".join(sorted(inline_files))
        raise SpecError(field, f"is {file!r}, which is not in spec.source.inline", f"the files there are {names}")
    if inline_files is None and "/" in file:
        raise SpecError(field, f"is {file!r}", "keys of a ConfigMap have no '/'; give the key alone")


def _read_amounts(value: object, field: str) -> Mapping[str, str]:
    amounts: dict[str, str] = {}
    given = read_object(value, field)
    for name, pattern in QUANTITIES.items():
        amount: Any = given.get(name)
        if amount is None:
            continue
        text = str(amount) if isinstance(amount, int) and not isinstance(amount, bool) else amount
        amounts[name] = read_text(text, f"{field}.{name}", at_most=MAX_QUANTITY, pattern=pattern)
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
        models[name, path] = ModelSpec(name=name, path=path, description=text, tags=tags)
    return tuple(models.values())
