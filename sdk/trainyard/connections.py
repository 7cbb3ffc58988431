"""HTTP as the transfers need it: kept connections, streamed bodies, one kind of error for what deserves another try.

A network that fails is told apart from a disk that fails here and nowhere else: only the first becomes a `Transient`.
"""

from __future__ import annotations

import http.client
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, Optional
from urllib.parse import urlsplit

from trainyard.patience import TransferError, Transient

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping

    Body = Callable[[], Iterator[bytes]]
    Address = tuple[str, int]
    # Gives the address to connect to in place of a URL's host and port, or None for that itself.
    Route = Callable[[str], Optional[Address]]

CHUNK_BYTES = 256 * 1024
RETRIED_STATUSES = frozenset({408, 425, 429})
_SERVER_ERROR = 500
_NETWORK_ERRORS = (OSError, http.client.HTTPException)


def is_transient(status: int) -> bool:
    """Return whether a server that answers with `status` may answer better later."""
    return status in RETRIED_STATUSES or status >= _SERVER_ERROR


class Connections:
    """Kept connections by server, shared by threads: one that is in use is lent to nobody else.

    Parameters
    ----------
    timeout
        Seconds for connecting and for each wait for bytes, not for a whole transfer.
    connect_to
        Where to open the socket instead of at the URL's host, for port-forwards: an address, or what gives one for a
        URL's host and port. The URL's host still goes into the Host header, which signatures cover, and is what a
        certificate is checked against.
    context
        How TLS servers are checked; made when the first one is met. None means the system's authorities.
    """

    def __init__(
        self,
        *,
        timeout: float,
        connect_to: Address | Route | None = None,
        context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._timeout = timeout
        self._connect_to = connect_to
        self._make_context = context
        self._context: ssl.SSLContext | None = None
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def exchange(
        self, method: str, url: str, *, headers: Mapping[str, str], body: Body | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Send one request and lend its response; the connection is kept if the response was read to its end.

        Raises
        ------
        Transient
            If the server cannot be reached or stops answering.
        """
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        key = (parts.scheme, parts.netloc)
        connection, response, whole = self._begin(key, method, target, headers, body)
        kept = False
        try:
            yield response
            # The end of a body of known length is known only to whoever reads past it.
            kept = whole and not response.will_close and (response.isclosed() or not read(response, CHUNK_BYTES))
        finally:
            if kept:
                with self._lock:
                    self._idle.setdefault(key, []).append(connection)
            else:
                response.close()
                connection.close()

    def close(self) -> None:
        """Close the connections that nobody is using."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _begin(
        self, key: tuple[str, str], method: str, target: str, headers: Mapping[str, str], body: Body | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse, bool]:
        while True:
            with self._lock:
                idle = self._idle.get(key)
                connection = idle.pop() if idle else None
            reused = connection is not None
            if connection is None:
                connection = self._open(*key)
            try:
                whole = _send(connection, method, target, headers, body)
                return connection, connection.getresponse(), whole
            except http.client.InvalidURL as error:
                raise TransferError(f"a URL cannot be used: {error}") from error
            except _NETWORK_ERRORS as error:
                connection.close()
                # The server may have closed a kept connection long ago: that says nothing of how it is now.
                if not reused:
                    _give_up(f"{key[0]}://{key[1]}", error)
            except _SourceError as carrier:
                connection.close()
                raise carrier.error from None

    def _open(self, scheme: str, netloc: str) -> http.client.HTTPConnection:
        address = self._connect_to(netloc) if callable(self._connect_to) else self._connect_to
        if scheme != "https":
            return _Plain(netloc, address=address, timeout=self._timeout)
        with self._lock:
            if self._context is None:
                self._context = self._make_context() if self._make_context else _system_context()
        return _Tls(netloc, address=address, timeout=self._timeout, context=self._context)


class _SourceError(Exception):
    """Carries an error of a body's source past the handling of network errors, many of which are `OSError` as well."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _send(
    connection: http.client.HTTPConnection, method: str, target: str, headers: Mapping[str, str], body: Body | None
) -> bool:
    connection.putrequest(method, target, skip_accept_encoding=True)
    for name, value in headers.items():
        if name.lower() != "host":
            connection.putheader(name, value)
    chunks = _guarded(body()) if body else iter(())
    try:
        # The first bytes leave together with the head: a small file is one packet, not two.
        connection.endheaders(next(chunks, None))
        for chunk in chunks:
            connection.send(chunk)
    except OSError:
        # A server that refuses a body closes before it has read all of it, and its answer says why.
        if connection.sock is None:
            raise
        return False
    return True


def _guarded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except Exception as error:
        raise _SourceError(error) from error


def read(response: http.client.HTTPResponse, size: int) -> bytes:
    """Return up to `size` more bytes of `response`, none at its end.

    Raises
    ------
    Transient
        If they do not come.
    """
    try:
        return response.read(size)
    except _NETWORK_ERRORS as error:
        _give_up("the server", error)


def _give_up(where: str, error: Exception) -> NoReturn:
    raise Transient(f"{where}: {str(error) or type(error).__name__}") from error


def _system_context() -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - costs a start 20 ms, and many stores are reached without it

    return ssl.create_default_context()


def _connect(address: tuple[str, int], timeout: float) -> socket.socket:
    sock = socket.create_connection(address, timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class _Plain(http.client.HTTPConnection):
    def __init__(self, netloc: str, *, address: tuple[str, int] | None, timeout: float) -> None:
        super().__init__(netloc, timeout=timeout)
        self._address = address or (self.host, self.port)
        self._seconds = timeout

    def connect(self) -> None:
        self.sock = _connect(self._address, self._seconds)


class _Tls(http.client.HTTPSConnection):
    def __init__(
        self, netloc: str, *, address: tuple[str, int] | None, timeout: float, context: ssl.SSLContext
    ) -> None:
        super().__init__(netloc, timeout=timeout, context=context)
        self._address = address or (self.host, self.port)
        self._seconds = timeout
        self._tls = context

    def connect(self) -> None:
        sock = _connect(self._address, self._seconds)
        try:
            self.sock = self._tls.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise
