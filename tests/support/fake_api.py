"""An API server that knows Services and pods, and speaks the protocol of port-forwards over a web socket."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from kubernetes import client

from trainyard.remote.api import Api

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


def service(name):
    """Return a Service whose pods have its name as a label."""
    port = (
        {"port": 8443, "targetPort": "gateway"} if name == "trainyard-gateway" else {"port": 7070, "targetPort": 7071}
    )
    return {"spec": {"selector": {"app": name}, "ports": [port]}}


def pod(name, *, app="trainyard-gateway", ready=True, leaving=False):
    """Return a pod behind a Service."""
    ports = [{"name": "metrics", "containerPort": 9090}, {"name": "gateway", "containerPort": 8444}]
    metadata = {"name": name, "labels": {"app": app}, **({"deletionTimestamp": "now"} if leaving else {})}
    return {"metadata": metadata, "spec": {"containers": [{"ports": ports}]}, "status": READY if ready else {}}


class FakeApiServer:
    """Answers with Services and pods, and joins port-forwards to a server by its pod's name, or else to an echo."""

    def __init__(self, *pods, allowed=True, servers=None, objects=None):
        self.pods, self.allowed, self.forwarded = list(pods), allowed, []
        self.servers, self.objects = servers or {}, objects or {}
        handler = type("Handler", (_Handler,), {"yard": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def api(self):
        """Return a client of this server."""
        configuration = client.Configuration(host=f"http://127.0.0.1:{self.server.server_port}")
        configuration.api_key = {"authorization": "Bearer a-token"}
        return Api(client.ApiClient(configuration))

    def close(self):
        """Stop the server."""
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    yard: FakeApiServer

    def log_message(self, *args):
        pass

    def do_GET(self):
        parts = urlsplit(self.path)
        if parts.path in self.yard.objects:
            self.answer(200, self.yard.objects[parts.path])
        elif "/services/" in parts.path:
            self.answer(200, service(parts.path.rsplit("/", 1)[1]))
        elif parts.path.endswith("/pods"):
            (selector,) = parse_qs(parts.query)["labelSelector"]
            label = selector.removeprefix("app=")
            self.answer(200, {"items": [pod for pod in self.yard.pods if pod["metadata"]["labels"]["app"] == label]})
        elif not self.yard.allowed:
            self.answer(403, {"message": "stranger cannot create resource pods/portforward"})
        else:
            self.forward(parts)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path in self.yard.objects:
            self.answer(201, self.yard.objects[self.path])
        else:
            self.answer(404, {"message": f"{self.path} not found"})

    def answer(self, status, document):
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def forward(self, parts):
        (port,) = parse_qs(parts.query)["ports"]
        self.yard.forwarded.append((parts.path, port, self.headers["Authorization"]))
        key = base64.b64encode(hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + GUID).digest())
        self.send_response(101)
        for name, value in {
            "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": key.decode(),
            "Sec-WebSocket-Protocol": "v4.channel.k8s.io",
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        for channel in (0, 1):
            self.frame(bytes([channel]) + struct.pack("<H", int(port)))
        self.close_connection = True
        server = self.yard.servers.get(parts.path.split("/")[-2])
        if server is None:
            while (data := self.received()) is not None:
                self.frame(b"\0" + data[1:].upper())
            return
        with socket.create_connection(server) as far:
            threading.Thread(target=self.back, args=(far,), daemon=True).start()
            while (data := self.received()) is not None:
                far.sendall(data[1:])

    def back(self, far):
        with contextlib.suppress(OSError):
            while data := far.recv(16_000):
                self.frame(b"\0" + data)

    def frame(self, data):
        size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack(">H", len(data))
        self.wfile.write(b"\x82" + size + data)

    def received(self):
        head = self.rfile.read(2)
        if len(head) < 2 or head[0] & 15 == 8:
            return None
        size = head[1] & 127
        longer = {126: ">H", 127: ">Q"}.get(size)
        if longer:
            (size,) = struct.unpack(longer, self.rfile.read(struct.calcsize(longer)))
        mask = self.rfile.read(4)
        return bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(size)))
