"""Clients of the run gateway and of the object store behind its signed URLs.

A request is tried again after network errors and after answers that may change (408, 425, 429, 5xx), for as long as
the client's `Retry` says. Every other answer is final and raised as what it is.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Callable, cast

from trainyard.connections import CHUNK_BYTES, Connections, is_transient, read
from trainyard.contract import MAX_GRANTS
from trainyard.patience import Retry, TransferError, Transient, persistently

if TYPE_CHECKING:
    import http.client
    import ssl
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from trainyard.connections import Address, Route
    from trainyard.contract import DeleteGrant, FileGrant, PutGrant, Report, RunDocument

Opener = Callable[[], BinaryIO]

WHOLE_OUTAGE = Retry()
# A signed URL expires: an outage longer than this is waited out with fresh ones.
ONE_GRANT = Retry(limit=300.0)
_ERROR_BYTES = 64 * 1024
_ANSWER_BYTES = 64 * 1024 * 1024
_OK, _PARTIAL, _REDIRECT, _GONE, _CHANGED = 200, 206, 300, 404, 412


class GatewayRefused(TransferError):  # noqa: N818 - reads as what happened
    """The gateway answered, and its answer is final."""

    def __init__(self, *, reason: str, message: str, field: str | None, status: int) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.status = status


class StoreRefused(TransferError):  # noqa: N818
    """The object store answered, and this URL will not work any more; a fresh one may."""

    def __init__(self, *, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class FileChanged(TransferError):  # noqa: N818
    """A file or an object was not as long as had been said of it."""


@dataclass(frozen=True)
class Upload:
    """A file to be saved at `path` below where a grant allows; `opener` opens it anew for every try."""

    path: str
    size: int
    opener: Opener
    sha256: str | None = None

    @staticmethod
    def of_bytes(path: str, content: bytes, *, sha256: str | None = None) -> Upload:
        """Return the upload of `content`."""
        return Upload(path=path, size=len(content), opener=lambda: io.BytesIO(content), sha256=sha256)

    def wish(self) -> dict[str, Any]:
        """Return what the gateway is asked."""
        wish: dict[str, Any] = {"path": self.path, "bytes": self.size}
        if self.sha256 is not None:
            wish["sha256"] = self.sha256
        return wish


class GatewayClient:
    """The gateway's two calls.

    Parameters
    ----------
    url
        Such as ``https://trainyard-gateway.trainyard-system.svc:8443``.
    ca_pem
        The certificate authority that the gateway's certificate is checked against, as PEM.
    token
        Called for every try, since tokens are renewed under a long run.
    connect_to
        Host and port to connect to instead, for port-forwards.
    on_trouble
        Told of each failed try, in words.
    """

    def __init__(  # noqa: PLR0913 - all but the first by name, and most of them rarely
        self,
        url: str,
        *,
        ca_pem: str,
        token: Callable[[], str],
        connect_to: Address | Route | None = None,
        retry: Retry = WHOLE_OUTAGE,
        timeout: float = 30.0,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._retry = retry
        self._on_trouble = on_trouble
        self._connections = Connections(timeout=timeout, connect_to=connect_to, context=lambda: _trusting(ca_pem))

    @property
    def retry(self) -> Retry:
        """How patient this client is."""
        return self._retry

    def grants(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for what `request` names and return the gateway's answer.

        Raises
        ------
        GatewayRefused
            If the answer is final.
        Unavailable
            If there was none for as long as the client's patience lasts.
        """
        return self._post("/v1/grants", request, retry=self._retry)

    def run(self) -> RunDocument:
        """Return what this pod's run is."""
        return cast("RunDocument", self.grants({"op": "run"}))

    def pages(self, request: Mapping[str, Any]) -> Iterator[list[FileGrant]]:
        """Return the pages of a listing; each is asked for when it is wanted, so that its URLs are fresh."""
        after: str | None = ""
        while after is not None:
            answer = self.grants({**request, "after": after})
            yield answer["files"]
            after = answer.get("next")

    def put_grants(self, wishes: Sequence[Mapping[str, Any]], *, op: str = "put") -> list[PutGrant]:
        """Return the permissions to save what `wishes` describe (see `Upload.wish`), in their order."""
        found: list[PutGrant] = []
        for start in range(0, len(wishes), MAX_GRANTS):
            found += self.grants({"op": op, "files": list(wishes[start : start + MAX_GRANTS])})["files"]
        return found

    def delete_grants(self, paths: Sequence[str]) -> list[DeleteGrant]:
        """Return the permissions to delete parts of the run's own log."""
        return cast("list[DeleteGrant]", self.grants({"op": "delete", "paths": list(paths)})["files"])

    def report(self, report: Report) -> None:
        """Tell the state of the run, once: what matters of it is told again soon, or is in the termination message."""
        self._post("/v1/report", report, retry=Retry(limit=0))

    def close(self) -> None:
        """Close the kept connections."""
        self._connections.close()

    def _post(self, path: str, document: Mapping[str, Any], *, retry: Retry) -> dict[str, Any]:
        body = json.dumps(document).encode()

        def post() -> dict[str, Any]:
            headers = {
                "Authorization": f"Bearer {self._token()}",
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
            }
            url = self._url + path
            with self._connections.exchange("POST", url, headers=headers, body=lambda: iter((body,))) as response:
                content = read(response, _ANSWER_BYTES)
                if response.status == _OK:
                    return _object(content)
                raise _refusal(response.status, content)

        return persistently(post, retry=retry, on_trouble=self._on_trouble)


class StoreClient:
    """The object store, as signed URLs show it: whole files out and in.

    Parameters
    ----------
    connect_to
        Host and port to connect to instead of a URL's own, for port-forwards; the signed host stays in the Host header.
    context
        How TLS servers are checked; None means the system's authorities.
    """

    def __init__(
        self,
        *,
        connect_to: Address | Route | None = None,
        retry: Retry = ONE_GRANT,
        timeout: float = 60.0,
        on_trouble: Callable[[str], None] | None = None,
        context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._retry = retry
        self._on_trouble = on_trouble
        self._connections = Connections(timeout=timeout, connect_to=connect_to, context=context)

    def download(  # noqa: PLR0913 - all but the first by name, and most of them rarely
        self,
        url: str,
        target: Path,
        *,
        size: int,
        part: Path | None = None,
        etag: str | None = None,
        on_bytes: Callable[[int], object] | None = None,
    ) -> None:
        """Fetch an object of `size` bytes to `target`, which appears whole or not at all.

        Parameters
        ----------
        part
            Where the bytes are collected, on the file system of `target`; a try goes on where the last one broke off.
        etag
            What the object was listed with, where that is known: no other one is taken.
        on_bytes
            Told how many more bytes have come.

        Raises
        ------
        StoreRefused
            If the store refuses the URL.
        FileChanged
            If the object is not `size` bytes long.
        Unavailable
            If the store stays away.
        """
        part = part or target.with_name(target.name + ".part")
        listed = etag
        part.unlink(missing_ok=True)

        def fetch() -> None:
            nonlocal etag
            # Only what came in this call, and only of this very object, is gone on with.
            had = part.stat().st_size if etag and part.exists() else 0
            had = had if had < size else 0
            headers = {"If-Match": etag} if etag and (had or listed) else {}
            if had:
                headers["Range"] = f"bytes={had}-"
            with self._connections.exchange("GET", url, headers=headers) as response:
                if response.status == _CHANGED and listed:
                    raise FileChanged("the object was replaced since it was listed")
                if response.status == _CHANGED:
                    etag = None
                    raise Transient("the object was replaced while it was being read")
                _check(response)
                etag = listed or response.getheader("ETag")
                resumed = response.status == _PARTIAL
                with part.open("ab" if resumed else "wb") as file:
                    _receive(response, file, size=size - (had if resumed else 0), on_bytes=on_bytes)

        try:
            persistently(fetch, retry=self._retry, on_trouble=self._on_trouble)
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def upload(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        size: int,
        opener: Opener,
        on_bytes: Callable[[int], object] | None = None,
    ) -> None:
        """Save the first `size` bytes of what `opener` opens, with exactly `headers`.

        Raises
        ------
        StoreRefused
            If the store refuses the URL or the content.
        FileChanged
            If the file has become shorter than `size`.
        Unavailable
            If the store stays away.
        """
        sent = {name: value for name, value in headers.items() if name.lower() != "content-length"}
        sent["Content-Length"] = str(size)

        def put() -> None:
            with self._connections.exchange("PUT", url, headers=sent, body=lambda: _chunks(opener, size)) as response:
                _check(response)
                while read(response, CHUNK_BYTES):
                    pass

        persistently(put, retry=self._retry, on_trouble=self._on_trouble)
        if on_bytes:
            on_bytes(size)

    def delete(self, url: str) -> None:
        """Delete an object; one that is not there is deleted already.

        Raises
        ------
        StoreRefused
            If the store refuses the URL.
        Unavailable
            If the store stays away.
        """

        def delete() -> None:
            with self._connections.exchange("DELETE", url, headers={}) as response:
                if response.status != _GONE:
                    _check(response)

        persistently(delete, retry=self._retry, on_trouble=self._on_trouble)

    def close(self) -> None:
        """Close the kept connections."""
        self._connections.close()


def _trusting(ca_pem: str) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - 20 ms that a script's start need not wait for

    return ssl.create_default_context(cadata=ca_pem)


def _object(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except ValueError as error:
        raise Transient(f"the gateway answered with something that is no JSON: {content[:80]!r}") from error
    if not isinstance(answer, dict):
        raise Transient(f"the gateway answered with something that is no JSON object: {content[:80]!r}")
    return answer


def _refusal(status: int, content: bytes) -> Exception:
    try:
        error = json.loads(content)["error"]
        reason, message, field = str(error["reason"]), str(error["message"]), error.get("field")
    except (ValueError, KeyError, TypeError, AttributeError):
        reason, message, field = "Unexplained", content[:200].decode(errors="replace"), None
    if is_transient(status):
        return Transient(f"the gateway answered {status}: {message}")
    return GatewayRefused(reason=reason, message=message, field=field, status=status)


def _check(response: http.client.HTTPResponse) -> None:
    if response.status < _REDIRECT:
        return
    content = read(response, _ERROR_BYTES).decode(errors="replace")
    said = re.search(r"<Code>([^<]*)</Code>", content), re.search(r"<Message>([^<]*)</Message>", content)
    words = ": ".join(match.group(1) for match in said if match) or response.reason
    message = f"the object store answered {response.status}: {words}"
    if is_transient(response.status):
        raise Transient(message)
    raise StoreRefused(status=response.status, message=message)


def _receive(
    response: http.client.HTTPResponse, file: BinaryIO, *, size: int, on_bytes: Callable[[int], object] | None
) -> None:
    announced = response.getheader("Content-Length")
    if announced is not None and int(announced) != size:
        raise FileChanged(f"the object has {announced} bytes more to give where {size} were expected")
    left = size
    while chunk := read(response, CHUNK_BYTES):
        file.write(chunk)
        left -= len(chunk)
        if on_bytes:
            on_bytes(len(chunk))
    if left > 0:
        raise Transient(f"the store closed the connection {left} bytes before the end")
    if left < 0:
        raise FileChanged(f"the object is {-left} bytes longer than the {size} expected")


def _chunks(opener: Opener, size: int) -> Iterator[bytes]:
    with opener() as file:
        left = size
        while left > 0:
            chunk = file.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise FileChanged(f"the file became {left} bytes shorter while it was being saved")
            left -= len(chunk)
            yield chunk
