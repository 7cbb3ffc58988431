"""What a script needs beside the trainer image, in the words of Azure ML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from trainyard.errors import ConfigError
from trainyard.remote.conda import DEFAULT_CHANNELS, CondaDependencies
from trainyard.remote.settings import Settings

if TYPE_CHECKING:
    from trainyard.remote.workspace import Workspace

# Azure ML's own packages, which are nothing that a script needs here.
_AZUREML = re.compile(r"azureml\b")


class PythonSection(Settings):
    """``environment.python``: the packages, and whether those of the image do without them."""

    what: ClassVar = "environment.python's settings"
    known: ClassVar = frozenset({"conda_dependencies", "user_managed_dependencies"})

    def __init__(self, conda_dependencies: CondaDependencies) -> None:
        self.conda_dependencies = conda_dependencies
        self.user_managed_dependencies = False


class DockerSection(Settings):
    """``environment.docker``: the image; None for Trainyard's trainer image."""

    what: ClassVar = "environment.docker's settings"
    known: ClassVar = frozenset({"base_image", "enabled"})

    def __init__(self, base_image: str | None) -> None:
        self.base_image = base_image
        self.enabled = True


class Environment:
    """Packages, an image and variables; each run that uses it has them in its own spec.

    ``environment.python.conda_dependencies`` and ``environment.docker.base_image`` can be set, as in Azure ML.

    Parameters
    ----------
    name
        What people call it, and what `register` keeps it under.
    pip_packages
        Packages for pip.
    conda_packages
        Packages for conda.
    conda_channels
        Where conda packages come from.
    requirements
        A requirements file of the source folder.
    image
        The image; Trainyard's trainer image where it is None.
    environment_variables
        Texts by name.
    """

    def __init__(  # noqa: PLR0913 - all but the first by name, and most of them rarely
        self,
        name: str = "default",
        *,
        pip_packages: Sequence[str] = (),
        conda_packages: Sequence[str] = (),
        conda_channels: Sequence[str] = DEFAULT_CHANNELS,
        requirements: str | None = None,
        image: str | None = None,
        environment_variables: Mapping[str, Any] | None = None,
    ) -> None:
        packages = CondaDependencies.create(pip_packages=pip_packages, conda_packages=conda_packages)
        packages.channels = list(conda_channels)
        self.name = name
        self.version: str | None = None
        self.python = PythonSection(packages)
        self.docker = DockerSection(image)
        self.requirements = requirements
        self.environment_variables = dict(environment_variables or {})

    @staticmethod
    def from_pip_requirements(name: str, file_path: str | Path) -> Environment:
        """Return the environment of a file of requirements, read now.

        Parameters
        ----------
        name
            What people call it.
        file_path
            The file.
        """
        try:
            lines = Path(file_path).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ConfigError(f"the file of requirements {file_path} cannot be read: {error.strerror}") from error
        packages = [line.split(" #", 1)[0].strip() for line in lines]
        return Environment(name, pip_packages=[line for line in packages if line and not line.startswith("#")])

    @staticmethod
    def from_conda_specification(name: str, file_path: str | Path) -> Environment:
        """Return the environment of a conda file: its channels, its dependencies and those of pip among them.

        Parameters
        ----------
        name
            What people call it.
        file_path
            The file.
        """
        made = Environment(name)
        made.python.conda_dependencies = CondaDependencies(file_path)
        return made

    @staticmethod
    def get(workspace: Workspace, name: str, version: str | int | None = None) -> Environment:
        """Return an environment that somebody has registered; its newest version where none is said.

        Parameters
        ----------
        workspace
            The workspace.
        name
            Its name.
        version
            Its version; the newest where it is None.

        Raises
        ------
        NotFound
            If there is none: with those that there are.
        """
        from trainyard.remote.environments import get

        return get(workspace, name, version)

    @staticmethod
    def list(workspace: Workspace) -> dict[str, Environment]:
        """Return the newest version of each registered environment by its name.

        Parameters
        ----------
        workspace
            The workspace.
        """
        from trainyard.remote.environments import newest

        return newest(workspace)

    def register(self, workspace: Workspace) -> Environment:
        """Keep the environment in the workspace's datastore, for others to get by its name, and return it.

        What has not changed since its newest version stays that version.

        Parameters
        ----------
        workspace
            The workspace.
        """
        from trainyard.remote.environments import register

        return register(workspace, self)

    def to_spec(self) -> dict[str, Any]:
        """Return what ``spec.environment`` is; nothing where nothing was asked for."""
        if not self.docker.enabled:
            raise ConfigError("environment.docker.enabled is False: runs are containers; leave it out")
        spec: dict[str, Any] = {}
        if self.docker.base_image:
            spec["image"] = self.docker.base_image
        if not self.python.user_managed_dependencies:
            spec.update(_packages(self.python.conda_dependencies))
        if self.requirements:
            spec["requirements"] = self.requirements
        if self.environment_variables:
            items = self.environment_variables.items()
            spec["variables"] = [{"name": name, "value": str(value)} for name, value in items]
        return spec

    def __repr__(self) -> str:
        return f"Environment({self.name!r}: {self.to_spec()})"


def _packages(dependencies: Any) -> dict[str, Any]:
    if not isinstance(dependencies, CondaDependencies):
        raise ConfigError(
            f"environment.python.conda_dependencies is a {type(dependencies).__name__}: give what "
            "CondaDependencies.create(…) returns"
        )
    spec: dict[str, Any] = {}
    pip = [package for package in dependencies.pip_packages if not _AZUREML.match(package)]
    # Conda files list pip itself, which every environment has; alone it must not make one of its own.
    conda = [package for package in dependencies.conda_packages if package != "pip"]
    if pip:
        spec["pip"] = pip
    if conda:
        spec["conda"] = {"channels": dependencies.conda_channels, "packages": conda}
    return spec
