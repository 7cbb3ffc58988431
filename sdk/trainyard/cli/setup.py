"""Which cluster is meant, what is installed where, and completion in the shell."""

from __future__ import annotations

from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import get_completion_class

from trainyard.cli.output import dumped, output_option, say
from trainyard.cli.session import Session, YardCommand, pass_session
from trainyard.cli.tables import pairs


@click.command(cls=YardCommand)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@click.option("--force", is_flag=True, help="Replace the file that is there.")
@pass_session
def init(session: Session, folder: Path, force: bool) -> None:
    """Write .trainyard/config.json into FOLDER, with the context and namespaces that are in force now."""
    from trainyard.errors import Conflict
    from trainyard.remote import config

    target = folder / config.FOLDER / config.FILE
    if target.exists() and not force:
        raise Conflict(f"{target} is there already: --force replaces it")
    session.workspace().write_config(folder)
    say(f"wrote {target}")


@click.command("config", cls=YardCommand)
@output_option("json", "yaml", default="text")
@pass_session
def show_config(session: Session, output: str) -> None:
    """Show which cluster, namespace and file are in force."""
    _, found = session.config()
    api, place, settings = session.connect()
    facts: dict[str, Any] = {
        "context": place.context,
        "cluster": place.cluster,
        "server": api.address,
        "namespace": settings.workspace_name,
        "systemNamespace": settings.resource_group,
        "serviceAccount": settings.service_account,
        "configFile": str(found) if found else None,
    }
    if output == "text":
        say(pairs(facts))
    else:
        say(dumped(facts, output))


@click.command("version", cls=YardCommand)
@click.option("--client", is_flag=True, help="That of this program alone; the cluster is not asked.")
@pass_session
def show_version(session: Session, client: bool) -> None:
    """Print the version of this program, and of what the cluster has."""
    say(f"client: {installed('trainyard')}")
    if client:
        return
    api, _, settings = session.connect()
    from trainyard.cli.checks import server_version

    say(f"server: {server_version(api, settings.resource_group) or 'unknown'}")
    say(f"kubernetes: {api.request('GET', '/version')['gitVersion']}")


@click.command(cls=YardCommand)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, options and the names of runs, clusters and models.

    Bash: source <(trainyard completion bash), in ~/.bashrc. Zsh: the same, in ~/.zshrc after compinit. Fish:
    trainyard completion fish > ~/.config/fish/completions/trainyard.fish.
    """
    maker = get_completion_class(shell)
    assert maker is not None
    root = context.find_root().command
    say(maker(root, {}, "trainyard", "_TRAINYARD_COMPLETE").source())


COMMANDS: Final = (init, show_config, show_version, completion)
