"""The namespace's folder in the object store: what people bring there, runs read."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from trainyard.contract import FileGrant
from trainyard.digest import sha256_of
from trainyard.errors import ConfigError, Conflict
from trainyard.remote.reference import DataReference, clean_path
from trainyard.transfer import Upload
from trainyard.uploads import in_parallel

if TYPE_CHECKING:
    from trainyard.remote.workspace import Workspace

AREA: Final = "data"
DEFAULT: Final = "workspaceblobstore"
NOTEBOOK_COLUMNS: Final = 80

Advance = Callable[[int], object]


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """A file here, and where it goes in the datastore."""

    source: Path
    target: str


class Datastore:
    """The datastore of a workspace; there is one.

    Parameters
    ----------
    workspace
        The workspace.
    name
        Azure ML's name of the default one.
    """

    def __init__(self, workspace: Workspace, name: str | None = None) -> None:
        if name not in {None, DEFAULT}:
            raise ConfigError(f"there is no datastore {name!r}: a workspace has one, {DEFAULT}")
        self.workspace = workspace
        self.name = DEFAULT

    @staticmethod
    def get(workspace: Workspace, datastore_name: str) -> Datastore:
        """Return the datastore of that name.

        Parameters
        ----------
        workspace
            The workspace.
        datastore_name
            Its name; there is one.
        """
        return Datastore(workspace, datastore_name)

    @property
    def datastore_type(self) -> str:
        """What kind of store it is."""
        return "Folder" if self.workspace.is_local else "S3"

    @property
    def account_name(self) -> str:
        """The namespace of the installation whose bucket it is in."""
        return self.workspace.resource_group

    @property
    def container_name(self) -> str:
        """Its folder in the bucket."""
        return f"{AREA}/{self.workspace.name}"

    def upload(
        self,
        src_dir: str | Path,
        target_path: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> DataReference:
        """Upload a folder with all that is below it.

        Parameters
        ----------
        src_dir
            The folder.
        target_path
            Where it goes; the top of the datastore by default.
        overwrite
            Whether files that are there already are replaced; otherwise they are skipped, as those are whose content
            is there.
        show_progress
            Whether to print what happens.
        """
        root = Path(src_dir)
        if not root.is_dir():
            raise ConfigError(f"{src_dir} is no folder: give one, or use upload_files")
        return self._upload(files_below(root), root, target_path, overwrite=overwrite, show=show_progress)

    def upload_files(
        self,
        files: Sequence[str | Path],
        relative_root: str | Path | None = None,
        target_path: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> DataReference:
        """Upload files, with their path below `relative_root`, or below the folder that they have in common.

        Parameters
        ----------
        files
            The files.
        relative_root
            The folder that their paths are kept below; by default the one that all of them are in.
        target_path
            The folder of the datastore.
        overwrite
            Whether files that are there may be replaced.
        show_progress
            Whether to show how far it is.
        """
        paths = [Path(file).absolute() for file in files]
        if not paths:
            raise ConfigError("files is empty: give at least one")
        missing = [str(path) for path in paths if not path.is_file()]
        if missing:
            raise ConfigError(f"no such file: {', '.join(missing)}")
        root = Path(relative_root).absolute() if relative_root else Path(os.path.commonpath([p.parent for p in paths]))
        return self._upload(paths, root, target_path, overwrite=overwrite, show=show_progress)

    def download(
        self,
        target_path: str | Path,
        prefix: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> int:
        """Download what is below `prefix` into a folder, with its whole path, and return how many files came.

        Parameters
        ----------
        target_path
            The folder of this machine.
        prefix
            The file or folder of the datastore; all of it where it is None.
        overwrite
            Whether files that are there may be replaced.
        show_progress
            Whether to show how far it is.
        """
        where = clean_path(prefix)
        listed = self.workspace.gateway.files(area=AREA, prefix=where)
        files = [(file, Path(target_path) / located(file, where, container=self.container_name)) for file in listed]
        wanted = [(file, target) for file, target in files if overwrite or not target.exists()]
        with progress(sum(file["bytes"] for file, _ in wanted), show=show_progress) as advance:

            def fetch(pair: tuple[FileGrant, Path]) -> None:
                pair[1].parent.mkdir(parents=True, exist_ok=True)
                self.workspace.gateway.download(pair[0], pair[1], on_bytes=advance)

            in_parallel(fetch, wanted)
        return len(wanted)

    def path(self, path: str | None = None, data_reference_name: str | None = None) -> DataReference:
        """Return the reference of a folder or file in it.

        Parameters
        ----------
        path
            The file or folder; all of it where it is None.
        data_reference_name
            The name of its input.
        """
        return DataReference(self, data_reference_name, path)

    def as_mount(self) -> DataReference:
        """Return the reference of all of it."""
        return DataReference(self, self.name)

    def as_download(self, path_on_compute: str | None = None) -> DataReference:
        """Return the reference of all of it.

        Parameters
        ----------
        path_on_compute
            To be left out.
        """
        return DataReference(self, self.name).as_download(path_on_compute)

    def __repr__(self) -> str:
        return f"Datastore(name={self.name!r}, container_name={self.container_name!r})"

    def _upload(
        self, paths: Sequence[Path], root: Path, target_path: str | None, *, overwrite: bool, show: bool
    ) -> DataReference:
        where = clean_path(target_path).rstrip("/")
        wanted = placed(paths, root, where)
        folder = f"{where}/" if where else ""
        listed = self.workspace.gateway.files(area=AREA, prefix=folder)
        wanted = _without(wanted, {folder + file["path"]: file for file in listed}, overwrite=overwrite, show=show)
        if show:
            print(f"Uploading an estimated of {len(wanted)} files")
            for file in wanted:
                print(f"Uploading {file.source}")
        with progress(sum(file.source.stat().st_size for file in wanted), show=show) as advance:
            uploads = [upload_of(file, advance=advance) for file in wanted]
            self.workspace.gateway.put(uploads, op="data-put")
        if show:
            for number, file in enumerate(wanted, 1):
                print(f"Uploaded {file.source}, {number} files out of an estimated total of {len(wanted)}")
            print(f"Uploaded {len(wanted)} files")
        return DataReference(self, None, where)


class CountingReader(io.BufferedReader):
    """A file that tells how many of its bytes were read, and takes that back when it is closed half-way.

    A try that failed is repeated from the start: what it had counted must not be counted twice.
    """

    def __init__(self, path: Path, *, advance: Advance) -> None:
        super().__init__(io.FileIO(path))
        self._left = path.stat().st_size
        self._counted = 0
        self._advance = advance

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes, all that are left where it is negative."""
        chunk = super().read(size)
        self._counted += len(chunk)
        self._left -= len(chunk)
        self._advance(len(chunk))
        return chunk

    def close(self) -> None:
        """Close the file."""
        if not self.closed and self._left > 0:
            self._advance(-self._counted)
        super().close()


def files_below(root: Path) -> list[Path]:
    """Return the plain files below a folder, in order."""
    return sorted(path for path in root.rglob("*") if path.is_file())


def placed(paths: Sequence[Path], root: Path, where: str) -> list[LocalFile]:
    """Return where each file goes: its path below `root`, below `where`.

    Raises
    ------
    ConfigError
        If one is not below `root`.
    Conflict
        If two go to the same place.
    """
    found: dict[str, LocalFile] = {}
    for path in paths:
        try:
            relative = path.relative_to(root).as_posix()
        except ValueError:
            raise ConfigError(f"{path} is not below {root}: give another relative_root, or leave it out") from None
        target = clean_path(f"{where}/{relative}" if where else relative)
        if target in found:
            raise Conflict(f"{found[target].source} and {path} would both be {target}: upload one of them")
        found[target] = LocalFile(source=path, target=target)
    return list(found.values())


def located(file: FileGrant, prefix: str, *, container: str) -> str:
    """Return the whole path of a listed file: where `prefix` is that of a file, it is listed by its name alone."""
    if unquote(urlsplit(file["url"]).path).endswith(f"/{container}/{prefix}"):
        return prefix
    return "/".join(filter(None, (prefix.rstrip("/"), file["path"])))


def upload_of(file: LocalFile, *, advance: Advance) -> Upload:
    """Return how a file is sent: with its digest, so that the store keeps nothing else."""
    return Upload(
        path=file.target,
        size=file.source.stat().st_size,
        sha256=sha256_of(file.source),
        opener=lambda: CountingReader(file.source, advance=advance),
    )


@contextmanager
def progress(total: int, *, show: bool) -> Iterator[Advance]:
    """Yield what a bar is moved by, where somebody watches a terminal or a notebook."""
    if not show or not total:
        yield lambda _count: None
        return
    from tqdm import tqdm

    # A notebook is no terminal, yet it draws text over; what is saved with it, and seen by readers, is the bar's end.
    drawn = _in_notebook()
    stream, width = (sys.stdout, NOTEBOOK_COLUMNS) if drawn else (sys.stderr, None)
    bar = tqdm(
        total=total,
        unit="B",
        unit_scale=True,
        file=stream,
        ncols=width,
        leave=drawn,
        disable=False if drawn else None,
    )
    with bar:
        yield bar.update


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def holds(there: FileGrant, path: Path) -> bool:
    """Return whether a stored file has the content of a local one, as far as the store tells.

    An entity tag is the content's MD5 where the content came in one piece without the store's own encryption. Any other
    tag differs, which says nothing.
    """
    if there["bytes"] != path.stat().st_size:
        return False
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, partial(hashlib.md5, usedforsecurity=False))
    return there.get("etag", "").strip('"') == digest.hexdigest()


def _without(
    wanted: list[LocalFile], there: Mapping[str, FileGrant], *, overwrite: bool, show: bool
) -> list[LocalFile]:
    left = []
    for file in wanted:
        found = there.get(file.target)
        # Looked at only where it matters: what is kept without a word needs no reading.
        same = found is not None and (overwrite or show) and holds(found, file.source)
        if found is None or (overwrite and not same):
            left.append(file)
        elif show:
            note = "" if same else " (its content may differ: overwrite=True replaces it)"
            print(f"Target already exists. Skipping upload for {file.target}{note}")
    return left
