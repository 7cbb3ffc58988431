"""The gateway and the object store of one run, on a port of this machine: the runner is the same program as ever."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote, unquote, urlsplit

from trainyard.local.bucket import Etags
from trainyard.local.home import Home

CHUNK: Final = 1 << 20
GONE_AWAY: Final = (ConnectionError, TimeoutError)

# Answers a request of the runner, or raises a `Refusal`.
Answer = Callable[[Mapping[str, Any]], dict[str, Any]]
Sign = Callable[[str], str]


class Refusal(Exception):  # noqa: N818 - reads as what happened
    """A request cannot be granted; the words are for the run's status."""

    def __init__(self, message: str, *, reason: str = "BadRequest", status: int = 400) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status


class Yard:
    """Both servers of a run.

    Attributes
    ----------
    url
        What the runner knows as its gateway.
    token
        What the runner shows to it.
    etags
        The ETags of the objects.
    answer
        What answers ``/v1/grants``.
    report
        What takes ``/v1/report``.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self.token = secrets.token_urlsafe(32)
        self.etags = Etags()
        self.answer: Answer = _nothing
        self.report: Answer = _nothing
        # Whoever knows it may read and write the folder: it is in signed addresses alone.
        self._secret = secrets.token_urlsafe(32)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def sign(self, key: str) -> str:
        """Return the address of an object."""
        return f"{self.url}/{self._secret}/{quote(key)}"

    def place(self, path: str) -> Path | None:
        """Return the file that a signed address means, None where it was not signed here."""
        given, _, key = urlsplit(path).path.removeprefix("/").partition("/")
        return self.home.key(unquote(key)) if secrets.compare_digest(given, self._secret) else None

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def serving(home: Home) -> Iterator[Yard]:
    """Run both servers meanwhile."""
    yard = Yard(home)
    try:
        yield yard
    finally:
        yard.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away."""


def _nothing(_request: Mapping[str, Any]) -> dict[str, Any]:
    raise Refusal("nothing is granted now")


def _handler(yard: Yard) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.yard = yard
    return Handler


class _Handler(BaseHTTPRequestHandler):
    yard: Yard
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Say nothing of each request."""

    def do_POST(self) -> None:
        """Answer as the gateway."""
        body = self.rfile.read(self._length())
        if not secrets.compare_digest(self.headers.get("Authorization", ""), f"Bearer {self.yard.token}"):
            self._refuse(Refusal("this token is not known", reason="Unauthorized", status=401))
            return
        answer = self.yard.answer if self.path == "/v1/grants" else self.yard.report
        try:
            document = json.loads(body)
            self._json(200, answer(document))
        except Refusal as refusal:
            self._refuse(refusal)
        except (ValueError, KeyError, TypeError) as error:
            self._refuse(Refusal(f"the request cannot be understood: {error!r}"))

    def do_GET(self) -> None:
        """Give an object, from where the client broke off."""
        place = self._place()
        if place is None:
            return
        if not place.is_file():
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        tag = self.yard.etags.of(place)
        if self.headers.get("If-Match", tag).strip('"') != tag:
            self._answer(412)
            return
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        with place.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(first)
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(size - first))
            self.send_header("ETag", tag)
            self.end_headers()
            with contextlib.suppress(*GONE_AWAY):
                while chunk := file.read(CHUNK):
                    self.wfile.write(chunk)

    def do_PUT(self) -> None:
        """Take an object, whole or not at all."""
        place = self._place()
        if place is None:
            return
        try:
            with self.yard.home.writing(place, exclusive=self.headers.get("If-None-Match") == "*") as file:
                self._receive(file)
        except FileExistsError:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        except ConnectionAbortedError:
            self.close_connection = True
        except ValueError:
            self._answer(400, b"<Error><Code>BadDigest</Code></Error>")
        except OSError as error:
            words = f"<Error><Code>InternalError</Code><Message>{error.strerror}</Message></Error>"
            self._answer(507, words.encode())
        else:
            self._answer(200)

    def do_DELETE(self) -> None:
        """Remove an object."""
        place = self._place()
        if place is not None:
            place.unlink(missing_ok=True)
            self._answer(204)

    def _receive(self, file: BinaryIO) -> None:
        """Take a body in; raise `ConnectionAbortedError` where it is cut short, `ValueError` where it is another."""
        wanted, left = self.headers.get("x-amz-checksum-sha256"), self._length()
        digest = hashlib.sha256()
        while left and (chunk := self.rfile.read(min(CHUNK, left))):
            digest.update(chunk)
            file.write(chunk)
            left -= len(chunk)
        if left:
            raise ConnectionAbortedError
        if wanted and base64.b64decode(wanted) != digest.digest():
            raise ValueError(wanted)

    def _place(self) -> Path | None:
        place = self.yard.place(self.path)
        if place is None:
            self.close_connection = True
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        return place

    def _length(self) -> int:
        return int(self.headers.get("Content-Length", "0"))

    def _json(self, status: int, document: Mapping[str, Any]) -> None:
        self._answer(status, json.dumps(document).encode())

    def _refuse(self, refusal: Refusal) -> None:
        error = {"reason": refusal.reason, "message": str(refusal)}
        self._json(refusal.status, {"error": error})

    def _answer(self, status: int, content: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(*GONE_AWAY):
            self.wfile.write(content)
