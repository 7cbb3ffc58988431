"""A run of the cluster, seen from outside: a TrainingJob, and what it has saved."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from trainyard.errors import ConfigError, Conflict, Forbidden, RunFailed, Timeout, TrainyardError
from trainyard.record import check_tags
from trainyard.remote import run_models
from trainyard.remote.api import JsonObject
from trainyard.remote.files import RunFiles, default_target, files_of
from trainyard.remote.following import Printer, pod_log
from trainyard.remote.objects import TRAINING_JOBS
from trainyard.remote.view import (
    PROPERTIES_ANNOTATION,
    TYPE,
    Details,
    command_of,
    details_of,
    experiment_of,
    failure_of,
    has_begun,
    has_ended,
    html_of,
    metrics_of_status,
    note,
    noted,
    number_of_name,
    properties_of,
    reason_of,
    status_of,
    tags_of,
    text_of,
    with_tags,
)

if TYPE_CHECKING:
    from trainyard.remote.experiment import Experiment
    from trainyard.remote.model import Model
    from trainyard.remote.workspace import Workspace

REGISTER_SECONDS: Final = 600.0
_SEALED: Final = (
    "{name}: what a run has is what its script left, sealed with a manifest when it ended. In the script use "
    "Run.get_context().upload_file; from here register it with Model.register(workspace, path, name), or bring it to "
    "the datastore with upload_files"
)


class SubmittedRun:
    """A run that was submitted, by this process or anybody.

    Parameters
    ----------
    experiment
        Its experiment.
    run_id
        Its id: the name of the TrainingJob.

    Raises
    ------
    NotFound
        If there is no such run.
    """

    def __init__(self, experiment: Experiment, run_id: str, *, _job: JsonObject | None = None) -> None:
        self.experiment = experiment
        self._objects = experiment.workspace.objects
        self._job = _job or self._objects.get(TRAINING_JOBS, run_id)

    @staticmethod
    def get(workspace: Workspace, run_id: str) -> SubmittedRun:
        """Return the run of a workspace that has this id, whatever its experiment.

        Parameters
        ----------
        workspace
            The workspace.
        run_id
            The name of the TrainingJob.
        """
        from trainyard.remote.experiment import Experiment

        job = workspace.objects.get(TRAINING_JOBS, run_id)
        return SubmittedRun(Experiment(workspace, experiment_of(job)), run_id, _job=job)

    @property
    def id(self) -> str:
        """The name of the TrainingJob."""
        return str(self._job["metadata"]["name"])

    @property
    def name(self) -> str:
        """The name of the TrainingJob."""
        return self.id

    @property
    def uid(self) -> str:
        """The uid of the TrainingJob, which is the `id` that the script itself sees."""
        return str(self._job["metadata"]["uid"])

    @property
    def number(self) -> int | None:
        """Which run of its experiment it is; None where it was not submitted by an `Experiment`."""
        return number_of_name(self.id)

    @property
    def type(self) -> str:
        """The kind of run."""
        return TYPE

    @property
    def status(self) -> str:
        """The status when it was last looked at, in Azure ML's words; `get_status` looks again."""
        return status_of(self._job)

    @property
    def tags(self) -> dict[str, str]:
        """The tags when they were last looked at."""
        return tags_of(self._job)

    @property
    def properties(self) -> dict[str, str]:
        """What it was made of, and what it was given from outside, when it was last looked at."""
        return properties_of(self._job)

    def refresh(self) -> SubmittedRun:
        """Look at the run again."""
        self._job = self._objects.get(TRAINING_JOBS, self.id)
        return self

    def get_status(self) -> str:
        """Return the status as it is now."""
        return self.refresh().status

    def get_detailed_status(self) -> dict[str, Any]:
        """Return the status as it is now, and why it is that."""
        return {"status": self.get_status(), "details": [reason_of(self._job)]}

    def get_details(self) -> Details:
        """Return what the run is, when it was, and why it failed if it did."""
        self.refresh()
        return details_of(self._job)

    def get_details_with_logs(self) -> Details:
        """Return the same, and under ``logFiles`` what is in the logs that are saved."""
        details = self.get_details()
        details["logFiles"] = self._files().log_texts() if has_begun(self._job) else {}
        return details

    def get_properties(self) -> dict[str, str]:
        """Return what the run was made of, and the properties that it was given, by its script too."""
        self.refresh()
        said = self._files().said("properties") if has_begun(self._job) else {}
        return {**said, **self.properties}

    def add_properties(self, properties: Mapping[str, Any]) -> None:
        """Give the run properties, which can be looked for; one that is there cannot be changed.

        Parameters
        ----------
        properties
            Texts by name.

        Raises
        ------
        Conflict
            If one is there.
        """
        checked = _checked(properties, "properties")

        def change(job: JsonObject) -> dict[str, Any]:
            there = properties_of(job)
            taken = sorted(there.keys() & checked.keys())
            if taken:
                raise Conflict(f"property {taken[0]!r} is {there[taken[0]]!r} already: use a tag for what may change")
            return note(PROPERTIES_ANNOTATION, {**noted(job, PROPERTIES_ANNOTATION), **checked})

        self._job = self._objects.update(TRAINING_JOBS, self.id, change)

    def get_tags(self) -> dict[str, str]:
        """Return the tags as they are now, those of the script among them."""
        return self.refresh().tags

    def tag(self, key: str, value: Any = None) -> None:
        """Set one tag; None is the empty text.

        Parameters
        ----------
        key
            The name of the tag.
        value
            Its text.
        """
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags; one that is there gets the new value.

        Parameters
        ----------
        tags
            Texts by name.
        """
        checked = _checked(tags, "tags")
        self._job = self._objects.update(TRAINING_JOBS, self.id, lambda job: with_tags(job, checked))

    def get_metrics(self, name: str | None = None) -> dict[str, Any]:
        """Return what the script has logged, in the order in which it did.

        A name that was logged once has its value, one that was logged again a list; rows and tables are dictionaries
        of columns. While the run goes on it may be the latest values alone.

        Parameters
        ----------
        name
            The one metric that is wanted.
        """
        self.refresh()
        metrics = self._files().metrics() if has_begun(self._job) else {}
        metrics = {**metrics, **{key: v for key, v in metrics_of_status(self._job).items() if key not in metrics}}
        return metrics if name is None else {key: value for key, value in metrics.items() if key == name}

    def get_file_names(self) -> list[str]:
        """Return the paths of the logs and outputs that are saved."""
        self.refresh()
        return self._files().names() if has_begun(self._job) else []

    def download_file(self, name: str, output_file_path: str | os.PathLike[str] | None = None) -> None:
        """Download one file, to the same path below the current folder where no other place is said.

        Parameters
        ----------
        name
            The path of the file, as `get_file_names` has it.
        output_file_path
            Where to put it.
        """
        self.refresh()
        self._files().download(name, default_target(name, output_file_path))

    def download_files(
        self,
        prefix: str | None = None,
        output_directory: str | os.PathLike[str] | None = None,
        output_paths: Sequence[str | os.PathLike[str]] | None = None,
        *,
        append_prefix: bool = True,
    ) -> list[str]:
        """Download the logs and outputs whose path begins with `prefix`, and return where they are now.

        Parameters
        ----------
        prefix
            What the paths begin with; all by default.
        output_directory
            The folder that they go to, each with its path; the current one by default.
        output_paths
            A place for each file, in the order of `get_file_names`.
        append_prefix
            Whether the path here has `prefix` too, where that is a folder.
        """
        self.refresh()
        folder = Path(output_directory or ".")
        places = None if output_paths is None else [folder / path for path in output_paths]
        found = self._files().download_below(prefix or "", folder, places=places, whole_path=append_prefix)
        return [str(path) for path in found]

    def upload_file(self, name: str, path_or_stream: Any) -> NoReturn:  # noqa: ARG002 - Azure ML's signature
        """Refuse: the files of a run are those that its script has left, and nobody else's.

        Parameters
        ----------
        name
            The path below ``outputs/``.
        path_or_stream
            The file, or something that can be read.

        Raises
        ------
        Forbidden
            Always, with what can be done instead.
        """
        raise Forbidden(_SEALED.format(name=name))

    def upload_files(self, names: Sequence[str], paths: Sequence[Any]) -> NoReturn:  # noqa: ARG002
        """Refuse, as `upload_file` does.

        Parameters
        ----------
        names
            The paths below ``outputs/``.
        paths
            The files, in the same order.
        """
        raise Forbidden(_SEALED.format(name=", ".join(names)))

    def upload_folder(self, name: str, path: Any) -> NoReturn:  # noqa: ARG002
        """Refuse, as `upload_file` does.

        Parameters
        ----------
        name
            The folder below ``outputs/``.
        path
            The folder to send.
        """
        raise Forbidden(_SEALED.format(name=name))

    def get_logs(self) -> str:
        """Return what the script has printed, as far as it is saved: some seconds behind while it runs."""
        self.refresh()
        return self._files().log() if has_begun(self._job) else ""

    def get_all_logs(self, destination: str | os.PathLike[str] | None = None) -> list[str]:
        """Download the logs that are saved to a folder, the current one by default, and return where they are now.

        Parameters
        ----------
        destination
            The folder to put them in.
        """
        return self.download_files("logs/", destination)

    def cancel(self) -> None:
        """Have the run stopped; what it has saved so far is kept."""
        self._job = self._objects.patch(TRAINING_JOBS, self.id, {"spec": {"cancel": True}})

    def wait_for_completion(
        self,
        show_output: bool = False,
        wait_post_processing: bool = False,  # noqa: ARG002 - a run that has Completed has everything saved
        raise_on_error: bool = True,
        *,
        timeout_seconds: float | None = None,
    ) -> Details:
        """Wait until the run has ended, and return its details. An interrupt ends the waiting and not the run.

        Parameters
        ----------
        show_output
            Whether to print why it waits, and its log.
        raise_on_error
            Whether a run that did not complete is an error.
        timeout_seconds
            How long to wait at most.
        wait_post_processing
            Not used: a run that has completed has everything saved.

        Raises
        ------
        RunFailed
            If it did not complete: with the reason and the end of its log.
        Timeout
            If it takes longer.
        """
        printer = self._printer() if show_output else None
        if printer:
            printer.begin()
        try:
            self._follow(printer, timeout_seconds)
        except Timeout:
            raise Timeout(
                f"run {self.id} is {self.status} after {timeout_seconds:g} s; it goes on: wait again, or cancel it"
            ) from None
        except KeyboardInterrupt:
            look = command_of(self._job, "get --watch", local=self.experiment.workspace.is_local)
            print(f"The run goes on. Look at it with: {look}")
            raise
        if printer:
            printer.end(self._job)
        if raise_on_error and self.status != "Completed":
            raise RunFailed(f"run {self.id} is {self.status}. {failure_of(self._job)}")
        return details_of(self._job)

    def register_model(  # noqa: PLR0913 - Azure ML's signature
        self,
        model_name: str,
        model_path: str | None = None,
        tags: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        description: str | None = None,
        *,
        timeout_seconds: float = REGISTER_SECONDS,
    ) -> Model:
        """Register something of the outputs as a model's next version, and wait until it is Ready.

        The same path of the same run under the same name is one version, however often it is registered.

        Parameters
        ----------
        model_name
            The name of the model.
        model_path
            The file or folder among the outputs, ``outputs/model.pkl`` or ``model.pkl``; the model's name by default.
        tags, properties
            Of the version; nobody can change the properties.
        description
            What the version is.
        timeout_seconds
            How long to wait at most.

        Raises
        ------
        ModelPathNotFound
            If the run has saved nothing there: with what may have been meant.
        Timeout
            If it takes longer, as it does while the run goes on; it is registered all the same.
        """
        from trainyard.remote.model import Model

        wish = run_models.wish_of(model_name, model_path, tags=tags, properties=properties, description=description)
        self.refresh()
        if has_ended(self._job):
            run_models.check_there(wish["path"], self._files().names())
        self._job = run_models.wishing(self._objects, self.id, wish)
        self._job, version = run_models.await_version(self._objects, self._job, wish, timeout_seconds)
        return Model(self.experiment.workspace, model_name, version=version)

    def get_children(self, **_filters: Any) -> Iterator[SubmittedRun]:
        """Return no runs, whatever is asked for: a run has no children."""
        return iter(())

    def __repr__(self) -> str:
        return text_of(self._job)

    def _repr_html_(self) -> str:
        return html_of(self._job, local=self.experiment.workspace.is_local)

    def _files(self) -> RunFiles:
        return files_of(self.experiment.workspace, self._job)

    def _printer(self) -> Printer:
        def stored() -> str:
            try:
                return self.get_logs()
            except TrainyardError as error:
                return f"(its log cannot be had: {error})"

        def opened(pod: str) -> Iterator[bytes]:
            return pod_log(self._objects.api, namespace=self._objects.namespace, pod=pod)

        return Printer(self.id, open_log=opened, stored_log=stored)

    def _follow(self, printer: Printer | None, timeout_seconds: float | None) -> None:
        for job in self._objects.watch(TRAINING_JOBS, self.id, timeout=timeout_seconds):
            self._job = job
            if printer:
                printer.show(job)
            if has_ended(job):
                return


def _checked(pairs: Mapping[str, Any], what: str) -> dict[str, str]:
    try:
        return check_tags(pairs, what=what)
    except ValueError as error:
        raise ConfigError(str(error)) from error
