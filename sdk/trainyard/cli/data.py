"""The datastore: what people bring there, runs read."""

from __future__ import annotations

from pathlib import Path

import click

from trainyard.cli.output import dumped, note, output_option, say
from trainyard.cli.session import Session, YardCommand, YardGroup, pass_session
from trainyard.cli.tables import size, table


@click.group(cls=YardGroup)
def data() -> None:
    """Bring data to the namespace's datastore, and back."""


@data.command(cls=YardCommand)
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("target", default="")
@click.option("--overwrite", is_flag=True, help="Replace files that are there already; otherwise they are skipped.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but what was done.")
@pass_session
def upload(session: Session, source: Path, target: str, overwrite: bool, quiet: bool) -> None:
    """Upload a file, or a folder with all that is below it, to TARGET; to the top where none is given."""
    store = session.workspace().get_default_datastore()
    if source.is_dir():
        reference = store.upload(source, target or None, overwrite=overwrite, show_progress=not quiet)
    else:
        reference = store.upload_files(
            [source], target_path=target or None, overwrite=overwrite, show_progress=not quiet
        )
    say(f"{source} is at {reference.path_on_datastore or 'the top'} of the datastore")


@data.command("list", cls=YardCommand)
@click.argument("prefix", default="")
@output_option("json", "name")
@pass_session
def list_data(session: Session, prefix: str, output: str) -> None:
    """List what is in the datastore below PREFIX."""
    workspace = session.workspace()
    from trainyard.remote.datastore import AREA, located
    from trainyard.remote.reference import clean_path

    where = clean_path(prefix)
    container = f"{AREA}/{workspace.name}"
    found = {
        located(file, where, container=container): file["bytes"]
        for file in workspace.gateway.files(area=AREA, prefix=where)
    }
    if output == "name":
        say(list(found))
    elif output == "json":
        say(dumped([{"path": path, "bytes": count} for path, count in found.items()], "json"))
    elif not found:
        note(f"nothing is at {prefix or 'the top'} of the datastore of {workspace.name}")
    else:
        say(table(("SIZE", "PATH"), [(size(count), path) for path, count in found.items()]))


@data.command(cls=YardCommand)
@click.argument("prefix")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--overwrite", is_flag=True, help="Replace files that are there already; otherwise they are skipped.")
@pass_session
def download(session: Session, prefix: str, folder: Path, overwrite: bool) -> None:
    """Download what is below PREFIX into FOLDER, with its whole path."""
    from trainyard.errors import NotFound

    workspace = session.workspace()
    count = workspace.get_default_datastore().download(folder, prefix, overwrite=overwrite)
    if not count and not workspace.gateway.files(area="data", prefix=prefix):
        raise NotFound(f"nothing is at {prefix} of the datastore of {workspace.name}")
    say(f"downloaded {count} files")
