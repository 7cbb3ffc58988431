"""The few questions that `devcluster` itself asks the API server, without starting kubectl each time."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devcluster.errors import DevclusterError

if TYPE_CHECKING:
    from devcluster.pki import Pki

OK = 200


@dataclass(frozen=True)
class ApiClient:
    """Reads from the API server as the administrator."""

    server: str
    pki: Pki

    def ready(self) -> bool:
        """Whether the API server answers that it is ready."""
        try:
            return self._get("/readyz")[0] == OK
        except (OSError, http.client.HTTPException):
            return False

    def get(self, path: str) -> dict[str, Any] | None:
        """Read an object; None if there is none."""
        try:
            status, body = self._get(path)
        except (OSError, http.client.HTTPException) as error:
            raise DevclusterError(f"the API server at {self.server} does not answer: {error}") from error
        if status == http.client.NOT_FOUND:
            return None
        if status != OK:
            raise DevclusterError(
                f"the API server answered {status} to GET {path}: {body.decode(errors='replace')[:500]}"
            )
        document = json.loads(body)
        return document if isinstance(document, dict) else None

    def _get(self, path: str) -> tuple[int, bytes]:
        address = urllib.parse.urlsplit(self.server)
        context = ssl.create_default_context(cafile=str(self.pki.authority))
        context.load_cert_chain(self.pki.certificate("admin"), self.pki.key("admin"))
        connection = http.client.HTTPSConnection(address.hostname or "", address.port, timeout=10, context=context)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
