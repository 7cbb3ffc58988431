"""Compute clusters: created, waited for, shown, deleted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import click

from trainyard.cli.complete import CLUSTER
from trainyard.cli.output import note, output_option, print_object, print_objects, say
from trainyard.cli.session import Session, YardCommand, YardGroup, pass_session
from trainyard.cli.tables import table

HEADER: Final = ("NAME", "STATE", "ALLOCATION", "NODES", "SIZE", "RUNNING", "QUEUED", "AGE")
MINUTES: Final = 25.0

name_argument = click.argument("name", type=CLUSTER)
timeout_option = click.option(
    "--timeout", type=float, default=MINUTES, show_default=True, metavar="MINUTES", help="Wait so long at most."
)


@click.group(cls=YardGroup)
def cluster() -> None:
    """Make compute clusters: pools of machines that are empty while nobody trains."""


@cluster.command(cls=YardCommand)
@click.argument("name")
@click.option("--vm-size", default="", metavar="SIZE", help="A name of the size catalogue, or an instance type.")
@click.option(
    "--vm-priority", type=click.Choice(["dedicated", "lowpriority"]), default="dedicated", show_default=True,
    help="What the machines cost, and whether the cloud may take them away.",
)  # fmt: skip
@click.option("--min-nodes", type=click.IntRange(min=0), default=0, show_default=True, help="How few nodes it keeps.")
@click.option("--max-nodes", type=click.IntRange(min=0), default=4, show_default=True, help="How many it may have.")
@click.option("--idle-seconds", type=click.IntRange(min=0), help="How long a node without a run is kept.")
@click.option("--provider", metavar="YAML", help="spec.provider, where config.json and the cluster do not say it.")
@click.option("--wait", "waits", is_flag=True, help="Wait until it can take runs.")
@timeout_option
@output_option("json", "yaml", "name", default="text")
@pass_session
def create(  # noqa: PLR0913 - options
    session: Session,
    *,
    name: str,
    vm_size: str,
    vm_priority: str,
    min_nodes: int,
    max_nodes: int,
    idle_seconds: int | None,
    provider: str | None,
    waits: bool,
    timeout: float,
    output: str,
) -> None:
    """Create a cluster."""
    from trainyard.remote.compute import AmlCompute, ComputeTarget

    configured = AmlCompute.provisioning_configuration(
        vm_size, vm_priority, min_nodes, max_nodes, idle_seconds, provider=_mapping(provider)
    )
    ComputeTarget.create(session.workspace(), name, configured)
    if output == "text":
        say(f"cluster {name} created")
    else:
        print_object(_get(session, name), output)
    if waits:
        _wait(session, name, min_nodes=None, minutes=timeout)


@cluster.command(cls=YardCommand)
@name_argument
@click.option("--min-nodes", type=click.IntRange(min=0), help="Wait for so many nodes; by default those that it keeps.")
@timeout_option
@pass_session
def wait(session: Session, name: str, min_nodes: int | None, timeout: float) -> None:
    """Wait until a cluster can take runs."""
    _wait(session, name, min_nodes=min_nodes, minutes=timeout)


@cluster.command(cls=YardCommand)
@name_argument
@output_option("json", "yaml", "name", default="text")
@pass_session
def show(session: Session, name: str, output: str) -> None:
    """Show a cluster: its nodes, and what is wrong with it."""
    found = _get(session, name)
    from trainyard.cli.describe import cluster_text

    if output == "text":
        say(cluster_text(found, now=datetime.now(UTC)))
    else:
        print_object(found, output)


@cluster.command("list", cls=YardCommand)
@output_option("json", "yaml", "name")
@pass_session
def list_clusters(session: Session, output: str) -> None:
    """List the clusters."""
    workspace = session.workspace()
    from trainyard.cli.describe import cluster_row
    from trainyard.remote.objects import COMPUTE_CLUSTERS

    found = workspace.objects.list(COMPUTE_CLUSTERS)
    if output != "table":
        print_objects(found, output)
    elif not found:
        note(f"no clusters in namespace {workspace.name}")
    else:
        now = datetime.now(UTC)
        say(table(HEADER, [cluster_row(entry, now=now) for entry in found]))


@cluster.command(cls=YardCommand)
@name_argument
@click.option("--wait", "waits", is_flag=True, help="Wait until it is gone.")
@timeout_option
@pass_session
def delete(session: Session, name: str, waits: bool, timeout: float) -> None:
    """Delete a cluster with its machines; it goes once its runs have ended."""
    from trainyard.errors import NotFound, Timeout
    from trainyard.remote.compute import ComputeTarget

    target = ComputeTarget(session.workspace(), name)
    target.delete()
    say(f"cluster {name} is being deleted")
    if waits:
        target.wait_for_completion(is_delete_operation=True, timeout_in_minutes=timeout)
        try:
            target.refresh_state()
        except NotFound:
            return
        raise Timeout(f"cluster {name} is there still after {timeout:g} minutes: {target.status.reason}")


def _wait(session: Session, name: str, *, min_nodes: int | None, minutes: float) -> None:
    from trainyard.errors import Timeout
    from trainyard.remote.compute import ComputeTarget

    target = ComputeTarget(session.workspace(), name)
    target.wait_for_completion(min_node_count=min_nodes, timeout_in_minutes=minutes)
    status = target.status
    wanted = status.min_nodes if min_nodes is None else min_nodes
    if status.provisioning_state != "Succeeded" or status.current_node_count < wanted:
        raise Timeout(
            f"cluster {name} is {status.provisioning_state} with {status.current_node_count} of {wanted} nodes after "
            f"{minutes:g} minutes; it goes on: {status.reason}"
        )
    note(f"cluster {name} is {status.provisioning_state} with {status.current_node_count} nodes")


def _get(session: Session, name: str) -> dict[str, Any]:
    workspace = session.workspace()
    from trainyard.errors import NotFound
    from trainyard.remote.objects import COMPUTE_CLUSTERS
    from trainyard.remote.view import near

    try:
        return workspace.objects.get(COMPUTE_CLUSTERS, name)
    except NotFound as error:
        names = list(workspace.objects.names(COMPUTE_CLUSTERS))
        raise NotFound(f"no cluster {name} in namespace {workspace.name}: {near(name, names)}") from error


def _mapping(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise click.UsageError(f"--provider is no YAML: {error}") from error
    if not isinstance(found, dict):
        raise click.UsageError(
            "--provider: give spec.provider of a ComputeCluster, such as '{type: Existing, existing: …}'"
        )
    return found
