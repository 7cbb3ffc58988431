"""The files that a run has saved: its outputs, its log, and the history of what it logged."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trainyard.contract import LOG_PARTS, METRICS_HISTORY, OUTPUTS, TRAIN_LOG, FileGrant, attempt_folder
from trainyard.errors import ConfigError, NotFound
from trainyard.history import metrics_of, said_of
from trainyard.remote.datastore import progress
from trainyard.remote.gateway import Gateway
from trainyard.remote.view import near
from trainyard.uploads import in_parallel

if TYPE_CHECKING:
    from trainyard.remote.workspace import Workspace

LOGS: Final = "logs/"


def files_of(workspace: Workspace, job: Mapping[str, Any]) -> RunFiles:
    """Return the files that the latest attempt of a run has saved."""
    attempt = (job.get("status") or {}).get("attempt", 1)
    return RunFiles(workspace.gateway, uid=str(job["metadata"]["uid"]), attempt=attempt)


class RunFiles:
    """What one attempt of a run has saved, as it is when it is asked for.

    Parameters
    ----------
    gateway
        The namespace's gateway.
    uid
        The uid of the run.
    attempt
        Which attempt; each has files of its own.
    """

    def __init__(self, gateway: Gateway, *, uid: str, attempt: int) -> None:
        self._gateway = gateway
        self._prefix = f"{uid}/{attempt_folder(attempt)}"

    def listed(self) -> dict[str, FileGrant]:
        """Return all files by path."""
        return {file["path"]: file for file in self._gateway.files(area="runs", prefix=self._prefix)}

    def names(self) -> list[str]:
        """Return the paths of logs and outputs, in order."""
        return names_of(self.listed())

    def metrics(self) -> dict[str, Any]:
        """Return what the script has logged, as far as its history is saved."""
        return metrics_of(self.entries())

    def entries(self) -> list[dict[str, Any]]:
        """Return the lines of the history of what the script has logged, as far as it is saved."""
        found = self._gateway.files(area="runs", prefix=self._prefix + METRICS_HISTORY)
        return entries_of(self._gateway.read(found[0])) if found else []

    def said(self, kind: str) -> dict[str, str]:
        """Return the ``tags`` or ``properties`` that the script has set, as far as its history is saved."""
        return said_of(self.entries(), kind)

    def log_texts(self) -> dict[str, str]:
        """Return the logs that are saved by path."""
        files = self.listed()
        paths = [path for path in names_of(files) if path.startswith(LOGS)]
        return {path: self._gateway.read(files[path]).decode(errors="replace") for path in paths}

    def log(self) -> str:
        """Return the log of the script, as far as it is saved."""
        files = self.listed()
        whole = [files[TRAIN_LOG]] if TRAIN_LOG in files else []
        parts = whole or [files[path] for path in sorted(files) if path.startswith(LOG_PARTS)]
        return b"".join(self._gateway.read(part) for part in parts).decode(errors="replace")

    def download(self, name: str, target: Path) -> Path:
        """Fetch one file.

        Parameters
        ----------
        target
            The file to write, or a folder that is there.

        Raises
        ------
        NotFound
            If the run has no such file: with what may have been meant.
        """
        files = self.listed()
        if name not in files:
            raise NotFound(f"the run has no file {name}: {near(name, names_of(files))}")
        place = target / name.rsplit("/", 1)[-1] if target.is_dir() else target
        place.parent.mkdir(parents=True, exist_ok=True)
        self._gateway.download(files[name], place)
        return place

    def download_below(
        self, prefix: str, folder: Path, *, places: Sequence[Path] | None = None, whole_path: bool = True
    ) -> list[Path]:
        """Fetch the logs and outputs whose path begins with `prefix`, to their path below `folder`.

        Parameters
        ----------
        places
            A place for each of them in place of that.
        whole_path
            Whether that is the whole path, or what follows the folder `prefix`.

        Raises
        ------
        ConfigError
            If there are not as many places as files.
        """
        files = self.listed()
        names = [name for name in names_of(files) if name.startswith(prefix)]
        if places is None:
            top = 0 if whole_path else len(prefix[: prefix.rfind("/") + 1])
            places = [folder / name[top:] for name in names]
        if len(places) != len(names):
            raise ConfigError(
                f"output_paths has {len(places)} paths, and {len(names)} files begin with {prefix!r}: give one for each"
            )
        with progress(sum(files[name]["bytes"] for name in names), show=True) as advance:

            def fetch(pair: tuple[str, Path]) -> Path:
                name, target = pair
                target.parent.mkdir(parents=True, exist_ok=True)
                self._gateway.download(files[name], target, on_bytes=advance)
                return target

            return in_parallel(fetch, list(zip(names, places, strict=True)))


def names_of(paths: Iterable[str]) -> list[str]:
    """Return the logs and outputs among the files of a run, in order."""
    return sorted(path for path in paths if path.startswith((LOGS, f"{OUTPUTS}/")))


def entries_of(content: bytes) -> list[dict[str, Any]]:
    """Return the entries of a history; a line that is torn or of another kind is left out."""
    found = []
    for line in content.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def default_target(name: str, given: str | os.PathLike[str] | None) -> Path:
    """Return where a file goes: where it was said, else to the same path below the current folder."""
    return Path(given) if given is not None else Path(name)


def model_candidates(path: str, names: Sequence[str]) -> bool:
    """Return whether a file or a folder of a run is at `path`."""
    return any(name == path or name.startswith(path.rstrip("/") + "/") for name in names)
