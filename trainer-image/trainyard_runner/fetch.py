"""``fetch MODEL[:VERSION|@ALIAS] FOLDER``: a registered model's bytes for a program that serves it.

Nothing is loaded here, only fetched: the manifest has to have the digest that the registry gave out, and each file the
size and digest that the manifest gives. The folder appears when all of that is so, and with the manifest beside it.
"""

from __future__ import annotations

import argparse
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from trainyard.contract import ENV_CA, ENV_GATEWAY, TOKEN_AUDIENCE
from trainyard.model_manifest import BadModelError, Manifest
from trainyard.patience import TransferError
from trainyard.transfer import FileChanged, GatewayRefused, StoreRefused
from trainyard.uploads import GRANTS_PER_FILE, in_parallel
from trainyard_runner.fetched import Folder, FolderError
from trainyard_runner.gateway import Clients
from trainyard_runner.warnings import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trainyard.contract import FileGrant, ModelFile, ModelGrant
    from trainyard.patience import Retry
    from trainyard_runner.layout import Layout

EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_BAD_BYTES = 4
EXIT_AWAY = 5
EXIT_FOLDER = 6
EXITS = f"""\
exit status:
  0  the folder holds the version, whole and verified
  {EXIT_USAGE}  the command line, the environment or the token's file is wrong
  {EXIT_REFUSED}  the gateway says no: no right, no such model or version, not Ready
  {EXIT_BAD_BYTES}  what came is not what was registered
  {EXIT_AWAY}  the gateway or the object store stayed away
  {EXIT_FOLDER}  the folder cannot be written
"""
_CONFIG_MAP = "trainyard-gateway"


@dataclass(frozen=True)
class Wish:
    """Which version is wanted, and where."""

    model: str
    version: str
    folder: Path
    namespace: str | None

    def request(self, version: str | int, after: str = "") -> dict[str, Any]:
        """Return what the gateway is asked for a page."""
        request = {"op": "model", "model": self.model, "version": version, "after": after}
        return request if self.namespace is None else {**request, "namespace": self.namespace}


class WishError(Exception):
    """The command line, or what surrounds it, is wrong."""


def fetch(arguments: Sequence[str], *, layout: Layout, environ: Mapping[str, str], retry: Retry | None = None) -> int:
    """Fetch what the command line names and return the exit status; what went wrong is said in one sentence."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    try:
        wish = read_wish(arguments)
        _check_surroundings(layout, environ)
        print(_fetch(wish, Clients(environ=environ, layout=layout, retry=retry)))  # noqa: T201 - what it is called for
    except (WishError, BadModelError, FolderError, TransferError, OSError) as error:
        return _failed(layout, error)
    return 0


def read_wish(arguments: Sequence[str]) -> Wish:
    """Return what the command line asks for; ends the process where it makes no sense."""
    parser = _Parser(
        prog="runner.pyz fetch",
        description="Fetch a registered model and verify every byte of it.",
        epilog=EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL[:VERSION|@ALIAS]", help="alone, the latest version that is Ready")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="appears whole or not at all")
    parser.add_argument("--namespace", metavar="NS", help="of the model; absent, that of the service account")
    given = parser.parse_args(list(arguments))
    name, mark, version = given.model.partition(":")
    if not mark:
        name, mark, alias = given.model.partition("@")
        version = f"@{alias}" if mark else "latest"
    if not name or version in {"", "@"} or not set(version[1:]).isdisjoint(":@"):
        parser.error(f"{given.model!r} is no MODEL[:VERSION|@ALIAS]: write sklearn_mnist, sklearn_mnist:3 or such")
    return Wish(model=name, version=version, folder=given.folder, namespace=given.namespace)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WishError(f"{message}; {self.format_usage().strip()}")


def _check_surroundings(layout: Layout, environ: Mapping[str, str]) -> None:
    missing = [name for name in (ENV_GATEWAY, ENV_CA) if not environ.get(name)]
    if missing:
        raise WishError(
            f"{' and '.join(missing)} not set: copy the ConfigMap {_CONFIG_MAP} from the operator's namespace, and "
            "give it to this container with envFrom"
        )
    if not layout.token.is_file():
        raise WishError(
            f"there is no token at {layout.token}: mount a projected service account token of the audience "
            f"{TOKEN_AUDIENCE} there"
        )


def _fetch(wish: Wish, clients: Clients) -> str:
    folder = Folder(wish.folder)
    folder.check()
    page = _page(clients, wish, wish.version)
    manifest = _manifest(clients, page, folder)
    what = f"{page['id']} of namespace {page['namespace']} is in {wish.folder}"
    size = f"{len(manifest.files)} file{'s' * (len(manifest.files) != 1)}, {manifest.size} bytes"
    verified = f"{size}, verified by manifest sha256:{page['manifestSha256']}"
    signature = _content(clients, page["signature"], folder) if "signature" in page else None
    if folder.holds(manifest):
        folder.note_signature(signature)
        return f"{what} already: {verified}"
    try:
        _fetch_pages(clients, wish, page, folder.stage(), manifest)
        folder.note_signature(signature)
        folder.appear(manifest)
    finally:
        folder.clear()
    return f"{what}: {verified}"


def _fetch_pages(clients: Clients, wish: Wish, page: ModelGrant, stage: Path, manifest: Manifest) -> None:
    said, number, after = page["manifestSha256"], page["version"], ""
    seen: set[str] = set()
    while True:
        if page["manifestSha256"] != said:
            raise BadModelError(f"the gateway names two manifests for {page['id']}")
        seen |= {manifest.check_listed(file) for file in page["files"]}
        # By its number from now on: an alias may move in between.
        _fetch_files(clients, partial(_page, clients, wish, number, after=after), page["files"], stage, manifest)
        following = page.get("next")
        if following is None:
            break
        page, after = _page(clients, wish, number, after=following), following
    manifest.check_whole(seen)


def _page(clients: Clients, wish: Wish, version: str | int, *, after: str = "") -> ModelGrant:
    return cast("ModelGrant", clients.gateway.grants(wish.request(version, after)))


def _manifest(clients: Clients, page: ModelGrant, folder: Folder) -> Manifest:
    return Manifest.read(_content(clients, page["manifest"], folder), sha256=page["manifestSha256"])


def _content(clients: Clients, file: FileGrant, folder: Folder) -> bytes:
    target = folder.new_manifest()
    try:
        clients.store.download(file["url"], target, size=file["bytes"])
        return target.read_bytes()
    finally:
        target.unlink(missing_ok=True)


def _fetch_files(
    clients: Clients, again: Callable[[], ModelGrant], files: list[ModelFile], stage: Path, manifest: Manifest
) -> None:
    def one(file: ModelFile) -> ModelFile | None:
        target = stage / file["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            clients.store.download(file["url"], target, size=file["bytes"])
        except StoreRefused:
            return file
        manifest.verify(file["path"], target)
        return None

    for _ in range(GRANTS_PER_FILE):
        left = [file for file in in_parallel(one, files) if file is not None]
        if not left:
            return
        # An address that expired is refused like any other: only a fresh one can tell them apart.
        fresh = {file["path"]: file for file in again()["files"]}
        files = [fresh.get(file["path"], file) for file in left]
    raise BadModelError(f"the object store does not give {files[0]['path']!r}: it was removed from the version")


def _failed(layout: Layout, error: Exception) -> int:
    code, message = _explained(error)
    tell(message)
    with suppress(OSError):
        # Where there is one, it is what `kubectl describe pod` shows.
        if layout.termination_log.exists():
            layout.termination_log.write_text(message)
    return code


def _explained(error: Exception) -> tuple[int, str]:
    if isinstance(error, WishError):
        return EXIT_USAGE, str(error)
    if isinstance(error, GatewayRefused):
        return EXIT_REFUSED, error.message
    if isinstance(error, (BadModelError, FileChanged, StoreRefused)):
        return EXIT_BAD_BYTES, f"{error}: nothing of it was kept"
    if isinstance(error, TransferError):
        return EXIT_AWAY, f"given up waiting: {error}"
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return EXIT_FOLDER, f"the folder cannot be written: {error.strerror or error}{where}"
    return EXIT_FOLDER, str(error)
