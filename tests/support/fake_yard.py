"""A run gateway and an object store that fail on demand: real sockets, real TLS, answers of the tests' choosing."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.support.certificates import certificate

TOKEN = "a-token-of-this-pod"
DROP = -1  # a fault: close the connection without an answer
HANG = -2  # a fault: take the request and never answer

Fault = Callable[[str, str], int | None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: Any) -> None:
        """Keep the test's output free."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def fails(self, fault: int | None) -> bool:
        if fault == DROP:
            self.close_connection = True
        elif fault == HANG:
            time.sleep(30)
            self.close_connection = True
        return fault in {DROP, HANG}


@dataclass
class Put:
    """One object that arrived."""

    path: str
    bytes: int
    when: float


@dataclass
class FakeStore:
    """Objects by key; a URL is good while its signature is in `signatures`."""

    objects: dict[str, bytes] = field(default_factory=dict)
    puts: list[Put] = field(default_factory=list)
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    signatures: set[str] = field(default_factory=set)
    connections: set[Any] = field(default_factory=set)
    fault: Fault = lambda method, path: None
    url: str = ""
    cut_after: int | None = None  # the next GET answers with so many bytes and then closes
    signed: int = 0

    def sign(self, key: str) -> str:
        self.signed += 1
        signature = f"s{self.signed}"
        self.signatures.add(signature)
        return f"{self.url}/{quote(key)}?X-Signature={signature}"

    def handler(store) -> type[_Handler]:  # noqa: N805
        class Handler(_Handler):
            def begin(self) -> str | None:
                parts = urlsplit(self.path)
                key = unquote(parts.path.removeprefix("/"))
                store.hosts.add(self.headers["Host"])
                store.connections.add(self.client_address)
                fault = store.fault(self.command, key)
                if self.fails(fault):
                    return None
                signature = parse_qs(parts.query).get("X-Signature", [""])[0]
                if fault is None and signature not in store.signatures:
                    fault = 403
                if fault is not None:
                    store.requests.append((self.command, key, fault))
                    self.answer(fault, b"<Error><Code>Fault</Code><Message>as the test wishes</Message></Error>")
                    return None
                return key

            def do_GET(self) -> None:
                key = self.begin()
                if key is None:
                    return
                content = store.objects.get(key)
                if content is None:
                    self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
                    return
                etag = hashlib.md5(content).hexdigest()
                if self.headers.get("If-Match", etag) != etag:
                    self.answer(412)
                    return
                first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
                store.requests.append(("GET", key, 206 if first else 200))
                if store.cut_after is not None:
                    self.send_response(206 if first else 200)
                    self.send_header("Content-Length", str(len(content) - first))
                    self.send_header("ETag", etag)
                    self.end_headers()
                    self.wfile.write(content[first : first + store.cut_after])
                    store.cut_after = None
                    self.close_connection = True
                    return
                self.answer(206 if first else 200, content[first:], ETag=etag)

            def do_DELETE(self) -> None:
                key = self.begin()
                if key is None:
                    return
                store.requests.append(("DELETE", key, 204))
                self.answer(204 if store.objects.pop(key, None) is not None else 404)

            def do_PUT(self) -> None:
                content = self.body()
                key = self.begin()
                if key is None:
                    return
                if len(content) < int(self.headers["Content-Length"]):
                    self.close_connection = True
                    return
                if self.headers.get("If-None-Match") == "*" and key in store.objects:
                    self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
                    return
                wanted = self.headers.get("x-amz-checksum-sha256")
                if wanted and base64.b64decode(wanted) != hashlib.sha256(content).digest():
                    self.answer(400, b"<Error><Code>BadDigest</Code></Error>")
                    return
                # Whoever sees the object finds it noted down.
                store.puts.append(Put(key, len(content), time.time()))
                store.requests.append(("PUT", key, 200))
                store.objects[key] = content
                self.answer(200)

        return Handler


@dataclass
class FakeGateway:
    """The gateway of one run; `refusals` and `fault` say how it fails, `fault(path, op)` before it looks at anything."""

    store: FakeStore
    run: dict[str, Any] = field(default_factory=dict)
    build: dict[str, Any] = field(default_factory=dict)
    # Answers to come, the last one again and again.
    ran: list[dict[str, Any]] = field(default_factory=lambda: [{"imageDigest": "sha256:" + "1" * 64}])
    inputs: dict[str, list[list[dict[str, Any]]]] = field(default_factory=dict)  # pages of {path, key, bytes}
    checkpoints: dict[int, list[dict[str, Any]]] = field(default_factory=dict)  # by attempt: answers to come
    refusals: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)  # by op
    reports: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    grants: list[dict[str, Any]] = field(default_factory=list)
    fault: Fault = lambda path, op: None
    expire_first: bool = False  # the first URL of each object is refused by the store
    expired: set[str] = field(default_factory=set)
    commit: str = ""
    taken: bytes | None = None  # what another pod freezes before this one can
    token: str = TOKEN
    url: str = ""
    ca_pem: str = ""

    def sign(self, key: str) -> str:
        url = self.store.sign(key)
        if self.expire_first and key not in self.expired:
            self.expired.add(key)
            self.store.signatures.discard(url.rpartition("=")[2])
        return url

    def states(self) -> list[str]:
        """Return the states that were reported, without repeats."""
        return list(dict.fromkeys(report["state"] for _, report in self.reports))

    def answer(self, op: str, request: dict[str, Any]) -> dict[str, Any]:  # noqa: PLR0911 - one for each operation
        if op == "run":
            if "source.tar.gz" in self.store.objects and "git" in self.run["source"]:
                body = self.store.objects["source.tar.gz"]
                frozen = {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body), "commit": self.commit}
                return {**self.run, "source": {**frozen, "url": self.sign("source.tar.gz")}}
            source = {**self.run["source"]}
            if "git" in source:
                return {**self.run, "source": source}
            key = source.pop("key")
            environment = {}
            if "environment" in self.run:
                pack = {**self.run["environment"]}
                environment = {"environment": {**pack, "url": self.sign(pack.pop("key"))}}
            return {**self.run, "source": {**source, "url": self.sign(key)}, **environment}
        if op == "ran":
            return self.ran.pop(0) if len(self.ran) > 1 else self.ran[0]
        if op == "build":
            return self.build
        if op == "input":
            pages = self.inputs[request["name"]]
            number = int(request["after"] or 0)
            files = [
                {**{name: f[name] for name in ("path", "bytes", "etag") if name in f}, "url": self.sign(f["key"])}
                for f in pages[number]
            ]
            return {"files": files, "next": str(number + 1) if number + 1 < len(pages) else None}
        if op == "list":
            found = {key: body for key, body in self.store.objects.items() if key.startswith(request["prefix"])}
            files = [{"path": key, "bytes": len(body), "url": self.sign(key)} for key, body in found.items()]
            return {"files": files, "next": None}
        if op == "delete":
            return {"files": [{"path": path, "url": self.sign(path)} for path in request["paths"]]}
        if op == "checkpoint":
            record = self.checkpoints[request["attempt"]].pop(0)
            folder = f"checkpoint/{record['slot']}/"
            files = [{**file, "url": self.sign(folder + file["path"])} for file in record["files"]]
            return {"files": files, "next": None}
        if op == "source-put":
            self.commit = request["commit"]
            if self.taken is not None:
                self.store.objects["source.tar.gz"] = self.taken
            headers = {"if-none-match": "*"}
            return {"files": [{"path": "source.tar.gz", "url": self.sign("source.tar.gz"), "headers": headers}]}
        files = []
        for wish in request["files"]:
            headers = {}
            if "sha256" in wish:
                headers["x-amz-checksum-sha256"] = base64.b64encode(bytes.fromhex(wish["sha256"])).decode()
            files.append({"path": wish["path"], "url": self.sign(wish["path"]), "headers": headers})
        return {"files": files}

    def handler(gateway) -> type[_Handler]:  # noqa: N805
        class Handler(_Handler):
            def do_POST(self) -> None:
                request = json.loads(self.body())
                op = request.get("op", "report")
                fault = gateway.fault(self.path, op)
                if self.fails(fault):
                    return
                if fault is not None:
                    self.answer(fault, b"an answer of something in between")
                elif self.headers.get("Authorization") != f"Bearer {gateway.token}":
                    self.refuse(401, {"reason": "Unauthorized", "message": "this token is not known"})
                elif op in gateway.refusals:
                    self.refuse(*gateway.refusals[op])
                elif self.path == "/v1/report":
                    gateway.reports.append((time.time(), request))
                    self.answer(200, b"{}")
                else:
                    gateway.grants.append(request)
                    self.answer(200, json.dumps(gateway.answer(op, request)).encode())

            def refuse(self, status: int, error: dict[str, Any]) -> None:
                self.answer(status, json.dumps({"error": error}).encode())

        return Handler


@dataclass
class FakeYard:
    """The two servers."""

    gateway: FakeGateway
    store: FakeStore


@contextmanager
def fake_yard(folder: Path) -> Iterator[FakeYard]:
    """Run both servers; `folder` is for the certificate."""
    store = FakeStore()
    gateway = FakeGateway(store=store)
    store_server = _Server(("127.0.0.1", 0), store.handler())
    gateway_server = _Server(("127.0.0.1", 0), gateway.handler())
    gateway.ca_pem, context = certificate(folder)
    # The handshake must not hold up the accepting thread, or one client that hangs would block all.
    gateway_server.socket = context.wrap_socket(gateway_server.socket, server_side=True, do_handshake_on_connect=False)
    store.url = f"http://127.0.0.1:{store_server.server_port}"
    gateway.url = f"https://127.0.0.1:{gateway_server.server_port}"
    servers = (store_server, gateway_server)
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield FakeYard(gateway=gateway, store=store)
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()
