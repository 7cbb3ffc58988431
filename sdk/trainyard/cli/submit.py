"""Starting a run: of a folder, or of a TrainingJob in a file."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from trainyard.cli.complete import CLUSTER
from trainyard.cli.output import note, output_option
from trainyard.cli.runs import submitted
from trainyard.cli.session import Session, YardCommand, pass_session
from trainyard.cli.tables import clean
from trainyard.cli.values import entries, parameters

if TYPE_CHECKING:
    from trainyard.remote.estimator import Estimator
    from trainyard.remote.workspace import Workspace

# Options that say what a file says already.
_OF_FOLDERS: Final = (
    "entry", "experiment", "params", "arguments", "requirements", "packages", "image", "variables", "compute", "inputs",
    "models", "cpu", "memory", "max_run_seconds",
)  # fmt: skip


@click.command(cls=YardCommand)
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-f", "--file", "file", metavar="FILE", help="A TrainingJob in YAML or JSON; - reads it from the input.")
@click.option(
    "--source", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="FOLDER",
    help="With -f: send this folder as the run's code, in the place of spec.source.",
)  # fmt: skip
@click.option("--entry", metavar="SCRIPT", help="The script to run, relative to the folder; train.py by default.")
@click.option("--experiment", metavar="NAME", help="The run's experiment; 'default' where none is given.")
@click.option("--param", "params", multiple=True, metavar="K=V", help="Call the script with --K V; may be repeated.")
@click.option("--arg", "arguments", multiple=True, metavar="TEXT", help="A further argument as it is; may be repeated.")
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME=PATH",
    help="Give the script the datastore's PATH as the folder /inputs/NAME, $(inputs.NAME) in --arg; may be repeated.",
)  # fmt: skip
@click.option("--requirements", metavar="FILE", help="File of Python packages, relative to the folder.")
@click.option("--package", "packages", multiple=True, metavar="PACKAGE", help="A Python package; may be repeated.")
@click.option("--image", metavar="IMAGE", help="Image in the place of Trainyard's trainer image.")
@click.option("--env", "variables", multiple=True, metavar="K=V", help="Environment variable; may be repeated.")
@click.option("--compute", type=CLUSTER, metavar="CLUSTER", help="Where to run; any node where none is given.")
@click.option("--cpu", metavar="QUANTITY", help="Processors that a node must have free, such as 2 or 500m.")
@click.option("--memory", metavar="QUANTITY", help="Memory that a node must have free, such as 4Gi.")
@click.option("--max-run-seconds", type=click.IntRange(min=1), metavar="N", help="Stop the script after so long.")
@click.option(
    "--model", "models", multiple=True, metavar="NAME=PATH",
    help="Register the output PATH as a model at the end; may be repeated.",
)  # fmt: skip
@click.option("--tag", "tags", multiple=True, metavar="K=V", help="Tag of the run; may be repeated.")
@click.option("--wait", "waits", is_flag=True, help="Wait until it has ended; exit code 1 unless it has Completed.")
@click.option("--follow", "follows", is_flag=True, help="Wait, and print its log.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Wait so long at most.")
@output_option("json", "yaml", "name", default="text")
@pass_session
def submit(  # noqa: PLR0913 - options
    session: Session,
    /,
    *,
    folder: Path | None,
    file: str | None,
    source: Path | None,
    tags: Sequence[str],
    waits: bool,
    follows: bool,
    timeout: float | None,
    output: str,
    **options: Any,
) -> None:
    """Start a run of the code in FOLDER, or of a TrainingJob in a file."""
    if (folder is None) == (file is None):
        raise click.UsageError("give either a folder or -f FILE")
    labels = entries(tags, what="--tag")
    if file is not None:
        given = [_flag(name) for name in _OF_FOLDERS if options[name]]
        if given:
            raise click.UsageError(f"{', '.join(given)}: with -f the file says that")
        job = _of_file(session, file, source, labels)
    else:
        if source is not None:
            raise click.UsageError("--source is for -f; the folder itself is sent")
        assert folder is not None
        job = _of_folder(session.workspace(), folder, labels, **options)
    submitted(session, job, output=output, waits=waits, follows=follows, timeout=timeout)


@click.command("run", cls=YardCommand)
@click.option("-f", "--file", "file", required=True, metavar="FILE", help="A TrainingJob in YAML or JSON.")
@click.option(
    "--source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="The code, where the file names a ConfigMap or no source; the current folder by default.",
)
@pass_session
def run_here(session: Session, *, file: str, source: Path | None) -> None:
    """Carry out a TrainingJob on this machine, with --local; exit code 1 unless it has Completed."""
    if not session.local:
        raise click.UsageError("run is for this machine: give --local. For a cluster there is trainyard submit")
    from trainyard.local import run

    home = session.local_folder()
    ended = run(read_document(file), folder=source, home=Path(home) if home else None, write=click.echo)
    note(clean(f"run {ended.name} is {ended.status}: {ended.reason}"))
    note(f"its files: {ended.folder}")
    if ended.status != "Completed":
        raise click.exceptions.Exit(1)


def read_document(file: str) -> Any:
    """Return the one document of a file.

    Raises
    ------
    ConfigError
        If it cannot be read, or has several.
    """
    import yaml

    from trainyard.errors import ConfigError

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is no YAML: {error}") from error
    if len(documents) != 1:
        raise ConfigError(f"{file} has {len(documents)} documents: give one TrainingJob; kubectl applies the others")
    return documents[0]


def _of_file(session: Session, file: str, source: Path | None, tags: dict[str, str]) -> dict[str, Any]:
    document = read_document(file)
    metadata = document.get("metadata") if isinstance(document, dict) else None
    named = metadata.get("namespace") if isinstance(metadata, dict) else None
    workspace = session.workspace(named)
    from trainyard.remote import runs

    return runs.create(workspace, document, source=source, tags=tags)


def _of_folder(workspace: Workspace, folder: Path, tags: dict[str, str], **options: Any) -> dict[str, Any]:
    from trainyard.remote.experiment import Experiment

    experiment = Experiment(workspace, options["experiment"] or "default")
    run = experiment.submit(_estimator(workspace, folder, **options), tags=tags)
    return run._job  # noqa: SLF001 - the object itself is what `-o json` prints


def _estimator(workspace: Workspace, folder: Path, **options: Any) -> Estimator:
    from trainyard.remote.estimator import Estimator

    store = workspace.get_default_datastore()
    inputs = entries(options["inputs"], what="--input").items()
    models = entries(options["models"], what="--model").items()
    params = parameters(options["params"], what="--param").items()
    requests = {name: options[name] for name in ("cpu", "memory") if options[name]}
    estimator = Estimator(
        folder,
        entry_script=options["entry"],
        compute_target=options["compute"],
        script_params={f"--{name}": value for name, value in params},
        pip_packages=list(options["packages"]),
        pip_requirements_file=options["requirements"],
        custom_docker_image=options["image"],
        environment_variables=entries(options["variables"], what="--env"),
        inputs=[store.path(path, name) for name, path in inputs],
        max_run_duration_seconds=options["max_run_seconds"],
        resources={"requests": requests} if requests else None,
        models=[_model(name, path) for name, path in models],
    )
    definition = estimator.definition
    arguments = [*definition.arguments, *options["arguments"]]
    estimator.definition = dataclasses.replace(definition, arguments=arguments)
    return estimator


def _model(name: str, path: str) -> dict[str, Any]:
    from trainyard.record import check_model

    try:
        return dict(check_model({"name": name, "path": path}, what="--model"))
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _flag(name: str) -> str:
    return next(option.opts[0] for option in click.get_current_context().command.params if option.name == name)


COMMANDS: Final = (submit, run_here)
