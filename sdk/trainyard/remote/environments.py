"""Environments that are kept for others: one small file for each version, in the datastore of the workspace."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from trainyard.contract import FileGrant, canonical_json
from trainyard.errors import ConfigError, NotFound
from trainyard.remote.datastore import AREA
from trainyard.remote.environment import Environment
from trainyard.transfer import Upload

if TYPE_CHECKING:
    from trainyard.remote.workspace import Workspace

FOLDER: Final = "environments"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
# The number of the version, and the beginning of the digest: two that are registered at once are both kept.
_FILE = re.compile(r"(?P<name>[^/]+)/(?P<version>[0-9]{6})-(?P<digest>[0-9a-f]{12})\.json")
_DIGITS: Final = 12


def register(workspace: Workspace, environment: Environment) -> Environment:
    """Keep an environment, unless its newest version is the same, and return it with its version."""
    name = _named(environment.name)
    content = canonical_json(_document(environment))
    digest = hashlib.sha256(content).hexdigest()
    kept = _versions(workspace, name)
    latest = max(kept, default=None)
    if latest is not None and latest[1] == digest[:_DIGITS]:
        environment.version = str(latest[0])
        return environment
    number = latest[0] + 1 if latest else 1
    path = f"{FOLDER}/{name}/{number:06}-{digest[:_DIGITS]}.json"
    workspace.gateway.put([Upload.of_bytes(path, content, sha256=digest)], op="data-put")
    environment.version = str(number)
    return environment


def get(workspace: Workspace, name: str, version: str | int | None = None) -> Environment:
    """Return an environment that is kept.

    Raises
    ------
    NotFound
        If there is none: with those that there are.
    """
    kept = _versions(workspace, _named(name))
    if not kept:
        names = ", ".join(sorted(newest_files(workspace))) or "none"
        raise NotFound(f"there is no environment {name} in the workspace, it has: {names}. Make one with Environment()")
    chosen = [key for key in kept if version is None or str(key[0]) == str(version)]
    if not chosen:
        numbers = ", ".join(sorted({str(key[0]) for key in kept}))
        raise NotFound(f"the environment {name} has no version {version}, it has: {numbers}")
    return _read(workspace, name, max(chosen)[0], kept[max(chosen)])


def newest(workspace: Workspace) -> dict[str, Environment]:
    """Return the newest version of each environment that is kept."""
    found = newest_files(workspace)
    return {name: _read(workspace, name, number, file) for name, (number, file) in sorted(found.items())}


def newest_files(workspace: Workspace) -> dict[str, tuple[int, FileGrant]]:
    """Return the number and the file of the newest version by name."""
    found: dict[str, tuple[int, FileGrant]] = {}
    for file in sorted(workspace.gateway.files(area=AREA, prefix=f"{FOLDER}/"), key=lambda file: file["path"]):
        match = _FILE.fullmatch(file["path"])
        if match:
            found[match["name"]] = (int(match["version"]), file)
    return found


def _versions(workspace: Workspace, name: str) -> dict[tuple[int, str], FileGrant]:
    files = workspace.gateway.files(area=AREA, prefix=f"{FOLDER}/{name}/")
    matches = ((_FILE.fullmatch(f"{name}/{file['path']}"), file) for file in files)
    return {(int(match["version"]), match["digest"]): file for match, file in matches if match}


def _document(environment: Environment) -> dict[str, Any]:
    packages = environment.python.conda_dependencies
    environment.to_spec()  # Complains where something cannot be used.
    return {
        "pip": packages.pip_packages,
        "conda": packages.conda_packages,
        "channels": packages.conda_channels,
        "userManaged": bool(environment.python.user_managed_dependencies),
        "image": environment.docker.base_image,
        "requirements": environment.requirements,
        "variables": {name: str(value) for name, value in environment.environment_variables.items()},
    }


def _read(workspace: Workspace, name: str, number: int, file: FileGrant) -> Environment:
    try:
        document = json.loads(workspace.gateway.read(file))
        made = Environment(
            name,
            pip_packages=document["pip"],
            conda_packages=document["conda"],
            conda_channels=document["channels"],
            requirements=document["requirements"],
            image=document["image"],
            environment_variables=document["variables"],
        )
        made.python.user_managed_dependencies = document["userManaged"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"version {number} of the environment {name} cannot be read ({error}): register it anew"
        ) from error
    made.version = str(number)
    return made


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"the environment's name is {name!r}: give letters, digits, '_', '.' and '-', at most 63")
    return name
