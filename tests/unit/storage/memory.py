"""An object store in a dict, which keeps every promise of the Protocol and breaks when told to."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from trainyard_operator.storage.errors import ObjectNotFound, ObjectTooLarge, StoreUnavailable
from trainyard_operator.storage.store import PAGE, URL_SECONDS, ObjectInfo, Page, SignedPut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime


class MemoryStore:
    """`keeps_checksums=False` is a server that knows sizes only. `calls` is what it was asked to do."""

    def __init__(self, objects: dict[str, bytes] | None = None, *, keeps_checksums: bool = True) -> None:
        self.objects = dict(objects or {})
        self.metadata: dict[str, dict[str, str]] = {}
        self.etags: dict[str, str] = {}
        self.modified: dict[str, datetime] = {}
        self.retained: dict[str, str] = {}
        self.calls: list[tuple[str, str]] = []
        self.breaks_at: Callable[[str, str], bool] = lambda _call, _key: False
        self._keeps_checksums = keeps_checksums

    def uri(self, key: str) -> str:
        return f"s3://bucket/{key}"

    async def get(self, key: str, *, limit: int) -> bytes | None:
        self._called("get", key)
        body = self.objects.get(key)
        if body is not None and len(body) > limit:
            raise ObjectTooLarge(f"{key} has {len(body)} bytes, more than the {limit} that are read")
        return body

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> bool:
        self._called("put", key)
        if only_if_absent and key in self.objects:
            return False
        self.objects[key] = body
        return True

    async def head(self, key: str) -> ObjectInfo | None:
        self._called("head", key)
        return replace(self._info(key), retained=self.retained.get(key, "")) if key in self.objects else None

    async def may_retain(self) -> bool:
        self._called("may_retain", "")
        return bool(self.retained)

    async def digest(self, key: str) -> ObjectInfo:
        self._called("digest", key)
        if key not in self.objects:
            raise ObjectNotFound(f"there is no object {key}")
        return replace(self._info(key), sha256=hashlib.sha256(self.objects[key]).hexdigest())

    async def reread(self, key: str) -> ObjectInfo:
        self._called("reread", key)
        if key not in self.objects:
            raise ObjectNotFound(f"there is no object {key}")
        return replace(self._info(key), sha256=hashlib.sha256(self.objects[key]).hexdigest())

    async def list(self, prefix: str, *, after: str = "", limit: int = PAGE, delimiter: str = "") -> Page:
        self._called("list", prefix)
        keys = [k for k in self.objects if k.startswith(prefix) and k > after]
        names = {k: k for k in keys}  # of a key, or of the folder that it is shown as; both count for the limit
        if delimiter:
            below = {k: k.removeprefix(prefix).partition(delimiter) for k in keys}
            names = {k: prefix + name + mark for k, (name, mark, _) in below.items()}
        shown = sorted(set(names.values()), key=str.encode)
        objects = tuple(self._info(name) for name in shown[:limit] if names.get(name) == name)
        folders = tuple(name for name in shown[:limit] if names.get(name) != name)
        return Page(objects=objects, folders=folders, more=len(shown) > limit)

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._called("delete", key)
            self.objects.pop(key, None)

    async def copy(self, source: str, target: str) -> None:
        self._called("copy", source)
        if source not in self.objects:
            raise ObjectNotFound(f"there is no object {source}")
        self.objects[target] = self.objects[source]
        if source in self.metadata:
            self.metadata[target] = self.metadata[source]

    def sign_get(self, key: str, *, seconds: int = URL_SECONDS) -> str:
        return f"https://s3/{key}?get&expires={seconds}"

    def sign_put(
        self,
        key: str,
        *,
        sha256: str | None = None,
        seconds: int = URL_SECONDS,
        once: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> SignedPut:
        headers = {} if sha256 is None else {"x-amz-checksum-sha256": sha256}
        headers |= {"if-none-match": "*"} if once else {}
        headers |= {f"x-amz-meta-{name}": value for name, value in (metadata or {}).items()}
        return SignedPut(url=f"https://s3/{key}?put&expires={seconds}", headers=headers)

    def sign_delete(self, key: str, *, seconds: int = URL_SECONDS) -> str:
        return f"https://s3/{key}?delete&expires={seconds}"

    def _info(self, key: str) -> ObjectInfo:
        body = self.objects[key]
        sha256 = hashlib.sha256(body).hexdigest() if self._keeps_checksums else None
        return ObjectInfo(
            key=key,
            bytes=len(body),
            etag=self.etags.get(key),
            modified=self.modified.get(key),
            sha256=sha256,
            metadata=self.metadata.get(key, {}),
        )

    def _called(self, call: str, key: str) -> None:
        if self.breaks_at(call, key):
            raise StoreUnavailable(f"the store broke at {call} {key}")
        self.calls.append((call, key))
