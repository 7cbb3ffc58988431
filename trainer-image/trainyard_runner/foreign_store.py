"""An S3 store of the user's own, read with the user's keys: listings, and an address for each object.

What it answers has the shape of the gateway's answers, so that its files are fetched like those of the datastore.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from trainyard.connections import Connections, is_transient, read
from trainyard.contract import FileGrant, InvalidPathError, check_relative_path
from trainyard.patience import Retry, TransferError, Transient, persistently
from trainyard_runner.sigv4 import Keys, path_of, presign, query_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainyard.contract import S3Input

PAGE = 1000
_ANSWER_BYTES = 16 * 1024 * 1024
_OK, _FORBIDDEN, _MISSING = 200, 403, 404
_AWS = "https://s3.{region}.amazonaws.com"


class ForeignStoreError(TransferError):
    """The store said no; `reason` is one of the operator's."""

    def __init__(self, message: str, *, reason: str = "InputFailed") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class _Answer:
    status: int
    region: str
    document: ET.Element | None


class ForeignStore:
    """One input's part of a bucket.

    Parameters
    ----------
    field
        The input's field in the spec, for messages.
    keys
        None asks as nobody, which only a public bucket answers.
    """

    def __init__(  # noqa: PLR0913 - by name, and each is needed
        self,
        wanted: S3Input,
        *,
        field: str,
        keys: Keys | None,
        connections: Connections,
        retry: Retry,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        self._uri = wanted["uri"]
        self._field = field
        self._keys = keys
        self._secret = wanted.get("secret", "")
        self._region = wanted["region"]
        self._connections = connections
        self._retry = retry
        self._on_trouble = on_trouble
        parts = urlsplit(wanted["uri"])
        self._bucket, self._prefix = parts.netloc, wanted["uri"].removeprefix(f"s3://{parts.netloc}").lstrip("/")
        self._endpoint = (wanted.get("endpoint") or _AWS.format(region=self._region)).rstrip("/")
        self._one: bool | None = None

    def page(self, after: str) -> dict[str, Any]:
        """Return the files after `after`, a key, as the gateway would.

        Raises
        ------
        ForeignStoreError
            In the store's words.
        """
        if self._one is None:
            self._one = self._is_object()
        folder = self._prefix if not self._prefix or self._prefix.endswith("/") else f"{self._prefix}/"
        if self._one:
            folder = self._prefix.rpartition("/")[0] + "/" if "/" in self._prefix else ""
        objects, more = self._list(self._prefix if self._one else folder, after=after, limit=1 if self._one else PAGE)
        names = [(key, size, etag) for key, size, etag in objects if key != folder and not key.endswith("/")]
        files = [self._file(key, size, etag, folder) for key, size, etag in names]
        following = objects[-1][0] if more and objects and not self._one else None
        if not files and not after and following is None:
            words = f"{self._field}: nothing is at {self._uri} ({self._endpoint}): correct it, or upload the files"
            raise ForeignStoreError(words, reason="InputNotFound")
        return {"files": files, "next": following}

    def _file(self, key: str, size: int, etag: str, folder: str) -> FileGrant:
        try:
            path = check_relative_path(key.removeprefix(folder), what="it")
        except InvalidPathError as error:
            raise ForeignStoreError(f"{self._field}: the object {key!r} cannot be a file: {error}") from error
        return FileGrant(path=path, bytes=size, url=self._signed(key), etag=etag)

    def _is_object(self) -> bool:
        if not self._prefix or self._prefix.endswith("/"):
            return False
        objects, _ = self._list(self._prefix, after="", limit=1)
        return bool(objects) and objects[0][0] == self._prefix

    def _list(self, prefix: str, *, after: str, limit: int) -> tuple[list[tuple[str, int, str]], bool]:
        query = {"list-type": "2", "prefix": prefix, "max-keys": str(limit)}
        if after:
            query["start-after"] = after
        found = persistently(lambda: self._get(query), retry=self._retry, on_trouble=self._on_trouble)
        objects = [
            (_text(item, "Key"), int(size), _text(item, "ETag"))
            for item in found.iterfind("{*}Contents")
            if (size := _text(item, "Size")).isdecimal()
        ]
        return objects, _text(found, "IsTruncated") == "true"

    def _get(self, query: dict[str, str]) -> ET.Element:
        url = self._signed("", query)
        with self._connections.exchange("GET", url, headers={}) as response:
            content = read(response, _ANSWER_BYTES)
            answer = _Answer(
                status=response.status,
                region=response.getheader("x-amz-bucket-region") or "",
                document=_parse(content),
            )
        if is_transient(answer.status):
            raise Transient(f"{self._endpoint} answered {answer.status}")
        if answer.status == _OK and answer.document is not None and answer.document.tag.endswith("ListBucketResult"):
            return answer.document
        raise self._refusal(answer)

    def _refusal(self, answer: _Answer) -> ForeignStoreError:
        code, said = (_text(answer.document, name) for name in ("Code", "Message"))
        words = f"{self._field}: the object store at {self._endpoint} answered {answer.status} for {self._uri}"
        if code or said:
            words += f": {': '.join(part for part in (code, said) if part)}"
        if answer.region and answer.region != self._region:
            return ForeignStoreError(f"{words}: the bucket is in {answer.region}, give that as {self._field}.region")
        if answer.status == _OK:
            return ForeignStoreError(f"{words}, but with no listing: is {self._field}.endpoint that of an S3 server?")
        if answer.status == _MISSING:
            return ForeignStoreError(words, reason="InputNotFound")
        if answer.status == _FORBIDDEN:
            fix = (
                f"let the keys in the Secret {self._secret} list and read it"
                if self._keys
                else f"it is not public, so name a Secret with keys in {self._field}.secretRef"
            )
            return ForeignStoreError(f"{words}: {fix}")
        return ForeignStoreError(words)

    def _signed(self, key: str, query: dict[str, str] | None = None) -> str:
        url = self._endpoint + path_of(self._bucket, *([key] if key else []))
        if self._keys is None:
            return f"{url}?{query_of(query)}" if query else url
        return presign(url, query=query or {}, keys=self._keys, region=self._region)


def read_keys(folder: Path, *, secret: str, field: str) -> Keys | None:
    """Return the keys in the Secret that is mounted at `folder`, None where no Secret was named.

    Raises
    ------
    ForeignStoreError
        If the Secret has none.
    """
    if not secret:
        return None
    found = {name: _read(folder / name) for name in ("accessKeyId", "secretAccessKey", "sessionToken")}
    missing = [name for name in ("accessKeyId", "secretAccessKey") if not found[name]]
    if missing:
        words = f"{field}.secretRef: the Secret {secret} does not exist or has no key {missing[0]}: add it"
        raise ForeignStoreError(words)
    return Keys(access=found["accessKeyId"], secret=found["secretAccessKey"], token=found["sessionToken"])


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""


def _parse(content: bytes) -> ET.Element | None:
    if re.search(rb"<!(DOCTYPE|ENTITY)", content):
        return None
    try:
        return ET.fromstring(content)  # noqa: S314 - without a document type there is nothing to expand
    except ET.ParseError:
        return None


def _text(element: ET.Element | None, name: str) -> str:
    found = None if element is None else element.find(f"{{*}}{name}")
    return (found.text or "") if found is not None else ""
