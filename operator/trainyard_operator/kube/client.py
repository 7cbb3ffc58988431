"""Raw objects to and from the API server.

A typed client costs three to five times a dict call, so objects stay dicts; one pool of kept-alive connections serves
every call. The client never repeats a write: whoever called knows best whether the wish still stands.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from trainyard_operator.api.names import Kind
from trainyard_operator.kube.connection import Connection
from trainyard_operator.kube.errors import Unavailable, error_of

JsonObject = dict[str, Any]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

PAGE_SIZE = 100
_HTTP_ERROR = 400

# verb as in RBAC, kind, HTTP status ("0" where no answer came)
CallObserver = Callable[[str, str, str], None]


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a LIST, and the resourceVersion that the whole list stands at."""

    items: list[JsonObject]
    resource_version: str


class Client(Protocol):
    """What the operator asks of the API server. Raises the subclasses of `ApiError`."""

    async def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> JsonObject:
        """Return one object."""
        ...

    def pages(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[Page]:
        """Iterate over a LIST page by page; `metadata_only` objects have neither spec nor status."""
        ...

    async def serves(self, kind: Kind) -> bool:
        """Return whether discovery names `kind`, which begins a little later than its objects can be listed."""
        ...

    async def create(self, kind: Kind, obj: JsonObject, *, namespace: str | None = None) -> JsonObject:
        """Create an object and return it as stored."""
        ...

    async def replace(self, kind: Kind, obj: JsonObject) -> JsonObject:
        """Replace an object whole, under the resourceVersion that it carries."""
        ...

    async def patch(self, kind: Kind, name: str, patch: JsonObject, *, namespace: str | None = None) -> JsonObject:
        """Merge `patch` into an object (RFC 7386: null removes a key)."""
        ...

    async def delete(self, kind: Kind, name: str, *, namespace: str | None = None, uid: str) -> JsonObject | None:
        """Delete the object with this uid, and what depends on it behind it; return it where it goes later."""
        ...

    async def patch_status(
        self, kind: Kind, name: str, patch: JsonObject, *, namespace: str | None = None, resource_version: str = ""
    ) -> JsonObject:
        """Merge `patch` into an object's status; with `resource_version` only if the object is still at it."""
        ...


class KubeClient:
    """`Client` over aiohttp."""

    def __init__(
        self, *, connection: Connection, session: aiohttp.ClientSession, observe: CallObserver | None = None
    ) -> None:
        self._server = connection.server.rstrip("/")
        self._session = session
        self._observe = observe or (lambda _verb, _kind, _code: None)

    async def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> JsonObject:
        """Return one object."""
        return await self._call("get", "GET", kind, namespace=namespace, name=name)

    async def pages(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[Page]:
        """Iterate over a LIST page by page."""
        query = {"limit": str(PAGE_SIZE)}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        headers = {"Accept": METADATA_LIST} if metadata_only else None
        while True:
            answer = await self._call("list", "GET", kind, namespace=namespace, query=query, headers=headers)
            metadata = answer.get("metadata") or {}
            yield Page(items=answer.get("items") or [], resource_version=metadata.get("resourceVersion", ""))
            if not metadata.get("continue"):
                return
            query = {**query, "continue": metadata["continue"]}

    async def serves(self, kind: Kind) -> bool:
        """Return whether discovery names `kind`."""
        answer = await self._send("discover", "GET", kind.kind, _root(kind))
        return any(entry.get("name") == kind.plural for entry in answer.get("resources") or ())

    async def create(
        self, kind: Kind, obj: JsonObject, *, namespace: str | None = None, dry_run: bool = False
    ) -> JsonObject:
        """Create an object and return it as stored; with `dry_run` only as it would be stored."""
        where = namespace or obj["metadata"].get("namespace")
        query = {"dryRun": "All"} if dry_run else None
        return await self._call("create", "POST", kind, namespace=where, query=query, body=obj)

    async def replace(self, kind: Kind, obj: JsonObject) -> JsonObject:
        """Replace an object whole, under the resourceVersion that it carries."""
        metadata = obj["metadata"]
        return await self._call(
            "update", "PUT", kind, namespace=metadata.get("namespace"), name=metadata["name"], body=obj
        )

    async def patch(self, kind: Kind, name: str, patch: JsonObject, *, namespace: str | None = None) -> JsonObject:
        """Merge `patch` into an object."""
        return await self._call(
            "patch", "PATCH", kind, namespace=namespace, name=name, body=patch, content_type=MERGE_PATCH
        )

    async def delete(self, kind: Kind, name: str, *, namespace: str | None = None, uid: str) -> JsonObject | None:
        """Delete the object with this uid; return it where a finalizer holds it."""
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        answer = await self._call("delete", "DELETE", kind, namespace=namespace, name=name, body=body)
        going = answer.get("kind") == kind.kind and (answer.get("metadata") or {}).get("deletionTimestamp")
        return answer if going else None

    async def patch_status(
        self, kind: Kind, name: str, patch: JsonObject, *, namespace: str | None = None, resource_version: str = ""
    ) -> JsonObject:
        """Merge `patch` into an object's status."""
        body: JsonObject = {"status": patch}
        if resource_version:
            body["metadata"] = {"resourceVersion": resource_version}
        return await self._call(
            "patch",
            "PATCH",
            kind,
            namespace=namespace,
            name=name,
            subresource="status",
            body=body,
            content_type=MERGE_PATCH,
        )

    async def _call(  # noqa: PLR0913 - the one place where a call is put together
        self,
        verb: str,
        method: str,
        kind: Kind,
        *,
        namespace: str | None = None,
        name: str = "",
        subresource: str = "",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        content_type: str = JSON,
    ) -> JsonObject:
        path = path_of(kind, namespace=namespace, name=name, subresource=subresource)
        target = path + (f"?{urlencode(query)}" if query else "")
        sent = dict(headers) if headers else {}
        data = None
        if body is not None:
            sent["Content-Type"] = content_type
            data = json.dumps(body, separators=(",", ":")).encode()
        label = f"{kind.kind}/{subresource}" if subresource else kind.kind
        return await self._send(verb, method, label, target, data=data, headers=sent)

    async def _send(  # noqa: PLR0913 - a request and the names that it is counted under
        self,
        verb: str,
        method: str,
        label: str,
        target: str,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> JsonObject:
        url = URL(self._server + target, encoded=True)
        what = f"{verb} {url.path}"
        code = 0
        try:
            async with self._session.request(method, url, data=data, headers=headers) as response:
                code = response.status
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            code = 0
            raise Unavailable(f"{what}: {type(error).__name__}: {error}") from error
        finally:
            self._observe(verb, label, str(code))
        if code >= _HTTP_ERROR:
            raise error_of(code=code, body=raw, what=what, retry_after=response.headers.get("Retry-After"))
        try:
            answer: JsonObject = json.loads(raw)
        except ValueError as error:
            raise Unavailable(f"{what}: the answer is not JSON: {raw[:100]!r}", code=code) from error
        return answer


def path_of(kind: Kind, *, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
    """Return the path of an object, or of its kind's collection where no `name` is given."""
    scope = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    tail = f"/{quote(name, safe='')}" if name else ""
    return f"{_root(kind)}{scope}/{kind.plural}{tail}" + (f"/{subresource}" if subresource else "")


def _root(kind: Kind) -> str:
    return f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"


async def list_all(client: Client, kind: Kind, *, label_selector: str = "") -> list[JsonObject]:
    """Return every object of `kind`, of all namespaces."""
    return [item async for page in client.pages(kind, label_selector=label_selector) for item in page.items]


async def find_one(client: Client, kind: Kind, name: str, *, namespace: str) -> JsonObject | None:
    """Return one object by a LIST, which is all that the operator's role allows for most kinds; None where it is not.

    Unlike the store it is never behind.
    """
    async for page in client.pages(kind, namespace=namespace, field_selector=f"metadata.name={name}"):
        for item in page.items:
            return item
    return None
