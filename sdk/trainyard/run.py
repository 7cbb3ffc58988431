"""The run that a script belongs to: ``Run.get_context().log("accuracy", 0.92)``.

Inside a training pod each call appends one line of JSON to a file that the runner follows; anywhere else the same call
prints. The names are those of Azure ML's `Run`, as far as they make sense inside a script.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from trainyard.contract import (
    ENV_EXPERIMENT,
    ENV_METRICS_FILE,
    ENV_RUN_NAME,
    ENV_RUN_UID,
    MAX_MESSAGE_CHARS,
    MAX_TAGS,
)
from trainyard.metrics import MetricLog
from trainyard.record import check_model, check_tags, with_properties
from trainyard.sinks import FileSink, OfflineSink

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainyard.sinks import Sink


class Experiment(str):
    """The name of an experiment, which also has it as its `name`, as Azure ML's experiments do."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """The name itself."""
        return str(self)


class Model:
    """A model that the run registers once its script has succeeded; its version is known only then."""

    __slots__ = ("name", "path")

    def __init__(self, *, name: str, path: str) -> None:
        self.name = name
        self.path = path

    def __repr__(self) -> str:
        return f"Model(name={self.name!r}, path={self.path!r})"


class Run(MetricLog):
    """One run. Get it with `Run.get_context`, which works unchanged inside a training pod and outside."""

    _current: Run | None = None

    def __init__(self, *, run_id: str, name: str, experiment: str, sink: Sink) -> None:
        super().__init__(sink=sink)
        self._id = run_id
        self._name = name
        self._experiment = Experiment(experiment)
        self._said: dict[str, set[str]] = {"tags": set(), "properties": set()}

    @staticmethod
    def get_context(allow_offline: bool = True, **_kwargs: Any) -> Run:  # noqa: FBT001, FBT002 - Azure ML's signature
        """Return the run that this process belongs to: always the same object.

        Parameters
        ----------
        allow_offline
            Whether a script that belongs to no run gets one that prints what it is told.

        Returns
        -------
        Run
            In a training pod the run of the TrainingJob; elsewhere an offline run, which prints what it is told.

        Raises
        ------
        RuntimeError
            Outside a training pod, where `allow_offline` is false.
        """
        if Run._current is None:
            path = os.environ.get(ENV_METRICS_FILE)
            if not path and not allow_offline:
                raise RuntimeError(
                    "this process belongs to no run: start it as a TrainingJob, or leave allow_offline as it is"
                )
            Run._current = _run_of_pod(path) if path else _offline_run()
        return Run._current

    @staticmethod
    def get_submitted_run(**kwargs: Any) -> Run:
        """Return what `get_context` returns: its name in the first versions of Azure ML."""
        return Run.get_context(**kwargs)

    @property
    def id(self) -> str:
        """The uid of the TrainingJob, or ``offline-…``."""
        return self._id

    @property
    def name(self) -> str:
        """The name of the TrainingJob, or of the script that runs offline."""
        return self._name

    @property
    def experiment(self) -> Experiment:
        """The name of the experiment that the run belongs to, a text that has a `name` too."""
        return self._experiment

    @property
    def tags(self) -> dict[str, str]:
        """The tags so far, of all processes of the run."""
        return self.get_tags()

    @property
    def properties(self) -> dict[str, str]:
        """The properties so far, of all processes of the run."""
        return self.get_properties()

    def __repr__(self) -> str:
        return f"Run(Experiment: {self._experiment},\nId: {self._id},\nName: {self._name})"

    def tag(self, key: str, value: Any = None) -> None:
        """Set one tag: it is shown in the status of the run, and kept in its manifest. None is the empty text.

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

        Raises
        ------
        ValueError
            If a key or a value is too long or no text, or the run would have more than 32.
        """
        self._say("tags", tags)

    def get_tags(self) -> dict[str, str]:
        """Return the tags so far, of all processes of the run."""
        return self._heard("tags")

    def add_properties(self, properties: Mapping[str, Any]) -> None:
        """Add properties, which are kept in the manifest of the run; one that is there cannot be changed.

        Parameters
        ----------
        properties
            Texts by name.

        Raises
        ------
        ValueError
            If one is there already, a key or a value is too long or no text, or the run would have more than 32.
        """
        there = self.get_properties()
        for key in properties:
            if key in there:
                raise ValueError(f"property {key!r} is {there[key]!r} already and cannot be changed: use a tag instead")
        self._say("properties", properties)

    def get_properties(self) -> dict[str, str]:
        """Return the properties so far, of all processes of the run."""
        return self._heard("properties")

    def register_model(
        self,
        model_name: str,
        model_path: str | None = None,
        tags: Mapping[str, Any] | None = None,
        description: str | None = None,
        *,
        properties: Mapping[str, Any] | None = None,
    ) -> Model:
        """Have something of the outputs registered as a model's next version, once the script has succeeded.

        Parameters
        ----------
        model_name
            The name of the model, as in ``spec.models``.
        model_path
            The file or folder, ``outputs/model.pkl`` or ``model.pkl``; where it is not given, the model's name. It has
            to be there when the script ends, or the run fails with ``ModelPathNotFound``.
        tags
            Tags of the version.
        description
            What the version is.
        properties
            Of the version; nobody can change them.

        Raises
        ------
        ValueError
            If a name, path or tag cannot be used.
        """
        labels = with_properties(tags, properties)
        wish = {"name": model_name, "path": model_path or model_name, "description": description, "tags": labels}
        checked = check_model(wish)
        self._write({"model": checked, "time": time.time()})
        return Model(name=checked["name"], path=checked["path"])

    def upload_file(self, name: str, path_or_stream: Any) -> None:
        """Put a file among the outputs, where `name` says: they are saved when the script ends.

        Parameters
        ----------
        name
            The path below ``outputs/``.
        path_or_stream
            The file, or something that can be read.

        Raises
        ------
        FileExistsError
            If another file is there.
        """
        from trainyard.artifacts import place_file  # noqa: PLC0415

        place_file(self._outputs(), name, path_or_stream)

    def upload_files(self, names: Sequence[str], paths: Sequence[Any]) -> None:
        """Put files among the outputs, each where its name says.

        Parameters
        ----------
        names
            The paths below ``outputs/``.
        paths
            The files, in the same order.

        Raises
        ------
        ValueError
            If there are not as many names as paths.
        FileExistsError
            If another file is there.
        """
        if len(names) != len(paths):
            raise ValueError(f"there are {len(names)} names and {len(paths)} paths: give one name for each path")
        for name, path in zip(names, paths):
            self.upload_file(name, path)

    def upload_folder(self, name: str, path: Any) -> None:
        """Put the files below a folder among the outputs, below where `name` says.

        Parameters
        ----------
        name
            The folder below ``outputs/``.
        path
            The folder to copy.

        Raises
        ------
        NotADirectoryError
            If `path` is no folder.
        FileExistsError
            If another file is there.
        """
        from trainyard.artifacts import place_folder  # noqa: PLC0415

        place_folder(self._outputs(), name, path)

    def save_checkpoint(self, timeout_seconds: float = 300) -> None:
        """Have what lies in the checkpoint folder saved now, and return when it is; offline, return at once.

        Parameters
        ----------
        timeout_seconds
            How long to wait at most.

        Raises
        ------
        TimeoutError
            If it takes longer. The script may go on: it is still being tried.
        """
        from trainyard.checkpoints import save_now  # noqa: PLC0415

        save_now(timeout_seconds)

    def complete(self) -> None:
        """Take back an earlier `fail`; a run that has none completes when its script ends with exit code 0."""
        self._write({"fail": None, "time": time.time()})

    def fail(self, error_details: Any = None, error_code: Any = None) -> None:
        """Have the run end as Failed with these words, even if the exit code of the script is 0.

        The script itself goes on: leave it as you see fit.

        Parameters
        ----------
        error_details
            Why, in words.
        error_code
            A code that is put behind them.
        """
        code = f" ({error_code})" if error_code is not None else ""
        words = str(error_details) if error_details is not None else "the script called Run.fail"
        self._write({"fail": {"message": (words + code)[:MAX_MESSAGE_CHARS]}, "time": time.time()})

    def flush(self, timeout_seconds: float = 300) -> None:
        """Return at once: each call has written what it was told before it returns.

        Parameters
        ----------
        timeout_seconds
            Not used: there is nothing to wait for.
        """

    def get_file_names(self) -> list[str]:
        """Return the files that are among the outputs now."""
        from trainyard.artifacts import file_names  # noqa: PLC0415

        return file_names(self._outputs())

    def get_status(self) -> str:
        """Return ``Running``: a script that can ask is running."""
        return "Running"

    def get_details(self) -> dict[str, Any]:
        """Return who the run is, its tags and properties, and how its script was called."""
        return {
            "runId": self._id,
            "name": self._name,
            "experiment": str(self._experiment),
            "status": self.get_status(),
            "tags": self.get_tags(),
            "properties": self.get_properties(),
            "runDefinition": {"script": sys.argv[0] if sys.argv else "", "arguments": sys.argv[1:]},
        }

    def _say(self, kind: str, pairs: Mapping[str, Any]) -> None:
        checked = check_tags(pairs, what=kind)
        if len(self._said[kind] | checked.keys()) > MAX_TAGS:
            raise ValueError(f"the run has {len(self._said[kind])} {kind}, and may have {MAX_TAGS} at most")
        self._said[kind] |= checked.keys()
        if checked:
            self._write({kind: checked, "time": time.time()})

    def _heard(self, kind: str) -> dict[str, str]:
        from trainyard.history import said_of  # noqa: PLC0415

        return said_of(self._sink.entries(), kind)


def _run_of_pod(path: str) -> Run:
    return Run(
        run_id=os.environ.get(ENV_RUN_UID, ""),
        name=os.environ.get(ENV_RUN_NAME, ""),
        experiment=os.environ.get(ENV_EXPERIMENT, "default"),
        sink=FileSink(path),
    )


def _offline_run() -> Run:
    script = os.path.basename(sys.argv[0] if sys.argv else "")  # noqa: PTH119 - pathlib costs a script its start
    sys.stderr.write("trainyard: this script belongs to no run of a cluster; what it logs is printed\n")
    return Run(
        run_id=f"offline-{os.urandom(8).hex()}", name=script or "offline", experiment="default", sink=OfflineSink()
    )
