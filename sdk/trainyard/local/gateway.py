"""Files of a folder, with the interface that the gateway of a cluster gives people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import unquote, urlsplit

from trainyard.contract import FileGrant, ModelFile, ModelGrant
from trainyard.errors import ConfigError, Conflict, NotFound
from trainyard.local.bucket import checked, find
from trainyard.local.objects import NO_TARGETS, LocalObjects
from trainyard.model_manifest import BadModelError, Manifest
from trainyard.naming import object_name
from trainyard.remote.gateway import Gateway
from trainyard.remote.objects import REGISTERED_MODELS
from trainyard.transfer import Upload
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.storage import layout

_ROOTS: Final = {
    "data": layout.data_prefix,
    "snapshots": layout.snapshots_prefix,
    "runs": layout.runs_prefix,
    "models": layout.models_prefix,
}
_PUTS: Final = {"data-put": "data", "snapshot-put": "snapshots"}
_CHUNK: Final = 1 << 20


class LocalGateway(Gateway):
    """What a folder has of one namespace.

    Parameters
    ----------
    objects
        The objects of the folder and namespace.
    """

    def __init__(self, objects: LocalObjects) -> None:
        self._objects = objects
        self._home = objects.home

    def grants(self, request: Mapping[str, Any]) -> NoReturn:
        """Refuse: files are read and written as files.

        Raises
        ------
        ConfigError
            Always.
        """
        raise ConfigError(f"{request.get('op')}: the workspace {self._home.folder} is a folder, and has no gateway")

    def files(self, *, area: str, prefix: str) -> list[FileGrant]:
        """Return the files below `prefix` of an area: ``data``, ``snapshots``, ``runs`` or ``models``."""
        found = find(self._root(area), checked(prefix, "prefix"))
        return [FileGrant(path=file.path, bytes=file.bytes, url=file.place.as_uri()) for file in found]

    def model(self, name: str, version: int | str, *, after: str = "") -> ModelGrant:  # noqa: ARG002 - one page has all
        """Return the files of a version of a model."""
        namespace, number = self._objects.namespace, int(version)
        model = self._objects.get(REGISTERED_MODELS, object_name(name))
        entries = {entry["version"]: entry for entry in (model.get("status") or {}).get("versions") or ()}
        entry = entries.get(number)
        if entry is None:
            raise NotFound(f"{name} has no version {number}")
        if entry["state"] not in {VersionState.READY, VersionState.ARCHIVED}:
            raise Conflict(f"{entry['id']} is {entry['state']}: only versions that are Ready can be read")
        place = self._home.key(layout.model_manifest_key(namespace, name, number))
        folder = self._home.key(layout.version_prefix(namespace, name, number))
        try:
            content = place.read_bytes()
            manifest = Manifest.read(content, sha256=entry["manifestSha256"])
        except (OSError, BadModelError) as error:
            raise Conflict(f"{entry['id']} cannot be read: {error}; use another version") from error
        files = [
            ModelFile(path=path, bytes=size, sha256=sha256, url=(folder / path).as_uri())
            for path, (size, sha256) in sorted(manifest.files.items())
        ]
        return ModelGrant(
            namespace=namespace,
            model=name,
            version=number,
            id=entry["id"],
            state=entry["state"],
            manifestSha256=entry["manifestSha256"],
            manifest=FileGrant(path=place.name, bytes=len(content), url=place.as_uri()),
            files=files,
            next=None,
        )

    def put(self, uploads: Sequence[Upload], *, op: str, on_bytes: Callable[[int], None] | None = None) -> None:
        """Save files where `op` says: ``data-put`` or ``snapshot-put``."""
        if op not in _PUTS:
            raise ConfigError(f"{op} cannot be done with {self._home.folder}: it needs the gateway of a cluster")
        root = self._root(_PUTS[op])
        for upload in uploads:
            target = root / checked(upload.path, "the path of a file")
            with upload.opener() as content, self._home.writing(target) as file:
                while chunk := content.read(_CHUNK):
                    file.write(chunk)
            if on_bytes:
                on_bytes(upload.size)

    def download(self, file: FileGrant, target: Path, *, on_bytes: Callable[[int], object] | None = None) -> None:
        """Copy a file to `target`, which appears whole or not at all."""
        part = target.with_name(target.name + ".part")
        try:
            with self._place(file).open("rb") as content, part.open("wb") as copy:
                while chunk := content.read(_CHUNK):
                    copy.write(chunk)
                    if on_bytes:
                        on_bytes(len(chunk))
            part.replace(target)
        except FileNotFoundError as error:
            raise NotFound(f"{file['path']} is not in {self._home.folder} any more") from error
        finally:
            part.unlink(missing_ok=True)

    def read(self, file: FileGrant) -> bytes:
        """Return the content of a file."""
        try:
            return self._place(file).read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"{file['path']} is not in {self._home.folder} any more") from error

    def default_provider(self) -> NoReturn:
        """Refuse: there are no compute targets.

        Raises
        ------
        ConfigError
            Always.
        """
        raise ConfigError(NO_TARGETS)

    def close(self) -> None:
        """Do nothing: no connection is open."""

    def _root(self, area: str) -> Path:
        return self._home.key(_ROOTS[area](self._objects.namespace))

    @staticmethod
    def _place(file: FileGrant) -> Path:
        return Path(unquote(urlsplit(file["url"]).path))
