"""The few questions that `devcluster` itself asks the API server, without starting kubectl each time."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from devcluster.errors import DevclusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devcluster.pki import Pki

MANAGER = "devcluster"
SUCCESS = (http.client.OK, http.client.CREATED, http.client.ACCEPTED)
Patch = Literal["merge", "strategic", "json", "apply"]
PATCHES: dict[Patch, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass(frozen=True)
class ApiClient:
    """Speaks to the API server as the administrator."""

    server: str
    pki: Pki

    def ready(self) -> bool:
        """Whether the API server answers that it is ready."""
        try:
            return self._request("GET", "/readyz")[0] == http.client.OK
        except (OSError, http.client.HTTPException):
            return False

    def get(self, path: str) -> dict[str, Any] | None:
        """Read an object; None if there is none."""
        return self._ask("GET", path)

    def post(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        """Create an object and return it as it is then."""
        return self._ask("POST", path, body=json.dumps(content), content_type="application/json") or {}

    def delete(self, path: str) -> None:
        """Delete an object; none being there is fine."""
        self._ask("DELETE", path)

    def patch(self, path: str, content: object, *, kind: Patch = "merge") -> None:
        """Change an object; none being there is fine.

        Parameters
        ----------
        path
            Its path.
        content
            The change: part of an object, with ``json`` a list of operations, or with ``apply`` the whole object.
        kind
            How lists are treated: ``merge`` replaces them, ``strategic`` merges them by their key.
        """
        forced = f"?fieldManager={MANAGER}&force=true" if kind == "apply" else ""
        self._ask("PATCH", path + forced, body=json.dumps(content), content_type=PATCHES[kind])

    def watch(self, path: str, *, seconds: int) -> Iterator[dict[str, Any]]:
        """Yield what happens to a list's objects, those that are there first, for a while."""
        separator = "&" if "?" in path else "?"
        connection = self._connection(timeout=seconds + 10)
        try:
            connection.request("GET", f"{path}{separator}watch=true&timeoutSeconds={seconds}")
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise DevclusterError(f"the API server answered {response.status} to a watch of {path}")
            for line in response:
                yield json.loads(line)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DevclusterError(f"the watch of {path} broke off: {error}") from error
        finally:
            connection.close()

    def _ask(self, method: str, path: str, *, body: str | None = None, content_type: str = "") -> dict[str, Any] | None:
        try:
            status, answer = self._request(method, path, body=body, content_type=content_type)
        except (OSError, http.client.HTTPException) as error:
            raise DevclusterError(f"the API server at {self.server} does not answer: {error}") from error
        if status == http.client.NOT_FOUND:
            return None
        if status not in SUCCESS:
            raise DevclusterError(
                f"the API server answered {status} to {method} {path}: {answer.decode(errors='replace')[:500]}"
            )
        document = json.loads(answer)
        return document if isinstance(document, dict) else None

    def _connection(self, *, timeout: float) -> http.client.HTTPSConnection:
        address = urllib.parse.urlsplit(self.server)
        context = ssl.create_default_context(cafile=str(self.pki.authority))
        context.load_cert_chain(self.pki.certificate("admin"), self.pki.key("admin"))
        return http.client.HTTPSConnection(address.hostname or "", address.port, timeout=timeout, context=context)

    def _request(self, method: str, path: str, *, body: str | None = None, content_type: str = "") -> tuple[int, bytes]:
        connection = self._connection(timeout=10)
        try:
            connection.request(method, path, body=body, headers={"Content-Type": content_type} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
