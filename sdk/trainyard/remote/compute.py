"""Compute targets: autoscaled pools of machines, each of them a ComputeCluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from trainyard.errors import ComputeTargetException, ConfigError, Conflict, Invalid, NotFound, Timeout, TrainyardError
from trainyard.remote.api import JsonObject
from trainyard.remote.compute_spec import cluster_spec, count
from trainyard.remote.compute_status import AmlComputeStatus
from trainyard.remote.objects import API_VERSION, COMPUTE_CLUSTERS

if TYPE_CHECKING:
    from trainyard.remote.workspace import Workspace

DEFAULT_SIZE: Final = "STANDARD_D2_V2"
RESERVED: Final = frozenset({"local", "amlcompute", "batchai"})
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PROVIDER_HELP: Final = (
    "where do its machines come from? Give provider={'type': 'Karpenter', 'karpenter': {'nodeClassRef': {'group': …, "
    "'kind': …, 'name': …}}} to provisioning_configuration, or write that as compute_provider into config.json; "
    "whoever runs the cluster knows it, and can make it the chart's defaultProvider"
)


@dataclass(frozen=True, kw_only=True)
class ProvisioningConfiguration:
    """A compute target that is to be created.

    Attributes
    ----------
    spec
        ``spec`` of the ComputeCluster.
    target
        The class of the compute target.
    """

    spec: dict[str, Any]
    target: type[ComputeTarget]


class ComputeTarget:
    """A compute target of a workspace.

    Parameters
    ----------
    workspace
        The workspace.
    name
        Its name.

    Raises
    ------
    ComputeTargetException
        If there is none of that name.
    """

    label: ClassVar = "AmlCompute"

    def __new__(cls, *_args: Any, **_kwargs: Any) -> ComputeTarget:  # noqa: PYI034 - of a subclass
        """Return an object of the one kind that there is."""
        return super().__new__(AmlCompute if cls is ComputeTarget else cls)

    def __init__(self, workspace: Workspace, name: str, *, _found: JsonObject | None = None) -> None:
        self.workspace = workspace
        self._objects = workspace.objects
        if _found is None:
            try:
                _found = self._objects.get(COMPUTE_CLUSTERS, name)
            except NotFound as error:
                raise ComputeTargetException(
                    f"ComputeTargetNotFound: Compute Target with name {name} not found in provided workspace"
                ) from error
        self._cluster = _found

    @staticmethod
    def create(workspace: Workspace, name: str, provisioning_configuration: ProvisioningConfiguration) -> ComputeTarget:
        """Create a compute target, and return at once; `wait_for_completion` waits for it.

        Parameters
        ----------
        workspace
            The workspace.
        name
            Its name: lower-case letters, digits and ``-``.
        provisioning_configuration
            What ``AmlCompute.provisioning_configuration`` has returned.

        Raises
        ------
        ConfigError
            If the name or the configuration cannot be used.
        ComputeTargetException
            If there is one of that name, or the API server finds something wrong, in its words.
        """
        if not isinstance(provisioning_configuration, ProvisioningConfiguration):
            raise ConfigError(
                f"provisioning_configuration is a {type(provisioning_configuration).__name__}: give what "
                "AmlCompute.provisioning_configuration(…) returns; mind commas at the end of its line"
            )
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(f"the compute target's name is {name!r}: give lower-case letters, digits and '-'")
        if name in RESERVED:
            raise ConfigError(f"Please specify a different target name. {name} is a reserved name.")
        spec = dict(provisioning_configuration.spec)
        spec.setdefault("provider", workspace.compute_provider or workspace.gateway.default_provider())
        if spec["provider"] is None:
            raise ConfigError(f"the compute target {name}: {_PROVIDER_HELP}")
        if spec["provider"].get("type") != "Existing":
            # Machines that are there already are of the size that they are.
            spec.setdefault("vmSize", DEFAULT_SIZE)
        document = {"apiVersion": API_VERSION, "kind": "ComputeCluster", "metadata": {"name": name}, "spec": spec}
        try:
            found = workspace.objects.create(COMPUTE_CLUSTERS, document)
        except Conflict as error:
            raise ComputeTargetException(f"there is a compute target {name} already: use it, or delete it") from error
        except Invalid as error:
            raise ComputeTargetException(f"the compute target {name} cannot be created: {error}") from error
        return provisioning_configuration.target(workspace, name, _found=found)

    @staticmethod
    def list(workspace: Workspace) -> list[ComputeTarget]:
        """Return the compute targets of a workspace.

        Parameters
        ----------
        workspace
            The workspace.
        """
        found = workspace.objects.list(COMPUTE_CLUSTERS)
        return [AmlCompute(workspace, cluster["metadata"]["name"], _found=cluster) for cluster in found]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self._cluster["metadata"]["name"])

    @property
    def type(self) -> str:
        """The kind of compute target."""
        return self.label

    @property
    def provisioning_state(self) -> str:
        """How far it is, when it was last looked at."""
        return self.status.provisioning_state

    @property
    def provisioning_errors(self) -> Sequence[Mapping[str, Any]] | None:
        """What is wrong with it, when it was last looked at."""
        return self.status.errors

    @property
    def status(self) -> AmlComputeStatus:
        """Its status when it was last looked at; `get_status` looks again."""
        return AmlComputeStatus.of_object(self._cluster)

    def get_status(self) -> AmlComputeStatus:
        """Return its status as it is now."""
        self.refresh_state()
        return self.status

    def refresh_state(self) -> None:
        """Look at it again."""
        self._cluster = self._objects.get(COMPUTE_CLUSTERS, self.name)

    def serialize(self) -> dict[str, Any]:
        """Return what it is and how it is as a dictionary."""
        status = self.status.serialize()
        return {
            "id": f"{self.workspace.name}/{self.name}",
            "name": self.name,
            "location": self.workspace.location,
            "properties": {
                "computeType": self.type,
                "provisioningErrors": status["errors"],
                "provisioningState": status["provisioningState"],
                "properties": {name: status[name] for name in ("vmSize", "vmPriority", "scaleSettings")},
            },
        }

    def update(
        self,
        min_nodes: int | None = None,
        max_nodes: int | None = None,
        idle_seconds_before_scaledown: int | None = None,
    ) -> None:
        """Change how it scales.

        Parameters
        ----------
        min_nodes, max_nodes
            How few and how many machines there may be; None leaves it as it is.
        idle_seconds_before_scaledown
            How long a machine without a run is kept.
        """
        names = {
            "minNodes": min_nodes,
            "maxNodes": max_nodes,
            "idleSecondsBeforeScaleDown": idle_seconds_before_scaledown,
        }
        scale = {name: count(value, name) for name, value in names.items() if value is not None}
        self._cluster = self._objects.patch(COMPUTE_CLUSTERS, self.name, {"spec": {"scale": scale}})

    def delete(self) -> None:
        """Delete it with its machines; it goes once its runs have ended."""
        self._objects.delete(COMPUTE_CLUSTERS, self.name)

    def wait_for_completion(
        self,
        show_output: bool = False,
        min_node_count: int | None = None,
        timeout_in_minutes: float = 25,
        is_delete_operation: bool = False,
    ) -> None:
        """Wait until it can take runs and has a number of nodes, or is gone.

        Parameters
        ----------
        show_output
            Whether to print how far it is.
        min_node_count
            How many nodes to wait for; by default the least that it keeps.
        timeout_in_minutes
            How long to wait at most; what is there by then is said, and is no error.
        is_delete_operation
            Whether to wait until it is gone.

        Raises
        ------
        ComputeTargetException
            If it cannot work without somebody's help, or is deleted meanwhile: with the reason.
        """
        write = _write if show_output else _say_nothing
        try:
            if is_delete_operation:
                self._wait_until_gone(write, timeout_in_minutes)
            else:
                self._wait_until_there(write, min_node_count, timeout_in_minutes)
        except ComputeTargetException:
            raise
        except NotFound as error:
            raise ComputeTargetException(f"the compute target {self.name} was deleted") from error
        except TrainyardError as error:
            raise ComputeTargetException(f"the compute target {self.name} cannot be looked at: {error}") from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}(workspace={self.workspace!r}, name={self.name!r}, type={self.type!r})"

    def _wait_until_there(self, write: Any, min_node_count: int | None, minutes: float) -> None:
        wanted = min_node_count if min_node_count is not None else self.status.min_nodes
        shown = ""
        try:
            for status in self._seen(minutes):
                if status.provisioning_state != shown:
                    write(("\n" if shown else "") + status.provisioning_state)
                    shown = status.provisioning_state
                else:
                    write(".")
                if status.provisioning_state == "Failed":
                    write(f'\n{self.label} wait for completion finished\nTerminal state of "Failed" has been reached\n')
                    write(f"Provisioning errors: {status.errors}\n")
                    raise ComputeTargetException(f"the compute target {self.name} is Failed: {status.reason}")
                if status.provisioning_state == "Succeeded" and status.current_node_count >= wanted:
                    write(f"\n{self.label} wait for completion finished\n\n")
                    write("Minimum number of nodes requested have been provisioned\n")
                    return
        except Timeout:
            status = self.status
        write(f"\n{self.label} wait for completion finished\n\nWait timeout has been reached\n")
        write(
            f'Current provisioning state of {self.label} is "{status.provisioning_state}" and current node count is '
            f'"{status.current_node_count}"\n'
        )
        if status.reason:
            write(f"{status.reason}\n")

    def _wait_until_gone(self, write: Any, minutes: float) -> None:
        write("Deleting")
        try:
            for _ in self._seen(minutes):
                write(".")
        except NotFound:
            write("\nSucceeded\n")
        except Timeout:
            write(f"\nWait timeout has been reached\n{self.status.reason}\n")

    def _seen(self, minutes: float) -> Iterator[AmlComputeStatus]:
        for cluster in self._objects.watch(COMPUTE_CLUSTERS, self.name, timeout=minutes * 60):
            self._cluster = cluster
            yield self.status


class BatchAiCompute(ComputeTarget):
    """A compute target by the name that Azure ML's first version had for it."""

    label: ClassVar = "BatchAI"

    @staticmethod
    def provisioning_configuration(  # noqa: PLR0913 - Azure ML's signature
        vm_size: str = "",
        vm_priority: str = "dedicated",
        autoscale_enabled: bool = True,
        cluster_min_nodes: int | str | None = 0,
        cluster_max_nodes: int | str | None = None,
        *,
        idle_seconds_before_scaledown: int | str | None = None,
        provider: Mapping[str, Any] | None = None,
    ) -> ProvisioningConfiguration:
        """Return what `ComputeTarget.create` takes; see `AmlCompute.provisioning_configuration`.

        Parameters
        ----------
        vm_size
            A name of the size catalogue, or a cloud's instance type.
        vm_priority
            ``dedicated`` or ``lowpriority``.
        autoscale_enabled
            Whether machines come and go; otherwise there are always as many as there may be.
        cluster_min_nodes, cluster_max_nodes
            How few and how many machines there may be.
        idle_seconds_before_scaledown
            How long a machine without a run is kept.
        provider
            ``spec.provider`` of the ComputeCluster.
        """
        if not autoscale_enabled:
            cluster_min_nodes = cluster_max_nodes
        spec = cluster_spec(
            vm_size,
            vm_priority,
            min_nodes=cluster_min_nodes,
            max_nodes=cluster_max_nodes,
            idle_seconds=idle_seconds_before_scaledown,
            provider=provider,
        )
        return ProvisioningConfiguration(spec=spec, target=BatchAiCompute)


# What is one is the other: code that asks for either finds it.
class AmlCompute(BatchAiCompute):
    """A compute target: a pool of machines that is empty while nobody trains."""

    label: ClassVar = "AmlCompute"

    @staticmethod
    def provisioning_configuration(  # type: ignore[override] # noqa: PLR0913 - Azure ML's signature
        vm_size: str = "",
        vm_priority: str = "dedicated",
        min_nodes: int | str | None = 0,
        max_nodes: int | str | None = None,
        idle_seconds_before_scaledown: int | str | None = None,
        *,
        provider: Mapping[str, Any] | None = None,
        **unknown: Any,
    ) -> ProvisioningConfiguration:
        """Return what `ComputeTarget.create` takes.

        Parameters
        ----------
        vm_size
            A name of the size catalogue, or a cloud's instance type; STANDARD_D2_V2 where none is given and machines
            are made.
        vm_priority
            ``dedicated`` or ``lowpriority``.
        min_nodes, max_nodes
            How few and how many machines there may be.
        idle_seconds_before_scaledown
            How long a machine without a run is kept.
        provider
            ``spec.provider`` of the ComputeCluster; by default what ``config.json`` has as compute_provider, or else
            what the chart has as defaultProvider.
        """
        given = sorted(name for name, value in unknown.items() if value is not None)
        if given:
            raise ConfigError(f"{', '.join(given)}: compute targets have no such setting here; leave it out")
        spec = cluster_spec(
            vm_size,
            vm_priority,
            min_nodes=min_nodes,
            max_nodes=max_nodes,
            idle_seconds=idle_seconds_before_scaledown,
            provider=provider,
        )
        return ProvisioningConfiguration(spec=spec, target=AmlCompute)


def _write(text: str) -> None:
    print(text, end="", flush=True)


def _say_nothing(_text: str) -> None:
    return
