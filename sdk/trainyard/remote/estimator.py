"""What is to be run: a folder, an entry script, its arguments, where, and in which environment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trainyard.errors import ConfigError
from trainyard.remote.conda import DEFAULT_CHANNELS, CondaDependencies
from trainyard.remote.environment import Environment
from trainyard.remote.reference import DataReference
from trainyard.remote.runconfig import RunConfiguration
from trainyard.values import described, number_of

if TYPE_CHECKING:
    from trainyard.remote.compute import ComputeTarget

LOCAL: Final = "local"
_PARAMETER = re.compile(r"--([A-Za-z0-9_][A-Za-z0-9_.-]{0,62})")


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A run as it is described by an `Estimator` or a `ScriptRunConfig`, checked."""

    source_directory: Path
    entry_script: str
    compute_target: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    run_timeout_seconds: int | None = None
    models: list[dict[str, Any]] = field(default_factory=list)

    def spec(self, *, experiment: str, source: Mapping[str, Any]) -> dict[str, Any]:
        """Return the spec of the TrainingJob: nothing in it that goes without saying."""
        spec: dict[str, Any] = {"experiment": experiment, "source": dict(source), "entryScript": self.entry_script}
        if self.compute_target not in {None, LOCAL}:
            spec["computeClusterRef"] = {"name": self.compute_target}
        for name in ("parameters", "arguments", "inputs", "environment", "resources", "models"):
            value = getattr(self, name)
            if value:
                spec[name] = value
        if self.run_timeout_seconds is not None:
            spec["runTimeoutSeconds"] = self.run_timeout_seconds
        return spec


class Estimator:
    """A run in the words of Azure ML's first estimator.

    Parameters
    ----------
    source_directory
        The folder that is sent whole, but for what ``.amlignore`` leaves out; the script starts in it.
    compute_target
        A `ComputeTarget` or its name, or ``local`` for this machine; None for any node of the cluster.
    entry_script
        The script, relative to the folder.
    script_params
        Flags and values, ``{"--regularization": 0.8, "--data-folder": ds.as_mount()}``; an empty text is a flag alone.
    conda_packages, pip_packages, conda_dependencies_file, pip_requirements_file
        What the script needs; the files are relative to the folder.
    custom_docker_image
        The image in place of Trainyard's trainer image.
    environment_variables
        For the script.
    environment_definition
        An `Environment` in place of those.
    inputs
        `DataReference` objects that are no arguments.
    max_run_duration_seconds
        When the run is stopped.
    resources
        ``{"requests": {"cpu": "1"}, "limits": {…}}``; not in Azure ML.
    models
        What to register at the end, as in ``spec.models``; not in Azure ML.
    node_count
        1, as a run is one process on one node.
    process_count_per_node
        1, as a run is one process on one node.
    distributed_backend
        None, for the same reason.
    use_gpu
        False: there are none.
    use_docker
        True: every run is a container.
    conda_channels
        Where conda packages come from.
    conda_dependencies_file_path
        The same as `conda_dependencies_file`, by an earlier name.
    pip_requirements_file_path
        The same as `pip_requirements_file`, by an earlier name.

    Raises
    ------
    ConfigError
        If an argument cannot be used, or asks for what Trainyard does not do.
    """

    def __init__(  # noqa: PLR0913 - Azure ML's signature
        self,
        source_directory: str | Path,
        *,
        compute_target: ComputeTarget | str | None = None,
        entry_script: str | None = None,
        script_params: Mapping[str, Any] | None = None,
        node_count: int = 1,
        process_count_per_node: int = 1,
        distributed_backend: str | None = None,
        use_gpu: bool = False,
        use_docker: bool = True,
        custom_docker_image: str | None = None,
        conda_packages: Sequence[str] | None = None,
        conda_channels: Sequence[str] | None = None,
        pip_packages: Sequence[str] | None = None,
        conda_dependencies_file: str | None = None,
        pip_requirements_file: str | None = None,
        conda_dependencies_file_path: str | None = None,
        pip_requirements_file_path: str | None = None,
        environment_variables: Mapping[str, Any] | None = None,
        environment_definition: Environment | None = None,
        inputs: Sequence[DataReference] | None = None,
        max_run_duration_seconds: int | None = None,
        resources: Mapping[str, Any] | None = None,
        models: Sequence[Mapping[str, Any]] | None = None,
        **unknown: Any,
    ) -> None:
        _refuse_unknown(unknown)
        _refuse_many(node_count=node_count, process_count_per_node=process_count_per_node, backend=distributed_backend)
        if use_gpu:
            raise ConfigError("use_gpu: Trainyard's pools have CPUs alone; leave it out")
        if not use_docker:
            raise ConfigError("use_docker=False: runs are containers; leave it out")
        environment = environment_definition or Environment(
            pip_packages=pip_packages or (),
            conda_packages=conda_packages or (),
            conda_channels=conda_channels or DEFAULT_CHANNELS,
            requirements=pip_requirements_file or pip_requirements_file_path,
            image=custom_docker_image,
            environment_variables=environment_variables,
        )
        conda_file = conda_dependencies_file or conda_dependencies_file_path
        if conda_file and environment_definition:
            raise ConfigError("environment_definition has the packages: leave conda_dependencies_file out")
        if conda_file:
            _add_file(environment, Path(source_directory) / conda_file)
        parameters, arguments, references = split_params(script_params or {})
        self.definition = Definition(
            source_directory=Path(source_directory),
            entry_script=entry_script or "train.py",
            compute_target=target_name(compute_target),
            parameters=parameters,
            arguments=arguments,
            inputs=inputs_of([*references, *(inputs or ())]),
            environment=environment.to_spec(),
            resources=dict(resources or {}),
            run_timeout_seconds=max_run_duration_seconds,
            models=[dict(model) for model in models or ()],
        )


class ScriptRunConfig:
    """A run in the words of Azure ML's later configuration.

    Parameters
    ----------
    source_directory
        The folder that is sent whole, but for what ``.amlignore`` leaves out; the script starts in it.
    script
        The entry script, relative to the folder.
    arguments
        What it is called with, in this order; `DataReference` objects become the folder of an input.
    compute_target
        A `ComputeTarget` or its name, or ``local`` for this machine; None for any node of the cluster.
    run_config
        A `RunConfiguration`, where target and environment may be; until it is submitted, the attribute may be changed.
    environment
        What the script needs.
    max_run_duration_seconds
        When the run is stopped.
    resources
        ``spec.resources``: requests and limits.
    models
        ``spec.models``: what to register when it has completed.
    """

    def __init__(  # noqa: PLR0913 - Azure ML's signature
        self,
        source_directory: str | Path,
        script: str | None = None,
        arguments: Sequence[Any] | None = None,
        run_config: RunConfiguration | None = None,
        *,
        compute_target: ComputeTarget | str | None = None,
        environment: Environment | None = None,
        max_run_duration_seconds: int | None = None,
        resources: Mapping[str, Any] | None = None,
        models: Sequence[Mapping[str, Any]] | None = None,
        **unknown: Any,
    ) -> None:
        _refuse_unknown(unknown)
        self.source_directory = source_directory
        self.script = script or "train.py"
        self.arguments = list(arguments or ())
        self.run_config = run_config or RunConfiguration()
        if compute_target is not None:
            self.run_config.target = compute_target
        if environment is not None:
            self.run_config.environment = environment
        self._max_run_duration_seconds = max_run_duration_seconds
        self._resources = dict(resources or {})
        self._models = [dict(model) for model in models or ()]
        self.definition  # noqa: B018 - complains where the mistake is

    @property
    def definition(self) -> Definition:
        """The run as it is described by now: `run_config` may be changed until it is submitted."""
        configured = self.run_config.data_references.values()
        named = [value for value in self.arguments if isinstance(value, DataReference)]
        return Definition(
            source_directory=Path(self.source_directory),
            entry_script=self.script,
            compute_target=target_name(self.run_config.target),
            arguments=[_text(value, "an argument") for value in self.arguments],
            inputs=inputs_of([*named, *configured]),
            environment=self.run_config.environment.to_spec(),
            resources=self._resources,
            run_timeout_seconds=self._max_run_duration_seconds,
            models=self._models,
        )


def split_params(params: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[DataReference]]:
    """Return what of ``script_params`` are parameters of the run, what further arguments, and the data among them.

    A number or text of a flag ``--name`` is a parameter, which `kubectl` shows and a rerun can change; all else keeps
    its order among the arguments.
    """
    parameters: dict[str, Any] = {}
    arguments: list[str] = []
    references: list[DataReference] = []
    for flag, value in params.items():
        if not isinstance(flag, str) or not flag:
            raise ConfigError(f"script_params has the key {flag!r}: give a flag such as --regularization")
        named = _PARAMETER.fullmatch(flag)
        if isinstance(value, DataReference):
            references.append(value)
            arguments += [flag, str(value)]
        elif value is None or value == "":
            arguments.append(flag)
        elif named is not None and not isinstance(value, bool):
            parameters[named[1]] = value if isinstance(value, str) else _number(value, flag)
        else:
            arguments += [flag, _text(value, flag)]
    return parameters, arguments, references


def inputs_of(references: Sequence[DataReference]) -> list[dict[str, Any]]:
    """Return ``spec.inputs``: each name once.

    Raises
    ------
    ConfigError
        If one name stands for two places.
    """
    found: dict[str, dict[str, Any]] = {}
    for reference in references:
        if not isinstance(reference, DataReference):
            raise ConfigError(f"inputs has something {described(reference)}: give ds.path(…).as_mount()")
        entry = reference.to_input()
        if found.setdefault(entry["name"], entry) != entry:
            raise ConfigError(f"two inputs are called {entry['name']}: give one of them a data_reference_name")
    return list(found.values())


def _add_file(environment: Environment, path: Path) -> None:
    found = CondaDependencies(path)
    packages = environment.python.conda_dependencies
    packages.channels = found.conda_channels
    packages.conda = [*found.conda_packages, *packages.conda]
    packages.pip = [*found.pip_packages, *packages.pip]


def target_name(target: ComputeTarget | str | None) -> str | None:
    """Return the name of the ComputeCluster, `LOCAL` for this machine, or None for any node."""
    return target if target is None or isinstance(target, str) else target.name


def _text(value: Any, what: str) -> str:
    if isinstance(value, (str, DataReference, bool)):
        return str(value)
    return str(_number(value, what))


def _number(value: Any, what: str) -> float:
    try:
        return number_of(value, what=what)
    except TypeError as error:
        raise ConfigError(f"{what} is {described(value)}: give a text, a number or ds.as_mount()") from error


def _refuse_unknown(unknown: Mapping[str, Any]) -> None:
    given = sorted(name for name, value in unknown.items() if value is not None)
    if given:
        raise ConfigError(f"{', '.join(given)}: Trainyard has no such argument; leave it out")


def _refuse_many(*, node_count: int, process_count_per_node: int, backend: str | None) -> None:
    if node_count != 1 or process_count_per_node != 1 or backend is not None:
        raise ConfigError(
            "node_count, process_count_per_node, distributed_backend: a run is one process on one node; leave them out"
        )
