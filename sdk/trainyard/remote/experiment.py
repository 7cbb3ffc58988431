"""An experiment: a name that runs have in common."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from trainyard.errors import ConfigError, Conflict
from trainyard.record import check_tags
from trainyard.remote import snapshot
from trainyard.remote.api import JsonObject
from trainyard.remote.estimator import LOCAL, Definition, Estimator, ScriptRunConfig
from trainyard.remote.objects import API_VERSION, TRAINING_JOBS
from trainyard.remote.submitted import SubmittedRun
from trainyard.remote.view import (
    EXPERIMENT_LABEL,
    experiment_of,
    html_table,
    matches,
    next_name,
    number_of_name,
    stem_of,
    with_tags,
)

if TYPE_CHECKING:
    from trainyard.remote.workspace import Workspace

NAME_TRIES: Final = 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,34}[A-Za-z0-9]")


class Experiment:
    """The runs of one name in a workspace; there is nothing to create.

    Parameters
    ----------
    workspace
        The workspace.
    name
        3 to 36 letters, digits, ``_`` and ``-``, with a letter or digit at both ends.
    """

    def __init__(self, workspace: Workspace, name: str) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(
                f"the experiment's name is {name!r}: give 3 to 36 letters, digits, '_' and '-', with a letter or digit "
                "at both ends"
            )
        self.workspace = workspace
        self.name = name

    @staticmethod
    def list(workspace: Workspace) -> list[Experiment]:
        """Return the experiments that have a run, by name.

        Parameters
        ----------
        workspace
            The workspace.
        """
        names = {experiment_of(job) for job in workspace.objects.list(TRAINING_JOBS)}
        return [Experiment(workspace, name) for name in sorted(names)]

    def submit(
        self,
        config: Estimator | ScriptRunConfig,
        tags: Mapping[str, Any] | None = None,
        *,
        show_output: bool = False,
    ) -> SubmittedRun:
        """Send the source folder, create the TrainingJob, and return the run at once.

        Parameters
        ----------
        config
            What to run.
        tags
            Tags of the run.
        show_output
            Whether to wait until it has ended, and print its log.

        Raises
        ------
        SnapshotError
            If the folder is too large.
        Invalid
            If the API server finds something wrong with the TrainingJob, in its words.
        """
        if not isinstance(config, (Estimator, ScriptRunConfig)):
            raise ConfigError(f"config is a {type(config).__name__}: give an Estimator or a ScriptRunConfig")
        definition = config.definition
        if definition.compute_target == LOCAL and not self.workspace.is_local:
            return self._here(definition.inputs).submit(config, tags, show_output=show_output)
        taken = snapshot.take(definition.source_directory)
        _require_script(definition)
        snapshot.keep(taken, self.workspace.gateway)
        try:
            checked = check_tags(tags or {}, what="tags")
        except ValueError as error:
            raise ConfigError(str(error)) from error
        spec = definition.spec(experiment=self.name, source=taken.source())
        if self.workspace.is_local:
            _say_what_has_no_effect(spec)
        job = self._create(training_job(spec, experiment=self.name, tags=checked))
        run = SubmittedRun(self, job["metadata"]["name"], _job=job)
        if show_output:
            run.wait_for_completion(show_output=True)
        return run

    def get_runs(
        self,
        type: str | None = None,  # noqa: A002 - Azure ML's signature
        tags: str | Mapping[str, Any] | None = None,
        properties: str | Mapping[str, Any] | None = None,
        include_children: bool = False,  # noqa: ARG002 - there are none
        *,
        status: str | None = None,
    ) -> Iterator[SubmittedRun]:
        """Yield the runs, newest first, as they are when the first one is asked for.

        Parameters
        ----------
        type
            The kind of run; there is one.
        tags
            The name of a tag that they must have, or tags with their values.
        properties
            The same for properties; those that a script gives its run are not looked at.
        include_children
            Makes no difference: runs have no children.
        status
            The status that they must have.
        """
        found = self.workspace.objects.list(TRAINING_JOBS, field_selector=f"spec.experiment={self.name}")
        jobs = [job for job in found if matches(job, self.name, tags, properties=properties, status=status, type=type)]
        for job in sorted(jobs, key=_age, reverse=True):
            yield SubmittedRun(self, job["metadata"]["name"], _job=job)

    def __repr__(self) -> str:
        return f"Experiment(Name: {self.name},\nWorkspace: {self.workspace.name})"

    def _repr_html_(self) -> str:
        where = f"kubectl --namespace {self.workspace.name} get trainingjobs"
        if self.workspace.is_local:
            where = f"trainyard --local list --experiment {self.name}"
        return html_table({"Name": self.name, "Workspace": self.workspace.name, "Runs": where})

    def _here(self, inputs: Sequence[JsonObject]) -> Experiment:
        """Return the same experiment on this machine, with what its run is to read."""
        from trainyard.local.workspace import bring_inputs
        from trainyard.remote.workspace import Workspace

        here = Workspace.local(name=self.workspace.name)
        bring_inputs(self.workspace, here, inputs)
        return Experiment(here, self.name)

    def _create(self, document: JsonObject) -> JsonObject:
        stem = stem_of(self.name)
        names = list(self.workspace.objects.names(TRAINING_JOBS))
        for _ in range(NAME_TRIES):
            name = next_name(stem, names)
            metadata = {**document["metadata"], "name": name}
            try:
                return self.workspace.objects.create(TRAINING_JOBS, {**document, "metadata": metadata})
            except Conflict:
                # Somebody else has submitted at the same moment.
                names.append(name)
        raise Conflict(f"others submit to experiment {self.name} all the time: try again")


def training_job(spec: JsonObject, *, experiment: str, tags: Mapping[str, str]) -> JsonObject:
    """Return the TrainingJob of a spec, still without a name."""
    metadata: dict[str, Any] = {"labels": {EXPERIMENT_LABEL: experiment}}
    if tags:
        metadata.update(with_tags({"metadata": {}}, tags)["metadata"])
    return {"apiVersion": API_VERSION, "kind": "TrainingJob", "metadata": metadata, "spec": spec}


def _say_what_has_no_effect(spec: JsonObject) -> None:
    from trainyard.local.checking import without_effect

    note = without_effect(spec)
    if note:
        print(note)


def _require_script(definition: Definition) -> None:
    if not (definition.source_directory / definition.entry_script).is_file():
        raise ConfigError(
            f"there is no {definition.entry_script} in {definition.source_directory}: give entry_script relative to "
            "source_directory"
        )


def _age(job: JsonObject) -> tuple[str, int, str]:
    metadata = job["metadata"]
    return metadata["creationTimestamp"], number_of_name(metadata["name"]) or 0, metadata["name"]
