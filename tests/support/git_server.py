"""A git server over HTTPS: the program `git http-backend` behind TLS, with a password for some repositories."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.certificates import certificate

GIT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": "test@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


@dataclass
class GitServer:
    """Repositories below `root`; those whose name begins with "private" want `user` and `password`."""

    root: Path
    url: str = ""
    ca_pem: str = ""
    user: str = "x-access-token"
    password: str = "a-token"
    faults: list[int] = field(default_factory=list)  # the next requests are answered with these
    redirect: str = ""  # repositories called "moved" are said to be below this address
    seen: list[tuple[str, str]] = field(default_factory=list)  # path and Authorization

    def git(self, repository: str, *arguments: str) -> str:
        """Run git in the working copy of a repository."""
        done = subprocess.run(
            ["git", "-C", self.root / f"{repository}.work", *arguments],
            env=GIT,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def commit(self, repository: str, files: dict[str, str | None], *, links: dict[str, str] | None = None) -> str:
        """Commit `files` to the branch main, made where it is missing, and return the commit."""
        work, bare = self.root / f"{repository}.work", self.root / f"{repository}.git"
        if not bare.exists():
            for command in (["init", "-q", "--bare", "-b", "main", bare], ["init", "-q", "-b", "main", work]):
                subprocess.run(["git", *command], env=GIT, check=True)
            self.git(repository, "remote", "add", "origin", str(bare))
        for path, text in files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_text(text or "")
        for path, to in (links or {}).items():
            (work / path).symlink_to(to)
        self.git(repository, "add", "--all")
        self.git(repository, "commit", "-q", "--allow-empty", "-m", "work")
        self.git(repository, "push", "-q", "origin", "HEAD", "--tags")
        return self.git(repository, "rev-parse", "HEAD")

    def tag(self, repository: str, name: str) -> None:
        """Put an annotated tag on the newest commit."""
        self.git(repository, "tag", "-a", "-m", "tag", name)
        self.git(repository, "push", "-q", "origin", "--tags")

    def handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None:
                """Keep the test's output free."""

            def do_GET(self) -> None:
                self.serve(b"")

            def do_POST(self) -> None:
                self.serve(self.body())

            def body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", "0")))
                chunks = []
                while size := int(self.rfile.readline(), 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(chunks)

            def serve(self, body: bytes) -> None:
                parts = urlsplit(self.path)
                server.seen.append((self.path, self.headers.get("Authorization", "")))
                if server.faults:
                    self.send_error(server.faults.pop(0))
                    return
                if parts.path.startswith("/moved"):
                    self.answer(301, b"", Location=server.redirect + self.path.removeprefix("/moved"))
                    return
                wanted = "Basic " + base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
                if parts.path.startswith("/private") and self.headers.get("Authorization") != wanted:
                    self.answer(401, b"", **{"WWW-Authenticate": 'Basic realm="git"'})
                    return
                done = subprocess.run(
                    ["git", "http-backend"],
                    input=body,
                    capture_output=True,
                    check=False,
                    env={
                        **GIT,
                        "GIT_PROJECT_ROOT": str(server.root),
                        "GIT_HTTP_EXPORT_ALL": "1",
                        "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                        "REQUEST_METHOD": self.command,
                        "PATH_INFO": parts.path,
                        "QUERY_STRING": parts.query,
                        "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                        "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                        "GIT_CONFIG_COUNT": "1",
                        "GIT_CONFIG_KEY_0": "safe.directory",
                        "GIT_CONFIG_VALUE_0": "*",
                    },
                )
                head, _, content = done.stdout.partition(b"\r\n\r\n")
                headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
                self.answer(int(headers.pop("Status", "200").split()[0]), content, **headers)

            def answer(self, status: int, content: bytes, **headers: str) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that do not trust the certificate are part of the tests."""


@contextmanager
def git_server(folder: Path, *, address: str = "127.0.0.1") -> Iterator[GitServer]:
    """Serve repositories below `folder` on `address`."""
    server = GitServer(root=folder / "repositories")
    server.root.mkdir(parents=True)
    httpd = _Server((address, 0), server.handler())
    server.ca_pem, context = certificate(folder, address=address)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True, do_handshake_on_connect=False)
    server.url = f"https://{address}:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
