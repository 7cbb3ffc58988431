"""A proxy in front of an S3 server that breaks requests when told to.

It passes on the bytes of a request as they came, `Host` included, so that signatures stay right; what it changes, it
signs again. Each connection carries one request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.objectstore import ObjectServer

END = b"\r\n\r\n"


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """Path and query, decoded."""
        return unquote(self.target)

    @property
    def is_copy(self) -> bool:
        return "x-amz-copy-source" in self.headers

    def bytes(self) -> bytes:
        """The request for the server behind: one to a connection."""
        headers = {k: v for k, v in self.headers.items() if k not in {"connection", "expect"}} | {"connection": "close"}
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode("latin-1") + END + self.body


# What becomes of a request: the answer to send (None: none, the connection is reset), from a way to get the true one.
Fault = Callable[[Request, Callable[[Request], Awaitable[bytes]]], Awaitable[bytes | None]]


def answer(status: int, code: str, message: str = "", **headers: str) -> Fault:
    """Say that instead of asking the server."""

    async def act(request: Request, _ask: Callable[[Request], Awaitable[bytes]]) -> bytes:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message or code}</Message></Error>".encode()
        if request.method == "HEAD":
            body = b""
        fields = {"Content-Type": "application/xml", "Content-Length": str(len(body)), "Connection": "close", **headers}
        lines = [f"HTTP/1.1 {status} {code}", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join(lines).encode() + END + body

    return act


def reset() -> Fault:
    """End the connection with no answer."""

    async def act(*_: object) -> None:
        return None

    return act


def stall(seconds: float) -> Fault:
    """Say nothing for so long, then end the connection."""

    async def act(*_: object) -> None:
        await asyncio.sleep(seconds)

    return act


def cut() -> Fault:
    """Give the first half of what the server has to give; that it has nothing is said as it is."""

    async def act(request: Request, ask: Callable[[Request], Awaitable[bytes]]) -> bytes:
        head, end, body = (await ask(request)).partition(END)
        return head + end + (body[: len(body) // 2] if b" 200 " in head[:16] else body)

    return act


class Hold:
    """A fault: one request is let through, and those after it have no answer before `release`."""

    def __init__(self) -> None:
        self.holds = asyncio.Event()
        self._released = asyncio.Event()
        self._first = True

    async def __call__(self, request: Request, ask: Callable[[Request], Awaitable[bytes]]) -> bytes | None:
        if self._first:
            self._first = False
            return await ask(request)
        self.holds.set()
        await self._released.wait()
        return None

    def release(self) -> None:
        """End the connections of those that wait."""
        self._released.set()


class FaultProxy:
    """Takes the place of `server`: `endpoint` and `keys` are what a client needs."""

    def __init__(self, server: ObjectServer, *, without: str = "") -> None:
        self.keys, self.region = server.keys, server.region
        self._behind = server.host, server.port
        self._without = without
        self._faults: list[tuple[Callable[[Request], bool], Fault]] = []
        self._server: asyncio.Server | None = None
        self.hits = 0

    @property
    def endpoint(self) -> str:
        """URL of the proxy."""
        assert self._server
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @contextlib.contextmanager
    def breaking(self, concerned: Callable[[Request], bool], fault: Fault):
        """Do `fault` to every request that is `concerned`, as long as this lasts."""
        rule = concerned, fault
        self._faults.append(rule)
        self.hits = 0
        try:
            yield
        finally:
            self._faults.remove(rule)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            said = await self._answer(await _read(reader, writer))
            if said is None:
                writer.transport.abort()
                return
            writer.write(said)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _answer(self, request: Request) -> bytes | None:
        for concerned, fault in self._faults:
            if concerned(request):
                self.hits += 1
                return await fault(request, self._ask)
        return await self._ask(self._signed_again(request) if self._without in request.headers else request)

    async def _ask(self, request: Request) -> bytes:
        reader, writer = await asyncio.open_connection(*self._behind)
        try:
            writer.write(request.bytes())
            await writer.drain()
            return await reader.read()
        finally:
            writer.close()

    def _signed_again(self, request: Request) -> Request:
        headers = {k: v for k, v in request.headers.items() if k not in {self._without, "authorization", "expect"}}
        url = f"http://{headers['host']}{request.target}"
        plain = AWSRequest(method=request.method, url=url, headers=headers, data=request.body)
        S3SigV4Auth(Credentials(self.keys.access, self.keys.secret), "s3", self.region).add_auth(plain)
        return Request(request.method, request.target, {k.lower(): v for k, v in plain.headers.items()}, request.body)


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    lines = (await reader.readuntil(END)).decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if headers.get("expect"):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return Request(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
