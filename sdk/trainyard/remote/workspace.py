"""A workspace: a namespace of a cluster that has Trainyard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainyard.errors import ConfigError, Forbidden, NotFound
from trainyard.remote import config, namespaces
from trainyard.remote.account import DEFAULT_ACCOUNT
from trainyard.remote.api import Api, Place, connect
from trainyard.remote.config import DEFAULT_SYSTEM, WorkspaceConfig
from trainyard.remote.gateway import Gateway
from trainyard.remote.objects import COMPUTE_CLUSTERS, REGISTERED_MODELS, TRAINING_JOBS, Objects

if TYPE_CHECKING:
    from trainyard.remote.compute import ComputeTarget
    from trainyard.remote.datastore import Datastore
    from trainyard.remote.environment import Environment
    from trainyard.remote.experiment import Experiment
    from trainyard.remote.model import Model


class Targets(dict[str, "ComputeTarget"]):
    """Compute targets by name; Azure ML's first version had them behind a call."""

    def __call__(self) -> Targets:
        """Return the same."""
        return self


class Workspace:
    """A namespace, with its data, experiments, compute targets and models.

    Parameters
    ----------
    subscription_id
        A context of the kubeconfig; the current one where it is None.
    resource_group
        The namespace that Trainyard is installed in.
    workspace_name
        The namespace to work in; that of the context where it is None.
    service_account
        Whose token the gateway is shown.
    compute_provider
        ``spec.provider`` of ComputeClusters that are created.

    Raises
    ------
    ConfigError
        If there is no kubeconfig, or no such context in it.
    NotFound
        If there is no such namespace, or no Trainyard in the cluster.
    """

    def __init__(
        self,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        workspace_name: str | None = None,
        *,
        service_account: str = DEFAULT_ACCOUNT,
        compute_provider: dict[str, Any] | None = None,
    ) -> None:
        api, place = connect(context=subscription_id)
        settings = WorkspaceConfig(
            workspace_name=workspace_name or place.namespace,
            subscription_id=subscription_id,
            resource_group=resource_group or DEFAULT_SYSTEM,
            service_account=service_account,
            compute_provider=compute_provider,
        )
        self._begin(api, place, settings)
        self._check()

    def _begin(self, api: Api, place: Place, settings: WorkspaceConfig) -> None:
        self._api = api
        self._place = place
        self._settings = settings
        self.objects = Objects(api, namespace=settings.workspace_name)
        self.gateway = Gateway(
            api,
            namespace=settings.workspace_name,
            system=settings.resource_group,
            service_account=settings.service_account,
        )

    @classmethod
    def of_api(cls, api: Api, place: Place, settings: WorkspaceConfig) -> Workspace:
        """Return a workspace of a cluster that one is connected to already; nothing is asked of it yet."""
        workspace = cls.__new__(cls)
        workspace._begin(api, place, settings)  # noqa: SLF001 - its own class
        return workspace

    @staticmethod
    def from_config(
        path: str | Path | None = None,
        auth: Any = None,  # noqa: ARG004 - Azure ML's signature
        *,
        _file_name: str | None = None,
    ) -> Workspace:
        """Return the workspace that the nearest ``config.json`` names, and print where that file is.

        Parameters
        ----------
        path
            The file, or the folder where the search begins; the current one by default.
        auth
            Not used: the kubeconfig is the credential.
        """
        settings, found = config.read(None if path is None else Path(path), file_name=_file_name or config.FILE)
        print(f"Found the config file in: {found}")
        if settings.local_folder is not None:
            return Workspace.local(found.parent / Path(settings.local_folder).expanduser(), settings.workspace_name)
        return Workspace(
            settings.subscription_id,
            settings.resource_group,
            settings.workspace_name,
            service_account=settings.service_account,
            compute_provider=settings.compute_provider,
        )

    @staticmethod
    def get(
        name: str,
        auth: Any = None,  # noqa: ARG004 - Azure ML's signature
        subscription_id: str | None = None,
        resource_group: str | None = None,
    ) -> Workspace:
        """Return the workspace of the namespace `name`.

        Parameters
        ----------
        name
            The namespace.
        auth
            Not used: the kubeconfig is the credential.
        subscription_id
            A context of the kubeconfig; the current one where it is None.
        resource_group
            The namespace that Trainyard is installed in.
        """
        return Workspace(subscription_id, resource_group, name)

    @staticmethod
    def create(  # noqa: PLR0913, PLR0917 - Azure ML's signature
        name: str,
        auth: Any = None,  # noqa: ARG004
        subscription_id: str | None = None,
        resource_group: str | None = None,
        location: str | None = None,  # noqa: ARG004
        create_resource_group: bool = True,  # noqa: ARG004
        sku: str = "basic",  # noqa: ARG004
        exist_ok: bool = False,
        show_output: bool = True,
        **unknown: Any,
    ) -> Workspace:
        """Make a namespace, and return its workspace.

        Parameters
        ----------
        name
            The namespace.
        subscription_id
            A context of the kubeconfig; the current one by default.
        resource_group
            The namespace that Trainyard is installed in.
        auth, location, create_resource_group, sku
            Taken for Azure ML's sake: a cluster is where it is, and has Trainyard already.
        exist_ok
            Whether the namespace may be there already.
        show_output
            Whether to print what was done.

        Raises
        ------
        Conflict
            If there is one, and may not be.
        Forbidden
            If only others may make namespaces: with what to ask them for.
        """
        given = sorted(key for key, value in unknown.items() if value is not None)
        if given:
            raise ConfigError(f"{', '.join(given)}: a workspace has no such thing here; leave it out")
        api, _ = connect(context=subscription_id)
        namespaces.create(api, name, exist_ok=exist_ok)
        workspace = Workspace(subscription_id, resource_group, name)
        if show_output:
            print(f"The workspace {name} is the namespace {name} of {workspace.location}")
        return workspace

    @staticmethod
    def list(
        subscription_id: str | None = None,
        auth: Any = None,  # noqa: ARG004 - Azure ML's signature
        resource_group: str | None = None,
    ) -> dict[str, list[Workspace]]:
        """Return the workspaces of a cluster by name: all namespaces but Kubernetes' and Trainyard's own.

        Parameters
        ----------
        subscription_id
            A context of the kubeconfig; the current one where it is None.
        auth
            Not used: the kubeconfig is the credential.
        resource_group
            The namespace that Trainyard is installed in.

        Raises
        ------
        Forbidden
            If one may not look at all namespaces.
        """
        api, place = connect(context=subscription_id)
        system = resource_group or DEFAULT_SYSTEM
        found = {}
        for name in namespaces.names(api):
            if name != system:
                settings = WorkspaceConfig(workspace_name=name, subscription_id=subscription_id, resource_group=system)
                found[name] = [Workspace.of_api(api, place, settings)]
        return found

    @staticmethod
    def local(folder: str | Path | None = None, name: str | None = None) -> Workspace:
        """Return a workspace that is a folder of this machine: runs are processes here, and no cluster is needed.

        Parameters
        ----------
        folder
            Where runs, data and models are kept; ``TRAINYARD_HOME`` or else ``~/.trainyard`` by default.
        name
            The part of the folder, as a namespace is one of a cluster.
        """
        from trainyard.local.workspace import gateway_of, local_parts

        api, place, settings, objects = local_parts(folder, name)
        workspace = Workspace.of_api(api, place, settings)
        workspace.objects, workspace.gateway = objects, gateway_of(objects)
        return workspace

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return self._settings.local_folder is not None

    @property
    def name(self) -> str:
        """The namespace."""
        return self._settings.workspace_name

    @property
    def location(self) -> str:
        """The name that the kubeconfig gives the cluster."""
        return self._place.cluster

    @property
    def resource_group(self) -> str:
        """The namespace that Trainyard is installed in."""
        return self._settings.resource_group

    @property
    def subscription_id(self) -> str:
        """The context of the kubeconfig: a cluster, and who one is there."""
        return self._place.context

    @property
    def compute_provider(self) -> dict[str, Any] | None:
        """What ``spec.provider`` of a new ComputeCluster is where the code does not say it."""
        return self._settings.compute_provider

    @property
    def compute_targets(self) -> Targets:
        """The compute targets by name, as they are now."""
        from trainyard.remote.compute import ComputeTarget

        return Targets({target.name: target for target in ComputeTarget.list(self)})

    @property
    def datastores(self) -> dict[str, Datastore]:
        """The datastores by name: there is one."""
        datastore = self.get_default_datastore()
        return {datastore.name: datastore}

    @property
    def environments(self) -> dict[str, Environment]:
        """The newest version of each environment that was registered, by its name."""
        from trainyard.remote.environment import Environment

        return Environment.list(self)

    @property
    def experiments(self) -> dict[str, Experiment]:
        """The experiments by name: those that have a run."""
        from trainyard.remote.experiment import Experiment

        return {experiment.name: experiment for experiment in Experiment.list(self)}

    @property
    def models(self) -> dict[str, Model]:
        """The latest Ready version of each model by the model's name."""
        from trainyard.remote.model import Model

        return {model.name: model for model in Model.list(self, latest=True)}

    def get_default_datastore(self) -> Datastore:
        """Return the namespace's folder in the object store."""
        from trainyard.remote.datastore import Datastore

        return Datastore(self)

    def write_config(self, path: str | Path | None = None, file_name: str | None = None) -> None:
        """Write ``.trainyard/config.json`` into a folder, the current one by default, for `from_config` to find.

        Parameters
        ----------
        path
            The folder.
        file_name
            The name of the file; ``config.json`` where it is None.
        """
        pinned = WorkspaceConfig(
            workspace_name=self.name,
            subscription_id=self.subscription_id,
            resource_group=self.resource_group,
            service_account=self._settings.service_account,
            compute_provider=self.compute_provider,
            local_folder=self._settings.local_folder,
        )
        config.write(pinned, folder=Path(path or "."), file_name=file_name or config.FILE)

    def get_details(self) -> dict[str, Any]:
        """Return what the workspace is and how much is in it."""
        return {
            "id": f"{self._api.address}/{self.name}",
            "name": self.name,
            "location": self.location,
            "resourceGroup": self.resource_group,
            "subscriptionId": self.subscription_id,
            "type": "Namespace",
            "trainingJobs": len(self.objects.list(TRAINING_JOBS)),
            "computeClusters": len(self.objects.list(COMPUTE_CLUSTERS)),
            "registeredModels": len(self.objects.list(REGISTERED_MODELS)),
        }

    def close(self) -> None:
        """Close all connections to the gateway and the object store."""
        self.gateway.close()

    def __repr__(self) -> str:
        return (
            f"Workspace(name={self.name!r}, subscription_id={self.subscription_id!r}, "
            f"resource_group={self.resource_group!r})"
        )

    def _check(self) -> None:
        try:
            self._api.request("GET", f"/api/v1/namespaces/{self.name}")
        except Forbidden:
            # Many who may work in a namespace may not look at the namespace itself.
            pass
        except NotFound as error:
            raise NotFound(
                f"No workspaces found with name={self.name}: the cluster {self._api.address} has no such namespace"
            ) from error
        self.objects.require_trainyard()
