"""A real S3 server for tests: versitygw on a free port, with folders and keys of its own."""

from __future__ import annotations

import http.client
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import boto3

from devcluster import ports, programs
from devcluster.children import Child
from devcluster.components import Component
from devcluster.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

REGION = "us-east-1"
HEALTH = "/health"


@dataclass(frozen=True)
class Keys:
    """Credentials of the server's owner."""

    access: str
    secret: str


class ObjectServer:
    """An S3 server that can be stopped and started again with its data, as a pod of the chart can.

    Parameters
    ----------
    folder
        Where its data and log go.
    host
        Address of this machine that it listens on.
    """

    def __init__(self, *, folder: Path, host: str = "127.0.0.1") -> None:
        self.folder = folder
        self.host = host
        self.keys = Keys(access=f"test{secrets.token_hex(6)}", secret=secrets.token_hex(20))
        self.region = REGION
        self.port = ports.free(1)[0]
        self._program = programs.ensure(["versitygw"])["versitygw"]
        self._child: Child | None = None

    @property
    def endpoint(self) -> str:
        """URL of the server."""
        return f"http://{self.host}:{self.port}"

    def client(self) -> S3Client:
        """Return a client of the server's owner."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.keys.access,
            aws_secret_access_key=self.keys.secret,
            region_name=self.region,
        )

    @property
    def data(self) -> Path:
        """The folder whose folders are buckets."""
        return self.folder / "data"

    @property
    def access_log(self) -> Path:
        """Where the server notes each request, as S3 does."""
        return self.folder / "access.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.data.mkdir(parents=True, exist_ok=True)
        versions = self.folder / "versions"
        versions.mkdir(exist_ok=True)
        component = Component(
            name="versitygw",
            argv=(
                str(self._program),
                f"--port={self.host}:{self.port}",
                f"--region={self.region}",
                f"--health={HEALTH}",
                "--quiet",
                f"--access-log={self.access_log}",
                "posix",
                f"--versioning-dir={versions}",
                str(self.data),
            ),
            environment={"ROOT_ACCESS_KEY_ID": self.keys.access, "ROOT_SECRET_ACCESS_KEY": self.keys.secret},
        )
        self._child = child = Child(component, log=self.folder / "versitygw.log")

        def healthy() -> bool:
            child.check()
            return self._healthy()

        wait_for(healthy, what=f"the S3 server at {self.endpoint}", timeout=30, hint=child.tail)

    def stop(self) -> None:
        """Stop the server; its data stays."""
        if self._child:
            self._child.stop()
            self._child = None

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=2)
        try:
            connection.request("GET", HEALTH)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
