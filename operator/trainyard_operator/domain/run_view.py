"""Everything that planning a TrainingJob may look at, gathered beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trainyard.contract import Report, RunManifest, attempt_folder
from trainyard_operator.domain.admission import Gate
from trainyard_operator.domain.environment import Kept, Preparation, Reading
from trainyard_operator.domain.job import PodSettings
from trainyard_operator.domain.rerun import NotYet, Repeated
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.providers.base import Cluster


@dataclass(frozen=True, kw_only=True)
class ConfigMapSource:
    """The ConfigMap of `spec.source`, looked at before the Job is made; `files` is None where it does not exist.

    `requirements` is the text of the file that `spec.environment.requirements` names.
    """

    files: frozenset[str] | None
    requirements: str | None = None


@dataclass(frozen=True, kw_only=True)
class ArchiveSource:
    """The archive of `spec.source`; `bytes` is None where it does not exist, `sha256` where nobody knows it yet."""

    uri: str
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class SavedRun:
    """The run's manifest in the object store, with the digest of its bytes."""

    manifest: RunManifest
    sha256: str


@dataclass(frozen=True, kw_only=True)
class StoreTrouble:
    """The manifest could not be read; `final` where reading again cannot help."""

    message: str
    final: bool


@dataclass(frozen=True, kw_only=True)
class RunData:
    """Whether a run that is being deleted has data left in the object store, and what keeps it from going."""

    left: bool
    trouble: str = ""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a run's things are in the object store."""

    run_uri: str

    def outputs_uri(self, attempt: int) -> str:
        """Return where the outputs of an attempt are."""
        return f"{self.run_uri}{attempt_folder(attempt)}outputs/"

    def logs_uri(self, attempt: int) -> str:
        """Return where the parts of an attempt's log are."""
        return f"{self.run_uri}{attempt_folder(attempt)}logs/"


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A TrainingJob's surroundings at one moment."""

    settings: PodSettings
    places: Places
    job: Mapping[str, Any] | None = None  # of the latest attempt
    pods: Sequence[Mapping[str, Any]] = ()
    cluster: Mapping[str, Any] | None = None
    machines: Cluster | str = ""  # the cluster, understood, or why it cannot be
    gate: Gate | None = None  # what the cluster's queue says; None where there is no cluster, or it has let the run in
    workload: Mapping[str, Any] | None = None  # what Kueue keeps of the run's Job
    no_kueue: str = ""  # why Kueue cannot be asked, where it cannot
    source: ConfigMapSource | ArchiveSource | None = None
    repeated: Repeated | NotYet | Failure | None = None  # the run of `spec.rerunOf`
    # Of the packages that the run asks for, before it has a Job.
    preparation: Preparation | Kept | Reading | Failure | None = None
    live: Report | None = None  # of the latest attempt
    source_sha256: str | None = None
    source_commit: str | None = None
    saved: SavedRun | StoreTrouble | None = None
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by object name
    store_trouble: str = ""  # why the last step of registering failed
    data: RunData | None = None  # looked at while the object is being deleted
    last_write: datetime | None = None  # of this object's status, by this process
