"""``config.json``: which cluster, which installation of Trainyard and which namespace is meant by a workspace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trainyard.errors import ConfigError
from trainyard.remote.account import DEFAULT_ACCOUNT

FILE: Final = "config.json"
FOLDER: Final = ".trainyard"
# Where it is looked for in a folder and in each one above it; the last two are Azure ML's.
PLACES: Final = ("", FOLDER, ".azureml", "aml_config")
DEFAULT_SYSTEM: Final = "trainyard-system"


@dataclass(frozen=True, kw_only=True)
class WorkspaceConfig:
    """What a ``config.json`` says.

    Azure ML's three names are kept, and mean what is nearest: `subscription_id` is a context of the kubeconfig, that is
    a cluster and who one is there; `resource_group` the namespace that Trainyard is installed in; `workspace_name` the
    namespace that one works in.
    """

    workspace_name: str
    subscription_id: str | None = None
    resource_group: str = DEFAULT_SYSTEM
    service_account: str = DEFAULT_ACCOUNT
    # What `spec.provider` of a new ComputeCluster is where the code does not say it.
    compute_provider: dict[str, Any] | None = None
    # The folder that takes the place of a cluster.
    local_folder: str | None = None

    @classmethod
    def of_document(cls, document: object, *, where: str) -> WorkspaceConfig:
        """Return what the parsed content of a file says.

        Raises
        ------
        ConfigError
            If something in it cannot be used.
        """
        if not isinstance(document, dict) or not _is_text(document.get("workspace_name")):
            raise ConfigError(
                f'{where} has no workspace_name: write {{"workspace_name": "<your namespace>"}} and, where they are '
                "not the usual ones, subscription_id (a context of the kubeconfig) and resource_group (the namespace "
                "of the operator)"
            )
        for name in ("subscription_id", "resource_group", "service_account", "local_folder"):
            if document.get(name) is not None and not _is_text(document[name]):
                raise ConfigError(f"{name} of {where} is {document[name]!r}: give text, or leave it out")
        provider = document.get("compute_provider")
        if provider is not None and not isinstance(provider, dict):
            raise ConfigError(f"compute_provider of {where} is {provider!r}: give what spec.provider is to be")
        return cls(
            workspace_name=document["workspace_name"],
            subscription_id=document.get("subscription_id"),
            resource_group=document.get("resource_group") or DEFAULT_SYSTEM,
            service_account=document.get("service_account") or DEFAULT_ACCOUNT,
            compute_provider=provider,
            local_folder=document.get("local_folder"),
        )

    def document(self) -> dict[str, Any]:
        """Return what is written into a file: nothing that goes without saying, but Azure ML's three names."""
        if self.local_folder is not None:
            return {"workspace_name": self.workspace_name, "local_folder": self.local_folder}
        document: dict[str, Any] = {
            "subscription_id": self.subscription_id,
            "resource_group": self.resource_group,
            "workspace_name": self.workspace_name,
        }
        if self.service_account != DEFAULT_ACCOUNT:
            document["service_account"] = self.service_account
        if self.compute_provider is not None:
            document["compute_provider"] = self.compute_provider
        return document


def read(path: Path | None, *, file_name: str = FILE) -> tuple[WorkspaceConfig, Path]:
    """Return what the nearest file says, and where it is.

    Parameters
    ----------
    path
        The file itself, or the folder where the search begins; the current one by default.

    Raises
    ------
    ConfigError
        If there is none, with every place that was looked at, or if it cannot be read.
    """
    start = (path or Path()).expanduser().absolute()
    found = find(start, file_name=file_name)
    if found is None:
        tried = "".join(f"\n  {candidate}" for candidate in _candidates(start, file_name))
        raise ConfigError(
            f"We could not find {file_name} in: {start} or in its parent directories. Write one with "
            "Workspace.get(name='<your namespace>').write_config(), or give the path of the one that you have. "
            f"Looked at:{tried}"
        )
    try:
        document = json.loads(found.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{found} cannot be read as JSON: {error}") from error
    return WorkspaceConfig.of_document(document, where=str(found)), found


def find(start: Path, *, file_name: str = FILE) -> Path | None:
    """Return the nearest file: `start` itself, or one in that folder or above it; None where there is none."""
    start = start.expanduser().absolute()
    candidates = [start] if start.is_file() else _candidates(start, file_name)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def write(config: WorkspaceConfig, *, folder: Path, file_name: str = FILE) -> Path:
    """Write a file into the subfolder ``.trainyard`` of `folder`, and return its path."""
    target = folder / FOLDER / file_name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(config.document(), indent=4) + "\n", encoding="utf-8")
    return target


def _candidates(start: Path, file_name: str) -> Iterator[Path]:
    for folder in (start, *start.parents):
        for place in PLACES:
            yield folder / place / file_name


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""
