"""Where the API server is and who asks: the pod's service account, or a kubeconfig outside of a cluster.

Read from the files directly: importing the `kubernetes` package for it would cost 65 MB of memory.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# The kubelet renews the token long before it ends, so a reading that is a minute old is always good.
TOKEN_SECONDS = 60.0
CALL_SECONDS = 30.0


class ConnectionConfigError(Exception):
    """There is no usable way to an API server; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Connection:
    """An API server with credentials; `token` is asked before each call since service-account tokens rotate."""

    server: str
    tls: ssl.SSLContext
    token: Callable[[], str | None]

    def open_session(self, *, seconds: float | None = CALL_SECONDS, connections: int = 64) -> aiohttp.ClientSession:
        """Return a session that authenticates each request; `seconds` limits a call, None lets a watch stay open."""

        async def authenticate(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            token = self.token()
            if token:
                request.headers["Authorization"] = f"Bearer {token}"
            return await handler(request)

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=self.tls, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=10),
            # Unpacking costs more than the bytes inside of a cluster network.
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "trainyard-operator"},
            middlewares=(authenticate,) if self.token() else (),
        )


class TokenFile:
    """A token that is read again once its reading is a minute old."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._token = ""
        self._read_at = float("-inf")

    def __call__(self) -> str:
        """Return the token."""
        now = self._clock()
        if now - self._read_at >= TOKEN_SECONDS:
            self._token = self._path.read_text(encoding="utf-8").strip()
            self._read_at = now
        return self._token


def find_connection(environment: Mapping[str, str], *, service_account: Path = SERVICE_ACCOUNT) -> Connection:
    """Return the connection that the surroundings offer: $KUBECONFIG, else the pod's, else ~/.kube/config.

    Raises
    ------
    ConnectionConfigError
        Where none of them is usable.
    """
    if environment.get("KUBECONFIG"):
        return from_kubeconfig(Path(environment["KUBECONFIG"].split(os.pathsep)[0]))
    if environment.get("KUBERNETES_SERVICE_HOST") and (service_account / "token").exists():
        return from_service_account(environment, service_account=service_account)
    home = Path(environment.get("HOME", "/")) / ".kube" / "config"
    if home.exists():
        return from_kubeconfig(home)
    raise ConnectionConfigError(
        "no Kubernetes credentials: run in a pod with a service account, or set KUBECONFIG to a kubeconfig file"
    )


def from_service_account(environment: Mapping[str, str], *, service_account: Path = SERVICE_ACCOUNT) -> Connection:
    """Return the connection that every pod with a service account has."""
    host = environment["KUBERNETES_SERVICE_HOST"]
    host = f"[{host}]" if ":" in host else host
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    tls = ssl.create_default_context(cafile=str(service_account / "ca.crt"))
    return Connection(server=f"https://{host}:{port}", tls=tls, token=TokenFile(service_account / "token"))


def from_kubeconfig(path: Path) -> Connection:
    """Return the connection of a kubeconfig's current context: certificates and tokens, not login programs.

    Raises
    ------
    ConnectionConfigError
        Where the file cannot be read or its user logs in by a program.
    """
    import yaml  # noqa: PLC0415 - only a developer's machine has a kubeconfig

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        context = _named(config, "contexts", "context", config["current-context"])
        cluster = _named(config, "clusters", "cluster", context["cluster"])
        user = _named(config, "users", "user", context["user"])
        server = str(cluster["server"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConnectionConfigError(f"KUBECONFIG {path} is not usable: {type(error).__name__}: {error}") from error
    if "exec" in user or "auth-provider" in user:
        raise ConnectionConfigError(
            f"KUBECONFIG {path}: its user logs in by a program; use a token or a client certificate instead"
        )
    return Connection(
        server=server, tls=_tls(cluster, user, folder=path.parent), token=_token(user, folder=path.parent)
    )


def _named(config: Any, plural: str, singular: str, name: str) -> dict[str, Any]:
    for entry in config[plural]:
        if entry["name"] == name:
            return dict(entry[singular])
    raise KeyError(f"{singular} {name!r}")


def _token(user: Mapping[str, Any], *, folder: Path) -> Callable[[], str | None]:
    if user.get("tokenFile"):
        return TokenFile(folder / user["tokenFile"])
    token = user.get("token")
    return lambda: token


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], *, folder: Path) -> ssl.SSLContext:
    authority = _content(cluster, "certificate-authority", folder=folder)
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = _content(user, "client-certificate", folder=folder)
    key = _content(user, "client-key", folder=folder)
    if certificate and key:
        # The ssl module loads a client's key from files only.
        with tempfile.TemporaryDirectory() as scratch:
            chain, private = Path(scratch) / "tls.crt", Path(scratch) / "tls.key"
            chain.write_bytes(certificate)
            private.write_bytes(key)
            context.load_cert_chain(chain, private)
    return context


def _content(entry: Mapping[str, Any], name: str, *, folder: Path) -> bytes | None:
    if entry.get(f"{name}-data"):
        return base64.b64decode(entry[f"{name}-data"])
    return (folder / entry[name]).read_bytes() if entry.get(name) else None
