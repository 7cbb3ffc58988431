"""A part of the datastore, as an argument of a script: on submission it becomes an input of the run."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

from trainyard.contract import check_relative_path
from trainyard.errors import ConfigError

if TYPE_CHECKING:
    from trainyard.remote.datastore import Datastore

MOUNT: Final = "mount"
DOWNLOAD: Final = "download"
# With a hyphen and eight digits it is still a name.
_LIKE: Final = 54
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class DataReference:
    """A folder or file of a datastore that a run gets before its script starts, read-only.

    Parameters
    ----------
    datastore
        The datastore.
    data_reference_name
        The name of the input: the folder ``/inputs/NAME`` of the run; made of the path by default.
    path_on_datastore
        The folder or file; nothing means all of it.
    mode
        ``mount`` or ``download``: both are the same here, the files are there before the script starts.
    """

    def __init__(
        self,
        datastore: Datastore,
        data_reference_name: str | None = None,
        path_on_datastore: str | None = None,
        mode: str = MOUNT,
    ) -> None:
        path = clean_path(path_on_datastore)
        name = data_reference_name or name_of_path(path)
        if not _NAME.fullmatch(name):
            raise ConfigError(f"the data reference {name!r}: give letters, digits, '_' and '-', at most 63")
        if mode not in {MOUNT, DOWNLOAD}:
            raise ConfigError(f"mode is {mode!r}: use {MOUNT} or {DOWNLOAD}; runs write to their outputs alone")
        self.datastore = datastore
        self.data_reference_name = name
        self.path_on_datastore = path
        self.mode = mode

    def path(self, path: str | None = None, data_reference_name: str | None = None) -> DataReference:
        """Return the reference of something below this one.

        Parameters
        ----------
        path
            The folder or file below this one.
        data_reference_name
            The name of its input.
        """
        below = "/".join(filter(None, (self.path_on_datastore.rstrip("/"), clean_path(path))))
        return DataReference(self.datastore, data_reference_name, below, self.mode)

    def as_mount(self) -> DataReference:
        """Return the same, to be there before the script starts."""
        return DataReference(self.datastore, self.data_reference_name, self.path_on_datastore, MOUNT)

    def as_download(self, path_on_compute: str | None = None) -> DataReference:
        """Return the same, to be there before the script starts; where, the run says and not `path_on_compute`.

        Parameters
        ----------
        path_on_compute
            To be left out.
        """
        if path_on_compute is not None:
            raise ConfigError("path_on_compute: inputs are in /inputs/NAME; give the script their place by an argument")
        return DataReference(self.datastore, self.data_reference_name, self.path_on_datastore, DOWNLOAD)

    def to_config(self) -> DataReference:
        """Return what ``run_config.data_references`` takes: the reference itself."""
        return self

    def to_input(self) -> dict[str, Any]:
        """Return the entry of ``spec.inputs``."""
        return {"name": self.data_reference_name, "datastore": {"path": self.path_on_datastore}}

    def __str__(self) -> str:
        # What stands for the folder in a list of arguments.
        return f"$(inputs.{self.data_reference_name})"

    def __repr__(self) -> str:
        return f"DataReference({self.path_on_datastore or '.'!r} as {self})"


def name_of_path(path: str) -> str:
    """Return what the input of a path is called: the path itself where it can be a name, else one that is like it."""
    if not path:
        return "datastore"
    if _NAME.fullmatch(path.rstrip("/")):
        return path.rstrip("/")
    like = re.sub(r"[^A-Za-z0-9]+", "-", path).strip("-")[:_LIKE] or "data"
    return f"{like}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def clean_path(path: str | None) -> str:
    """Return a path in the datastore without what only looks different, such as a leading ``./``.

    Raises
    ------
    ConfigError
        If it leads out of the datastore.
    """
    text = path or ""
    while text.startswith("./"):
        text = text[2:]
    if text in {"", "."}:
        return ""
    try:
        return check_relative_path(text, what="the path in the datastore")
    except ValueError as error:
        raise ConfigError(str(error)) from error
