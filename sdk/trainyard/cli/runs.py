"""Runs: listed, shown, watched, stopped, repeated, and what they have saved."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from trainyard.cli.complete import RUN
from trainyard.cli.output import dumped, note, output_option, print_object, print_objects, say
from trainyard.cli.session import Session, YardCommand, pass_session
from trainyard.cli.tables import number, size, table
from trainyard.cli.values import parameters

if TYPE_CHECKING:
    from trainyard.remote.submitted import SubmittedRun

PHASES: Final = (
    "Pending", "Preparing", "Queued", "Provisioning", "Running", "Finalizing", "Completed", "Failed", "Canceled",
)  # fmt: skip

run_argument = click.argument("run", type=RUN)


@click.command("list", cls=YardCommand)
@click.option("--experiment", metavar="NAME", help="Runs of this experiment alone.")
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice(PHASES, case_sensitive=False), metavar="PHASE",
    help=f"Runs in this phase alone; may be repeated. One of {', '.join(PHASES)}.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The newest N alone.")
@output_option("wide", "json", "yaml", "name")
@pass_session
def list_runs(
    session: Session, experiment: str | None, statuses: Sequence[str], limit: int | None, output: str
) -> None:
    """List the runs, newest first."""
    workspace = session.workspace()
    from trainyard.cli.describe import RUN_HEADER, RUN_WIDE, run_row
    from trainyard.remote import runs

    jobs = runs.listed(workspace, experiment=experiment, statuses=statuses, limit=limit)
    if output not in {"table", "wide"}:
        print_objects(jobs, output)
    elif not jobs:
        note(f"no runs in namespace {workspace.name}")
    else:
        wide, now = output == "wide", datetime.now(UTC)
        header = (*RUN_HEADER, *RUN_WIDE) if wide else RUN_HEADER
        say(table(header, [run_row(job, now=now, wide=wide) for job in jobs]))


@click.command(cls=YardCommand)
@run_argument
@output_option("json", "yaml", "name", default="text")
@pass_session
def show(session: Session, run: str, output: str) -> None:
    """Show a run: why it is as it is, how long each phase took, and what it has made."""
    workspace = session.workspace()
    from trainyard.cli.describe import run_text
    from trainyard.errors import TrainyardError
    from trainyard.remote import runs
    from trainyard.remote.files import files_of, names_of
    from trainyard.remote.view import has_begun

    job = _job(runs.find(workspace, run))
    if output != "text":
        print_object(job, output)
        return
    files: Mapping[str, Any] | str = {}
    if has_begun(job):
        try:
            found = files_of(workspace, job).listed()
            files = {path: found[path] for path in names_of(found)}
        except TrainyardError as error:
            files = str(error)
    say(run_text(job, now=datetime.now(UTC), files=files))


@click.command(cls=YardCommand)
@run_argument
@click.option(
    "-f", "--follow", is_flag=True, help="Go on until the run has ended; an interrupt ends this, not the run."
)
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Begin with the last N lines.")
@pass_session
def logs(session: Session, run: str, follow: bool, tail: int | None) -> None:
    """Print what the script of a run has printed."""
    workspace = session.workspace()
    from trainyard.remote import log, runs

    found = runs.find(workspace, run)
    if follow:
        watch(session, run, write=_print_line, tail=tail)
        return
    say(log.last(log.lines_now(workspace, _job(found)), tail))


@click.command(cls=YardCommand)
@run_argument
@click.option("--timeout", type=float, metavar="SECONDS", help="Wait so long at most.")
@pass_session
def wait(session: Session, run: str, timeout: float | None) -> None:
    """Wait until a run has ended; the exit code is 0 where it has Completed, else 1."""
    from trainyard.remote import runs

    runs.find(session.workspace(), run)
    conclude(watch(session, run, write=None, timeout=timeout))


@click.command(cls=YardCommand)
@run_argument
@click.option("--history", is_flag=True, help="Every value that was logged, not the latest ones alone.")
@output_option("csv", "json")
@pass_session
def metrics(session: Session, run: str, history: bool, output: str) -> None:
    """Print what a run has logged."""
    workspace = session.workspace()
    from trainyard.remote import runs
    from trainyard.remote.files import files_of

    found = runs.find(workspace, run)
    if history:
        entries = files_of(workspace, _job(found)).entries()
        if output == "json":
            say(dumped(_finite(entries), "json"))
        else:
            _print_rows(("TIME", "NAME", "STEP", "VALUE"), _history(entries), output)
        return
    values = found.get_metrics()
    if output == "json":
        say(dumped(_finite(values), "json"))
    else:
        _print_rows(("NAME", "VALUE"), [(name, _latest(value, output)) for name, value in values.items()], output)


@click.command(cls=YardCommand)
@run_argument
@output_option("json", "name")
@pass_session
def files(session: Session, run: str, output: str) -> None:
    """List the files that a run has saved: its log and its outputs."""
    workspace = session.workspace()
    from trainyard.remote import runs
    from trainyard.remote.files import files_of, names_of
    from trainyard.remote.view import has_begun

    job = _job(runs.find(workspace, run))
    found = files_of(workspace, job).listed() if has_begun(job) else {}
    names = names_of(found)
    if output == "name":
        say(names)
    elif output == "json":
        say(dumped([{"path": name, "bytes": found[name]["bytes"]} for name in names], "json"))
    elif not names:
        note(f"run {run} has saved no files yet")
    else:
        say(table(("SIZE", "PATH"), [(size(found[name]["bytes"]), name) for name in names]))


@click.command(cls=YardCommand)
@run_argument
@click.argument("paths", nargs=-1)
@click.option(
    "--to", "folder", type=click.Path(file_okay=False, path_type=Path), default=".", help="Folder to put it in."
)
@pass_session
def download(session: Session, run: str, paths: Sequence[str], folder: Path) -> None:
    """Download files of a run: those at PATHS, those below them, or all."""
    from trainyard.errors import NotFound
    from trainyard.remote import runs
    from trainyard.remote.files import files_of, names_of
    from trainyard.remote.view import near

    workspace = session.workspace()
    saved = files_of(workspace, _job(runs.find(workspace, run)))
    names = names_of(saved.listed())
    for path in paths or ("",):
        below = path.rstrip("/") + "/" if path else ""
        if path in names:
            say(str(saved.download(path, folder / path)))
        elif any(name.startswith(below) for name in names):
            say([str(place) for place in saved.download_below(below, folder)])
        else:
            raise NotFound(f"run {run} has no file {path}: {near(path, names)}")


@click.command(cls=YardCommand)
@click.argument("names", metavar="RUN...", nargs=-1, required=True, type=RUN)
@pass_session
def cancel(session: Session, names: Sequence[str]) -> None:
    """Stop runs; what they have saved is kept."""
    from trainyard.remote import runs
    from trainyard.remote.view import has_ended

    for name in names:
        found = runs.find(session.workspace(), name)
        if has_ended(_job(found)):
            note(f"run {name} is {found.status} already")
        else:
            found.cancel()
            say(f"run {name} is being canceled")


@click.command(cls=YardCommand)
@run_argument
@click.option(
    "--name", metavar="NAME", help="What the new run is called; the next number of its experiment by default."
)
@click.option("--param", "params", multiple=True, metavar="K=V", help="Another value of a parameter; may be repeated.")
@click.option("--no-models", is_flag=True, help="Register no models.")
@click.option("--wait", "waits", is_flag=True, help="Wait until it has ended.")
@click.option("--follow", "follows", is_flag=True, help="Wait, and print its log.")
@output_option("json", "yaml", "name", default="text")
@pass_session
def rerun(  # noqa: PLR0913 - options
    session: Session,
    *,
    run: str,
    name: str | None,
    params: Sequence[str],
    no_models: bool,
    waits: bool,
    follows: bool,
    output: str,
) -> None:
    """Repeat a run: the same frozen code, words, packages and image, or other parameters."""
    from trainyard.remote import runs

    made = runs.rerun(
        session.workspace(), run, new_name=name, parameters=parameters(params, what="--param"), models=not no_models
    )
    submitted(session, made, output=output, waits=waits, follows=follows, timeout=None)


def submitted(  # noqa: PLR0913 - all but the first two by name
    session: Session, job: Mapping[str, Any], *, output: str, waits: bool, follows: bool, timeout: float | None
) -> None:
    """Print the run that was created, and wait for it where that is wanted."""
    name = job["metadata"]["name"]
    if output == "text":
        say(f"run {name} submitted")
        if not waits and not follows:
            note(f"its log: trainyard logs -f {name}")
    else:
        print_object(job, output)
    if waits or follows:
        conclude(watch(session, name, write=_print_line if follows else None, timeout=timeout))


def watch(
    session: Session, name: str, *, write: Any, tail: int | None = None, timeout: float | None = None
) -> Mapping[str, Any]:
    """Watch a run until it has ended; an interrupt ends the watching."""
    from trainyard.remote import log

    try:
        return log.follow(session.workspace(), name, write=write, note=note, tail=tail, timeout=timeout)
    except KeyboardInterrupt:
        note(f"\nrun {name} goes on; watch it again: trainyard logs -f {name}; stop it: trainyard cancel {name}")
        raise


def conclude(job: Mapping[str, Any]) -> None:
    """Say how a run has ended, and exit with 1 unless it has Completed."""
    from trainyard.cli.describe import conclusion

    note(conclusion(job))
    if job["status"]["phase"] != "Completed":
        raise click.exceptions.Exit(1)


def _job(run: SubmittedRun) -> dict[str, Any]:
    return run._job  # noqa: SLF001 - the object itself is what `-o json` prints


def _print_line(line: str) -> None:
    click.echo(line)


def _print_rows(header: Sequence[str], rows: Sequence[Sequence[object]], form: str) -> None:
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([name.lower() for name in header])
        writer.writerows(rows)
    elif rows:
        say(table(header, rows))
    else:
        note("nothing was logged yet")


def _history(entries: Iterable[Mapping[str, Any]]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for entry in entries:
        when = entry.get("time")
        time = datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds") if when else ""
        if "metric" in entry:
            rows.append((time, entry["metric"], entry.get("step", ""), entry["value"]))
        elif "list" in entry:
            rows += [(time, entry["list"], step, value) for step, value in enumerate(entry["values"])]
    return rows


def _latest(value: Any, form: str) -> object:
    if isinstance(value, list) and value:
        return value[-1] if form == "csv" else f"{number(value[-1])}  ({len(value)} values)"
    if isinstance(value, dict):
        return f"columns {', '.join(value)}"
    return value if form == "csv" else number(value)


def _finite(value: Any) -> Any:
    """Return the same without the numbers that JSON does not have, which become texts."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


COMMANDS: Final = (list_runs, show, logs, wait, metrics, files, download, cancel, rerun)
