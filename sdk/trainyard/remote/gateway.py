"""The run gateway and the object store behind it, reached with the kubeconfig as the only credential.

The gateway is asked with a short-lived token of a service account of the namespace. Where it, or the store that its
signed addresses name, is not reachable from here, the way goes through the API server.
"""

from __future__ import annotations

import json
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

from trainyard.contract import ENV_CA, ENV_GATEWAY, TOKEN_AUDIENCE, FileGrant, ModelGrant
from trainyard.errors import (
    Conflict,
    DigestMismatch,
    Forbidden,
    Invalid,
    NotFound,
    NotInstalled,
    StoreUnavailable,
    TrainyardError,
    Unreachable,
)
from trainyard.patience import Retry, TransferError, Unavailable
from trainyard.remote.account import DEFAULT_ACCOUNT, how_to_bind, how_to_make
from trainyard.remote.api import Api, JsonObject
from trainyard.remote.portforward import Forward, dialer
from trainyard.transfer import FileChanged, GatewayClient, GatewayRefused, StoreClient, StoreRefused, Upload
from trainyard.uploads import put_files

CONFIG_MAP: Final = "trainyard-gateway"
DEFAULT_PROVIDER: Final = "TRAINYARD_COMPUTE_PROVIDER"
TOKEN_SECONDS: Final = 3600
# A token is taken anew so long before its end.
TOKEN_MARGIN_SECONDS: Final = 600
# Somebody sits and waits: an outage is told soon.
PATIENCE_SECONDS: Final = 60.0
DIRECT_SECONDS: Final = 2.0
_IN_CLUSTER_HOST = re.compile(r"(?P<service>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)\.svc(\.cluster\.local)?")
_STATUSES: Final[Mapping[int, type[TrainyardError]]] = {
    400: Invalid, 401: Forbidden, 403: Forbidden, 404: NotFound, 409: Conflict, 413: Invalid,
}  # fmt: skip


class Gateway:
    """What the gateway grants to people of one namespace.

    Parameters
    ----------
    api
        The API server.
    namespace
        Whose files are meant.
    system
        The namespace that Trainyard is installed in.
    service_account
        Whose token is shown to the gateway; for models it needs the right to get them.
    """

    def __init__(  # noqa: PLR0913 - all but the first by name, and most of them rarely
        self,
        api: Api,
        *,
        namespace: str,
        system: str,
        service_account: str = DEFAULT_ACCOUNT,
        environ: Mapping[str, str] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._system = system
        self._account = service_account
        self._environ = os.environ if environ is None else environ
        self._retry = Retry(limit=patience)
        self._routes = Routes(api)
        self._lock = threading.Lock()
        self._client: GatewayClient | None = None
        self._url = ""
        self._token: tuple[str, float] = ("", 0.0)
        self._store = StoreClient(connect_to=self._routes.address, retry=self._retry)

    def grants(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the gateway's answer."""
        client = self._gateway()
        with translated(self._url):
            return client.grants(request)

    def files(self, *, area: str, prefix: str) -> list[FileGrant]:
        """Return the files below `prefix` of an area: ``data``, ``snapshots``, ``runs`` or ``models``."""
        client = self._gateway()
        with translated(self._url):
            pages = client.pages({"op": "list", "area": area, "prefix": prefix})
            return [file for page in pages for file in page]

    def model(self, name: str, version: int | str, *, after: str = "") -> ModelGrant:
        """Return one page of the files of a version of a model."""
        try:
            return cast("ModelGrant", self.grants({"op": "model", "model": name, "version": version, "after": after}))
        except Forbidden as error:
            raise Forbidden(f"{error}: {how_to_bind(self._namespace, self._account)}") from error

    def put(self, uploads: Sequence[Upload], *, op: str, on_bytes: Callable[[int], None] | None = None) -> None:
        """Save files where `op` says: ``data-put`` or ``snapshot-put``."""
        client = self._gateway()
        with translated(self._url):
            put_files(uploads, gateway=client, store=self._store, op=op, on_bytes=on_bytes)

    def download(self, file: FileGrant, target: Path, *, on_bytes: Callable[[int], object] | None = None) -> None:
        """Fetch a file to `target`, which appears whole or not at all."""
        with translated():
            self._store.download(file["url"], target, size=file["bytes"], etag=file.get("etag"), on_bytes=on_bytes)

    def read(self, file: FileGrant) -> bytes:
        """Return the content of a file."""
        # Whatever its tag is by now: what is read here may be written anew while a run goes on.
        untagged = FileGrant(path=file["path"], bytes=file["bytes"], url=file["url"])
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "file"
            self.download(untagged, target)
            return target.read_bytes()

    def close(self) -> None:
        """Close all connections, and the ways through the API server."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()
        self._store.close()
        self._routes.close()

    def default_provider(self) -> JsonObject | None:
        """Return the ``spec.provider`` that whoever runs the cluster has chosen for new ComputeClusters, if any."""
        try:
            text = self._published().get(DEFAULT_PROVIDER)
        except (Forbidden, NotInstalled):
            return None
        try:
            found = json.loads(text or "null")
        except ValueError:
            found = None
        return found if isinstance(found, dict) else None

    def _gateway(self) -> GatewayClient:
        with self._lock:
            if self._client is None:
                self._url, authority = self._address()
                self._client = GatewayClient(
                    self._url,
                    ca_pem=authority,
                    token=self._fresh_token,
                    connect_to=self._routes.address,
                    retry=self._retry,
                )
            return self._client

    def _address(self) -> tuple[str, str]:
        if self._environ.get(ENV_GATEWAY) and self._environ.get(ENV_CA):
            return self._environ[ENV_GATEWAY], self._environ[ENV_CA]
        data = self._published()
        if not data.get(ENV_GATEWAY) or not data.get(ENV_CA):
            raise Unreachable(
                f"the ConfigMap {CONFIG_MAP} of namespace {self._system} has no {ENV_CA} yet, which the operator "
                "writes when it starts: is it running?"
            )
        return data[ENV_GATEWAY], data[ENV_CA]

    def _published(self) -> dict[str, str]:
        try:
            found = self._api.request("GET", f"/api/v1/namespaces/{self._system}/configmaps/{CONFIG_MAP}")
        except NotFound as error:
            raise NotInstalled(
                f"there is no ConfigMap {CONFIG_MAP} in namespace {self._system}: Trainyard is installed elsewhere, or "
                "not at all. Name its namespace as resource_group"
            ) from error
        data: dict[str, str] = found.get("data") or {}
        return data

    def _fresh_token(self) -> str:
        token, until = self._token
        if time.monotonic() < until:
            return token
        path = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{self._account}/token"
        spec = {"audiences": [TOKEN_AUDIENCE], "expirationSeconds": TOKEN_SECONDS}
        document = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        try:
            answer = self._api.request("POST", path, body=document)
        except NotFound as error:
            raise NotFound(
                f"there is no service account {self._account} in namespace {self._namespace}, whose token the gateway "
                f"is shown: {how_to_make(self._namespace, self._account)}"
            ) from error
        token = str(answer["status"]["token"])
        self._token = (token, time.monotonic() + TOKEN_SECONDS - TOKEN_MARGIN_SECONDS)
        return token


class Routes:
    """Where to connect to for a URL's host: itself where it answers, else a way through the API server."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._known: dict[str, Forward | None] = {}

    def address(self, netloc: str) -> tuple[str, int] | None:
        """Return the local end of a way, or None for the host itself."""
        with self._lock:
            if netloc not in self._known:
                self._known[netloc] = self._find(netloc)
            forward = self._known[netloc]
        return None if forward is None else forward.address

    def close(self) -> None:
        """End all ways."""
        with self._lock:
            known, self._known = self._known, {}
        for forward in known.values():
            if forward is not None:
                forward.close()

    def _find(self, netloc: str) -> Forward | None:
        parts = urlsplit(f"//{netloc}")
        inside = _IN_CLUSTER_HOST.fullmatch(parts.hostname or "")
        port = parts.port or 443
        if inside is None or _answers(parts.hostname or "", port):
            return None
        return Forward(dialer(self._api, namespace=inside["namespace"], service=inside["service"], port=port))


@contextmanager
def translated(gateway: str = "") -> Iterator[None]:
    """Make the errors of transfers those that are meant for people; `gateway` is the gateway's address."""
    try:
        yield
    except GatewayRefused as error:
        kind = _STATUSES.get(error.status, Invalid)
        raise kind(error.message) from error
    except FileChanged as error:
        raise DigestMismatch(f"{error}: it was replaced meanwhile, try again") from error
    except StoreRefused as error:
        raise StoreUnavailable(f"{error}: is this machine's clock right? Signed addresses last for minutes") from error
    except Unavailable as error:
        words = str(error)
        if words.startswith("the gateway answered") and "object store" in words:
            raise StoreUnavailable(f"{words}. The operator's log says what is wrong with its object store") from error
        if words.startswith(("the gateway", gateway or "the gateway")):
            raise Unreachable(f"the gateway does not answer ({words}): is the operator running?") from error
        raise StoreUnavailable(f"the object store does not answer: {words}") from error
    except TransferError as error:
        raise TrainyardError(str(error)) from error


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), DIRECT_SECONDS).close()
    except OSError:
        return False
    return True
