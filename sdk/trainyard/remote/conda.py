"""Packages of conda and pip, as Azure ML lists them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from trainyard.errors import ConfigError

DEFAULT_CHANNELS: Final = ("conda-forge",)
FILE: Final = "conda_dependencies.yml"


class CondaDependencies:
    """What a script needs of conda and of pip.

    Parameters
    ----------
    conda_dependencies_file_path
        A conda file to begin with; nothing by default.
    """

    def __init__(self, conda_dependencies_file_path: str | Path | None = None) -> None:
        self.channels: list[str] = []
        self.conda: list[str] = []
        self.pip: list[str] = []
        if conda_dependencies_file_path is not None:
            self._read(conda_dependencies_file_path)

    @staticmethod
    def create(
        pip_indexurl: str | None = None,
        pip_packages: Sequence[str] | None = None,
        conda_packages: Sequence[str] | None = None,
        python_version: str | None = None,
        pin_sdk_version: bool = True,  # noqa: ARG004 - of Azure ML's own packages, which are left out
    ) -> CondaDependencies:
        """Return the packages.

        Parameters
        ----------
        pip_packages, conda_packages
            Each by name and version.
        python_version
            The Python of the environment; that of the image by default, or what conda's packages need.
        pip_indexurl
            To be left out: the chart says where packages come from.
        pin_sdk_version
            Not used: packages of Azure ML itself are left out.

        Raises
        ------
        ConfigError
            If a place is named where packages come from: whoever runs Trainyard says that.
        """
        if pip_indexurl is not None:
            raise ConfigError("pip_indexurl: whoever runs Trainyard says where packages come from; leave it out")
        made = CondaDependencies()
        if python_version is not None:
            made.add_conda_package(f"python={python_version}")
        for package in conda_packages or ():
            made.add_conda_package(package)
        for package in pip_packages or ():
            made.add_pip_package(package)
        return made

    @property
    def conda_packages(self) -> list[str]:
        """The packages of conda."""
        return list(self.conda)

    @property
    def pip_packages(self) -> list[str]:
        """The packages of pip."""
        return list(self.pip)

    @property
    def conda_channels(self) -> list[str]:
        """Where conda looks, the first one first."""
        return list(self.channels or DEFAULT_CHANNELS)

    def add_conda_package(self, conda_package: str) -> None:
        """Add a package of conda.

        Parameters
        ----------
        conda_package
            The package, with a version or without.
        """
        self.conda.append(_package(conda_package))

    def add_pip_package(self, pip_package: str) -> None:
        """Add a package of pip.

        Parameters
        ----------
        pip_package
            The package, with a version or without.
        """
        self.pip.append(_package(pip_package))

    def remove_conda_package(self, conda_package: str) -> None:
        """Take a package of conda out, as it was added.

        Parameters
        ----------
        conda_package
            The package.
        """
        self.conda = [package for package in self.conda if package != conda_package]

    def remove_pip_package(self, pip_package: str) -> None:
        """Take a package of pip out, as it was added.

        Parameters
        ----------
        pip_package
            The package.
        """
        self.pip = [package for package in self.pip if package != pip_package]

    def add_channel(self, channel: str) -> None:
        """Have conda look in a channel too, after those that were added before.

        Parameters
        ----------
        channel
            Its name or address.
        """
        self.channels.append(_package(channel))

    def serialize_to_string(self) -> str:
        """Return the packages as a conda file has them."""
        import yaml

        dependencies: list[Any] = [*self.conda, *([{"pip": self.pip}] if self.pip else [])]
        return yaml.safe_dump({"channels": self.conda_channels, "dependencies": dependencies}, sort_keys=False)

    def save(self, path: str | Path | None = None) -> str:
        """Write a conda file, and return where it is.

        Parameters
        ----------
        path
            The file; ``conda_dependencies.yml`` where it is None.
        """
        target = Path(path or FILE)
        target.write_text(self.serialize_to_string(), encoding="utf-8")
        return str(target)

    def __repr__(self) -> str:
        return f"CondaDependencies(conda={self.conda}, pip={self.pip}, channels={self.conda_channels})"

    def _read(self, path: str | Path) -> None:
        import yaml

        try:
            document = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise ConfigError(f"the conda file {path} cannot be read: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"the conda file {path} is no YAML: {error}") from error
        if not isinstance(document, dict):
            raise ConfigError(f"the conda file {path} is no mapping: give one with channels and dependencies")
        entries = document.get("dependencies") or []
        self.channels = [channel for channel in document.get("channels") or () if channel != "defaults"]
        self.conda = [entry for entry in entries if isinstance(entry, str)]
        self.pip = [package for entry in entries if isinstance(entry, dict) for package in entry.get("pip") or ()]


def _package(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"a package is {text!r}: give its name, and its version where that matters")
    return text.strip()
