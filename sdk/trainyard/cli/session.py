"""What all commands share: which cluster and namespace are meant, and the options that say it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainyard.cli import quick
from trainyard.errors import ConfigError

if TYPE_CHECKING:
    from trainyard.remote.api import Api, Place
    from trainyard.remote.config import WorkspaceConfig
    from trainyard.remote.workspace import Workspace


@dataclass
class Session:
    """One call of the command line."""

    context: str | None = None
    namespace: str | None = None
    system_namespace: str | None = None
    local: bool = False
    debug: bool = False
    _workspace: Workspace | None = field(default=None, repr=False)

    def config(self) -> tuple[WorkspaceConfig | None, Path | None]:
        """Return what the nearest ``config.json`` says and where it is; nothing where there is none."""
        from trainyard.remote import config

        found = config.find(Path())
        return (None, None) if found is None else config.read(found)

    def local_folder(self) -> str | None:
        """Return the folder that takes the place of a cluster: empty for the usual one, None for a cluster."""
        said, found = self.config()
        if self.context is None and said is not None and said.local_folder is not None and found is not None:
            return str(found.parent / Path(said.local_folder).expanduser())
        return "" if self.local else None

    def connect(self, namespace: str | None = None) -> tuple[Api, Place, WorkspaceConfig]:
        """Return the API server, where it is, and the settings: options first, then ``config.json``.

        Parameters
        ----------
        namespace
            The namespace where no option names one.
        """
        quick.install()
        from trainyard.remote.api import connect
        from trainyard.remote.config import WorkspaceConfig

        if self.local_folder() is not None:
            raise ConfigError("this is about a cluster, and --local or config.json names a folder: give --context")
        said, _ = self.config()
        context = self.context or (said.subscription_id if said else None)
        api, place = connect(context=context)
        name = self.namespace or namespace or (said.workspace_name if said else place.namespace)
        base = said or WorkspaceConfig(workspace_name=name)
        settings = WorkspaceConfig(
            workspace_name=name,
            subscription_id=place.context,
            resource_group=self.system_namespace or base.resource_group,
            service_account=base.service_account,
            compute_provider=base.compute_provider,
        )
        return api, place, settings

    def workspace(self, namespace: str | None = None) -> Workspace:
        """Return the workspace that is meant; the same one however often it is asked for."""
        if self._workspace is None:
            from trainyard.remote.workspace import Workspace

            folder = self.local_folder()
            if folder is not None:
                said, _ = self.config()
                name = self.namespace or namespace or (said.workspace_name if said and said.local_folder else None)
                self._workspace = Workspace.local(folder or None, name)
                return self._workspace
            _, place, settings = self.connect(namespace)
            self._workspace = Workspace(
                place.context,
                settings.resource_group,
                settings.workspace_name,
                service_account=settings.service_account,
                compute_provider=settings.compute_provider,
            )
        return self._workspace

    def close(self) -> None:
        """Close all connections."""
        if self._workspace is not None:
            self._workspace.close()


pass_session = click.make_pass_decorator(Session, ensure=True)


def _keep(context: click.Context, option: click.Parameter, value: Any) -> None:
    session = context.ensure_object(Session)
    if value:
        assert option.name is not None
        setattr(session, option.name, value)


def _complete_context(_context: click.Context, _option: click.Parameter, incomplete: str) -> list[str]:
    from trainyard.cli.complete import contexts

    return contexts(incomplete)


def _global_options(*, hidden: bool) -> list[click.Option]:
    about: dict[str, Any] = {"expose_value": False, "callback": _keep, "hidden": hidden}
    return [
        click.Option(
            ["--context"], help="Context of the kubeconfig.", metavar="NAME", shell_complete=_complete_context, **about
        ),
        click.Option(["-n", "--namespace"], help="Namespace to work in.", metavar="NAME", **about),
        click.Option(["--system-namespace"], help="Namespace that Trainyard is installed in.", metavar="NAME", **about),
        click.Option(["--local"], is_flag=True, help="Work in a folder of this machine, without a cluster.", **about),
        click.Option(["--debug"], is_flag=True, help="Print the traceback of an error.", **about),
    ]


class YardCommand(click.Command):
    """A command that takes the global options as well, so that they may stand anywhere."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        shared = _global_options(hidden=True)
        # Of two options with one name both would get what is given to either.
        twice = {option.name for option in self.params} & {option.name for option in shared}
        assert not twice, f"{self.name}: {twice}"
        self.params += shared


class YardGroup(click.Group):
    """A group of such commands."""

    command_class = YardCommand
    group_class = type


def with_global_options(group: click.Group) -> click.Group:
    """Give the outermost group the global options, where its help tells of them."""
    group.params += _global_options(hidden=False)
    return group
