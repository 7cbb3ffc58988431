"""What is known of an environment beside what it is: its build, and what the build left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainyard_operator.api.environment import Environment
from trainyard_operator.domain.environment_build import BuildSettings


@dataclass(frozen=True, kw_only=True)
class Pack:
    """The packages of an environment in one file, as its build saved them below the environment's folder."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class EnvironmentRecord:
    """What the operator wrote down of an environment that can be used; without a pack its image has all packages."""

    hash: str
    pack: Pack | None


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The packages of the run that is repeated, which its repetition gets as they are."""

    record: EnvironmentRecord
    logs_uri: str = ""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A source in which a pod has to read first which packages the run needs.

    Attributes
    ----------
    by
        Another run that reads the same file of the same archive now, or the empty string.
    """

    file: str
    settings: BuildSettings
    job: Mapping[str, Any] | None = None
    pods: Sequence[Mapping[str, Any]] = ()
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How far the environment of a run is.

    Attributes
    ----------
    said
        The newest words of the build's pod.
    unusable
        Why what a finished build left cannot be used, or the empty string.
    logs_uri
        Where the logs of builds are; empty where there has never been a need for one.
    """

    environment: Environment
    settings: BuildSettings
    record: EnvironmentRecord | None = None
    job: Mapping[str, Any] | None = None
    pods: Sequence[Mapping[str, Any]] = ()
    said: str = ""
    unusable: str = ""
    logs_uri: str = ""
