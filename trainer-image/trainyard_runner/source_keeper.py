"""A run's code on its way into the pod: as it was frozen, or from git, and then frozen by this pod."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from trainyard.digest import digest_of
from trainyard.patience import Unavailable
from trainyard.transfer import StoreRefused, Upload
from trainyard.uploads import GRANTS_PER_FILE, open_regular
from trainyard_runner import git
from trainyard_runner.mounted import await_secret
from trainyard_runner.packing import pack
from trainyard_runner.source import SourceError, unpack
from trainyard_runner.warnings import tell

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainyard.contract import GitSource, SourceGrant
    from trainyard_runner.gateway import Clients
    from trainyard_runner.layout import Layout

_TAKEN = 412  # another pod was first


class SourceKeeper:
    """Brings the code into the working folder."""

    def __init__(self, *, clients: Clients, layout: Layout, say: Callable[[str], None]) -> None:
        self._clients = clients
        self._layout = layout
        self._say = say
        self._packed = layout.home / "source.tar.gz"

    def fetch(self, source: SourceGrant) -> SourceGrant:
        """Unpack the run's source, and return what it was in the end.

        Raises
        ------
        SourceError
            If it cannot be used.
        TransferError
            If it cannot be fetched.
        """
        wanted = source.get("git")
        if wanted is not None:
            self._say(f"fetching {wanted['revision']} of {wanted['url']}")
            source = self._freeze(wanted)
            self._say("fetching the source")
        if not self._packed.exists() or _digest(self._packed) != source["sha256"]:
            source = self._download(source)
        unpack(self._packed, self._layout.work)
        tell(f"fetched the source: {source['bytes']} bytes, SHA-256 {source['sha256']}")
        self._packed.unlink()
        return source

    def _freeze(self, wanted: GitSource) -> SourceGrant:
        scratch = self._layout.home / "git"
        secret = self._layout.secrets / "source"
        try:
            name = wanted.get("secret")
            if name is not None and not await_secret(secret, name=name, say=self._say):
                words = f"spec.source.git.secretRef.name: there is no Secret {name} in the run's namespace: create it"
                raise SourceError(words, reason="SourceNotFound")
            checkout = git.fetch(wanted, scratch=scratch, secret=secret, on_trouble=self._clients.trouble)
            pack(checkout.folder, self._packed)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        request = {"op": "source-put", "sha256": _digest(self._packed), "commit": checkout.commit}
        self._upload(request)
        # Whoever was first, this is what every attempt of the run gets.
        return self._clients.gateway.run()["source"]

    def _upload(self, request: dict[str, str]) -> None:
        packed = self._packed
        upload = Upload(path=packed.name, size=packed.stat().st_size, opener=lambda: open_regular(packed))
        for attempt in range(GRANTS_PER_FILE):
            (grant,) = self._clients.gateway.grants(request)["files"]
            try:
                self._clients.store.upload(
                    grant["url"], headers=grant["headers"], size=upload.size, opener=upload.opener
                )
            except StoreRefused as error:
                if error.status == _TAKEN:
                    return
                if attempt == GRANTS_PER_FILE - 1:
                    raise
            except Unavailable:
                if attempt == GRANTS_PER_FILE - 1:
                    raise
            else:
                return

    def _download(self, source: SourceGrant) -> SourceGrant:
        for attempt in range(GRANTS_PER_FILE):
            try:
                self._clients.store.download(source["url"], self._packed, size=source["bytes"])
                break
            except StoreRefused:
                if attempt == GRANTS_PER_FILE - 1:
                    raise
                source = self._clients.gateway.run()["source"]
        digest = _digest(self._packed)
        if digest != source["sha256"]:
            raise SourceError(f"the source that arrived has the digest {digest}, not {source['sha256']}")
        return source


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return digest_of(file)[0]
