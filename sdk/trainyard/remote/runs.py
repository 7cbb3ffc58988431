"""Runs by their names alone: found, listed, created from a document, and repeated."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trainyard.errors import ConfigError, NotFound
from trainyard.record import check_tags
from trainyard.remote import snapshot
from trainyard.remote.api import JsonObject
from trainyard.remote.experiment import Experiment, training_job
from trainyard.remote.objects import API_VERSION, TRAINING_JOBS
from trainyard.remote.submitted import SubmittedRun
from trainyard.remote.view import experiment_of, near, number_of_name, with_tags

if TYPE_CHECKING:
    from trainyard.remote.workspace import Workspace

# What `spec.rerunOf` does not take over by itself.
_KEPT: Final = (
    "experiment", "computeClusterRef", "priority", "retries", "startTimeoutSeconds", "runTimeoutSeconds",
    "terminationGracePeriodSeconds", "ttlSecondsAfterFinished", "deletionPolicy", "models",
)  # fmt: skip
_TRANSIENT: Final = frozenset({"cancel", "suspend"})


def find(workspace: Workspace, name: str) -> SubmittedRun:
    """Return a run by its name.

    Raises
    ------
    NotFound
        If there is none: with what may have been meant.
    """
    job = _get(workspace, name)
    return SubmittedRun(Experiment(workspace, experiment_of(job)), name, _job=job)


def listed(
    workspace: Workspace, *, experiment: str | None = None, statuses: Collection[str] = (), limit: int | None = None
) -> list[JsonObject]:
    """Return TrainingJobs, newest first.

    Parameters
    ----------
    experiment
        Those of one experiment alone.
    statuses
        Those in one of these phases alone, in any case.
    limit
        So many at most.
    """
    wanted = {status.lower() for status in statuses}

    def fits(job: JsonObject) -> bool:
        phase = str((job.get("status") or {}).get("phase", "Pending")).lower()
        return (experiment is None or experiment_of(job) == experiment) and (not wanted or phase in wanted)

    jobs = sorted(filter(fits, workspace.objects.list(TRAINING_JOBS)), key=_age, reverse=True)
    return jobs[:limit]


def create(
    workspace: Workspace, document: object, *, source: Path | None = None, tags: Mapping[str, Any] | None = None
) -> JsonObject:
    """Create the run that a document describes, and return it; one without a name gets a number of its experiment.

    Parameters
    ----------
    document
        A TrainingJob.
    source
        A folder that is packed and sent, in the place of what the document has as `spec.source`.
    tags
        Tags of the run.

    Raises
    ------
    ConfigError
        If the document is something else, or of another namespace.
    Invalid
        If the API server finds something wrong with it, in its words.
    """
    job = checked(document, namespace=workspace.name)
    if source is not None:
        taken = snapshot.take(source)
        snapshot.keep(taken, workspace.gateway)
        job["spec"]["source"] = taken.source()
    if tags:
        try:
            change = with_tags(job, check_tags(tags, what="tags"))
        except ValueError as error:
            raise ConfigError(str(error)) from error
        job["metadata"].setdefault("annotations", {}).update(change["metadata"]["annotations"])
    metadata = job["metadata"]
    if metadata.get("name") or metadata.get("generateName"):
        return workspace.objects.create(TRAINING_JOBS, job)
    return _numbered(workspace, job)


def checked(document: object, *, namespace: str) -> JsonObject:
    """Return a copy of a TrainingJob that can be created in a namespace.

    Raises
    ------
    ConfigError
        If it is none, or of another namespace.
    """
    kind = document.get("kind") if isinstance(document, dict) else type(document).__name__
    if not isinstance(document, dict) or (document.get("apiVersion"), kind) != (API_VERSION, "TrainingJob"):
        raise ConfigError(f"the document is a {kind}: give a TrainingJob of {API_VERSION}; kubectl applies other kinds")
    job: JsonObject = copy.deepcopy(document)
    if not isinstance(job.get("spec"), dict):
        raise ConfigError("the TrainingJob has no spec: give at least spec.source")
    metadata = job.setdefault("metadata", {})
    if metadata.setdefault("namespace", namespace) != namespace:
        raise ConfigError(f"the TrainingJob is of namespace {metadata['namespace']}, and {namespace} is worked in")
    return job


def rerun(
    workspace: Workspace,
    name: str,
    *,
    new_name: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    models: bool = True,
) -> JsonObject:
    """Have a run repeated, and return the new one.

    Without parameters everything is as it was: the frozen code, the words of the command, the packages and the image.
    With parameters it is another run of what the first one's spec says.

    Parameters
    ----------
    new_name
        What it is called; by default it gets the next number of its experiment.
    parameters
        Parameters that are to be other ones.
    models
        Whether to register what the first one was to register.
    """
    spec = _get(workspace, name)["spec"]
    if parameters:
        if "rerunOf" in spec:
            raise ConfigError(f"{name} repeats {spec['rerunOf']}: give that one other parameters")
        again = {key: value for key, value in spec.items() if key not in _TRANSIENT}
        again["parameters"] = {**again.get("parameters", {}), **parameters}
    else:
        again = {"rerunOf": name, **{key: spec[key] for key in _KEPT if key in spec}}
    if not models:
        again.pop("models", None)
    job = training_job(again, experiment=spec.get("experiment", "default"), tags={})
    if new_name is None:
        return _numbered(workspace, job)
    job["metadata"]["name"] = new_name
    return workspace.objects.create(TRAINING_JOBS, job)


def _get(workspace: Workspace, name: str) -> JsonObject:
    try:
        return workspace.objects.get(TRAINING_JOBS, name)
    except NotFound as error:
        names = list(workspace.objects.names(TRAINING_JOBS))
        raise NotFound(f"no run {name} in namespace {workspace.name}: {near(name, names)}") from error


def _numbered(workspace: Workspace, job: JsonObject) -> JsonObject:
    experiment = Experiment(workspace, experiment_of(job))
    return experiment._create(job)  # noqa: SLF001 - the one place that numbers runs


def _age(job: Mapping[str, Any]) -> tuple[str, int, str]:
    metadata = job["metadata"]
    return metadata["creationTimestamp"], number_of_name(metadata["name"]) or 0, metadata["name"]
