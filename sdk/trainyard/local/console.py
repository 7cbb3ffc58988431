"""What a run prints while it goes, given as an API server gives the log of a pod."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from trainyard.errors import ConfigError, NotFound
from trainyard.local.claims import is_claimed

if TYPE_CHECKING:
    from trainyard.local.home import Home
    from trainyard.local.objects import LocalObjects

LOOK_SECONDS: Final = 0.1
_POD = 6  # of /api/v1/namespaces/NAMESPACE/pods/POD/log


class LocalApi:
    """The part of an API server that answers with logs.

    Parameters
    ----------
    home
        The folder.
    objects
        The objects of the namespace that the runs are in.
    """

    def __init__(self, home: Home, objects: LocalObjects) -> None:
        self._home = home
        self._objects = objects

    @property
    def address(self) -> str:
        """The folder."""
        return str(self._home.folder)

    def request(self, method: str, path: str, **_others: Any) -> NoReturn:
        """Refuse: there is no API server.

        Raises
        ------
        ConfigError
            Always.
        """
        raise ConfigError(f"{method} {path}: the workspace {self.address} is a folder, and has no API server")

    @contextmanager
    def stream(self, _method: str, path: str, **_others: Any) -> Iterator[Any]:
        """Lend the log of the process that ``…/pods/POD/log`` names, from its beginning to its end."""
        folder = self._home.work(uid_of(path.split("/")[_POD]))
        console = folder / f"console-{path.split('/')[_POD]}.log"
        if not console.exists():
            raise NotFound("the script has not started")
        yield _Growing(console, folder / "lock")


class _Growing:
    """A file that is written until its writer has ended it with another file beside it, or is gone."""

    def __init__(self, path: Path, lock: Path) -> None:
        self._path = path
        self._lock = lock

    def stream(self, amt: int | None = None) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while True:
                ended = self._path.with_suffix(".end").exists() or not is_claimed(self._lock)
                while chunk := file.read(amt or 1 << 16):
                    yield chunk
                if ended:
                    return
                time.sleep(LOOK_SECONDS)


def pod_name(uid: str, attempt: int) -> str:
    """Return what stands for a pod's name in the status of a run."""
    return f"local-{uid}-{attempt}"


def uid_of(pod: str) -> str:
    """Return the uid of the run that a `pod_name` is of."""
    return pod.removeprefix("local-").rpartition("-")[0]
