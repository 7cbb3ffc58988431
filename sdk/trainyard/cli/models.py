"""Registered models: listed, fetched, promoted, verified."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from trainyard.cli.complete import MODEL, RUN
from trainyard.cli.output import note, output_option, print_object, print_objects, say
from trainyard.cli.session import Session, YardCommand, YardGroup, pass_session
from trainyard.cli.tables import clean, table
from trainyard.cli.values import entries

if TYPE_CHECKING:
    from trainyard.remote.model import Model

HEADER: Final = ("ID", "STATE", "ALIASES", "METRICS", "FROM", "SIZE", "AGE")
CHAMPION: Final = "champion"
SECONDS: Final = 600.0

model_argument = click.argument("model", type=MODEL, metavar="MODEL[:VERSION|@ALIAS]")
timeout_option = click.option(
    "--timeout", type=float, default=SECONDS, show_default=True, metavar="SECONDS", help="Wait so long at most."
)


@click.group(cls=YardGroup)
def models() -> None:
    """Look at registered models, and work with their versions."""


@models.command("list", cls=YardCommand)
@click.argument("model", required=False, type=MODEL)
@output_option("json", "yaml", "name")
@pass_session
def list_models(session: Session, model: str | None, output: str) -> None:
    """List the versions of all models, or of one, newest first."""
    workspace = session.workspace()
    from trainyard.cli.describe import version_rows
    from trainyard.remote.objects import REGISTERED_MODELS
    from trainyard.remote.promoting import find_model

    found = workspace.objects.list(REGISTERED_MODELS) if model is None else [find_model(workspace, model)]
    rows = version_rows(found, now=datetime.now(UTC))
    if output != "table":
        print_objects(found, output)
    elif not rows:
        note(f"no models in namespace {workspace.name}")
    else:
        say(table(HEADER, rows))


@models.command(cls=YardCommand)
@model_argument
@output_option("json", "yaml", "name", default="text")
@pass_session
def show(session: Session, model: str, output: str) -> None:
    """Show a version: what it was made from, its metrics, its digests."""
    from trainyard.cli.describe import version_text

    found = named(session, model)
    whole = _object(found)
    if output == "text":
        say(version_text(whole, found.serialize(), now=datetime.now(UTC)))
    else:
        print_object(whole, output)


@models.command(cls=YardCommand)
@model_argument
@click.option(
    "--to", "folder", type=click.Path(file_okay=False, path_type=Path), default=".", help="Folder to put it in."
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there already.")
@pass_session
def download(session: Session, model: str, folder: Path, overwrite: bool) -> None:
    """Fetch a version, hold every byte against what was registered, and print where it is."""
    say(named(session, model).download(folder, exist_ok=overwrite))


@models.command(cls=YardCommand)
@model_argument
@click.option("--alias", metavar="ALIAS", help=f"Which alias is to mean it; {CHAMPION} where neither is given.")
@click.option("--to", "target", metavar="NAMESPACE", help="Copy it into the model of that name of another namespace.")
@click.option("--share", is_flag=True, help="With --to: first let that namespace take versions of this model.")
@timeout_option
@pass_session
def promote(  # noqa: PLR0913 - options
    session: Session, *, model: str, alias: str | None, target: str | None, share: bool, timeout: float
) -> None:
    """Make a version the one that an alias means, or copy it into another namespace."""
    from trainyard.remote.promoting import copy_to

    if (alias and target) or (share and not target):
        raise click.UsageError("give either --alias, or --to and where it is needed --share")
    found = named(session, model)
    if target is None:
        _set_alias(session, found, alias or CHAMPION, timeout)
        return
    copied = copy_to(found, target, share=share, timeout=timeout)
    newest = max((copied.get("status") or {}).get("versions") or (), key=lambda entry: int(entry["version"]))
    say(f"{found.id} is {newest['id']} in namespace {target}")


@models.command(cls=YardCommand)
@model_argument
@click.argument("alias")
@click.option("--remove", is_flag=True, help="Have the alias mean nothing.")
@timeout_option
@pass_session
def alias(session: Session, model: str, alias: str, remove: bool, timeout: float) -> None:
    """Give a version an alias, or take one away."""
    from trainyard.remote.promoting import set_alias

    if not remove:
        _set_alias(session, named(session, model), alias, timeout)
        return
    name = model.partition(":")[0]
    set_alias(session.workspace(), name, alias, None, timeout=timeout)
    say(f"{name} has no alias {alias} any more")


@models.command(cls=YardCommand)
@click.argument("model", type=MODEL)
@click.option(
    "--timeout", type=float, default=3600.0, show_default=True, metavar="SECONDS", help="Wait so long at most."
)
@pass_session
def verify(session: Session, model: str, timeout: float) -> None:
    """Have every byte of all versions compared with what was registered; exit code 1 if one differs."""
    from trainyard.remote.promoting import verify as ask

    workspace = session.workspace()
    if workspace.is_local:
        raise click.UsageError("nobody verifies models of a folder: trainyard models download compares every byte")
    found = ask(workspace, model, timeout=timeout)
    verified = found["status"]["verification"]
    corrupted = [entry for entry in found["status"].get("versions") or () if entry["state"] == "Corrupted"]
    for entry in corrupted:
        say(f"{entry['id']} is Corrupted: {clean(entry.get('message', ''))}")
    say(f"{verified.get('versions', 0)} versions of {model} verified, {verified.get('corrupted', 0)} corrupted")
    if verified.get("corrupted"):
        raise click.exceptions.Exit(1)


@models.command(cls=YardCommand)
@click.argument("model", type=MODEL, metavar="MODEL:VERSION")
@click.option("--yes", is_flag=True, help="Do not ask.")
@timeout_option
@pass_session
def delete(session: Session, model: str, yes: bool, timeout: float) -> None:
    """Delete the files of a version, for ever."""
    if ":" not in model:
        raise click.UsageError(f"{model} has no version: give {model}:VERSION, since versions are deleted one by one")
    found = named(session, model)
    if not yes:
        click.confirm(f"Delete {found.id} for ever?", abort=True, err=True)
    found.delete(timeout_seconds=timeout)
    say(f"{found.id} is {found.state}")


@models.command(cls=YardCommand)
@click.argument("name")
@click.argument("path")
@click.option("--run", type=RUN, metavar="RUN", help="PATH is an output of this run, and not a file of this machine.")
@click.option("--tag", "tags", multiple=True, metavar="K=V", help="Tag of the version; may be repeated.")
@click.option("--description", metavar="TEXT", help="What the version is.")
@timeout_option
@pass_session
def register(  # noqa: PLR0913 - options
    session: Session,
    *,
    name: str,
    path: str,
    run: str | None,
    tags: Sequence[str],
    description: str | None,
    timeout: float,
) -> None:
    """Register a file or folder as the next version of a model."""
    from trainyard.remote import runs
    from trainyard.remote.model import Model

    labels, workspace = entries(tags, what="--tag"), session.workspace()
    if run is not None:
        found = runs.find(workspace, run).register_model(
            name, path, labels, description=description, timeout_seconds=timeout
        )
    else:
        found = Model.register(workspace, path, name, labels, description=description, timeout_seconds=timeout)
    say(f"{found.id} is {found.state}")


def named(session: Session, text: str) -> Model:
    """Return the version that ``NAME``, ``NAME:VERSION`` or ``NAME@ALIAS`` means."""
    workspace = session.workspace()
    from trainyard.remote.model import Model

    name, mark, alias = text.partition("@")
    if mark:
        return Model(workspace, name, alias=alias)
    name, mark, version = text.partition(":")
    return Model(workspace, name, version=version if mark and version != "latest" else None)


def _set_alias(session: Session, found: Model, alias: str, timeout: float) -> None:
    from trainyard.remote.promoting import set_alias

    set_alias(session.workspace(), found.name, alias, found.version, timeout=timeout)
    say(f"{found.name}@{alias} is {found.id}")


def _object(found: Model) -> dict[str, Any]:
    return found._model  # noqa: SLF001 - the object itself is what `-o json` prints
