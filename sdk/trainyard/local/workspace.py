"""A workspace that is a folder, and runs of a cluster's workspace that stay on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from trainyard.local.bucket import checked
from trainyard.local.gateway import LocalGateway
from trainyard.local.home import NAMESPACE, Home
from trainyard.local.objects import LocalObjects
from trainyard.remote.api import Api, Place
from trainyard.remote.config import WorkspaceConfig
from trainyard.remote.datastore import AREA, located
from trainyard.uploads import in_parallel
from trainyard_operator.storage import layout

if TYPE_CHECKING:
    from trainyard.contract import FileGrant
    from trainyard.remote.workspace import Workspace

CONTEXT: Final = "local"


def local_parts(folder: Path | str | None, name: str | None) -> tuple[Api, Place, WorkspaceConfig, LocalObjects]:
    """Return what a workspace of a folder is made of."""
    home = Home.of(folder)
    objects = LocalObjects(home, namespace=name or NAMESPACE)
    settings = WorkspaceConfig(workspace_name=objects.namespace, resource_group=CONTEXT, local_folder=str(home.folder))
    place = Place(context=CONTEXT, cluster=str(home.folder), namespace=objects.namespace)
    return cast("Api", objects.local_api), place, settings, objects


def gateway_of(objects: LocalObjects) -> LocalGateway:
    """Return the files of the same folder and namespace."""
    return LocalGateway(objects)


def bring_inputs(workspace: Workspace, local: Workspace, inputs: Sequence[Mapping[str, Any]]) -> None:
    """Bring what a run reads from the datastore of a cluster into that of the folder, each version of a file once."""
    for entry in inputs:
        if "datastore" in entry:
            _bring(workspace, local, checked(entry["datastore"].get("path") or "", "the path in the datastore"))


def _bring(workspace: Workspace, local: Workspace, path: str) -> None:
    objects = cast("LocalObjects", local.objects)
    container = f"{AREA}/{workspace.name}"
    listed = workspace.gateway.files(area=AREA, prefix=path)
    wanted = {located(file, path, container=container): file for file in listed}
    note = objects.home.objects(local.name) / "brought.json"
    known: dict[str, str] = json.loads(note.read_text()) if note.exists() else {}
    root = objects.home.key(layout.data_prefix(local.name))

    def fetch(item: tuple[str, FileGrant]) -> None:
        name, file = item
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        workspace.gateway.download(file, root / name)

    missing = {
        name: file for name, file in wanted.items() if not (root / name).is_file() or known.get(name) != _version(file)
    }
    in_parallel(fetch, list(missing.items()))
    known |= {name: _version(file) for name, file in missing.items()}
    folder = path if path.endswith("/") or not path else f"{path}/"
    # What the cluster has no more must not be read here; what somebody has put there by hand stays.
    for name in [name for name in known if name.startswith(folder) and name not in wanted]:
        (root / name).unlink(missing_ok=True)
        del known[name]
    objects.home.write(note, json.dumps(known, indent=1, sort_keys=True).encode())


def _version(file: FileGrant) -> str:
    return f"{file['bytes']} {file.get('etag', '')}"
