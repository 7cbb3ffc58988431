"""The bucket as its administrator sees it: boto3 with the chart's own keys, through a port-forward."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.e2e.yard import SYSTEM, Json, Yard

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "trainyard"


@dataclass(frozen=True)
class Bucket:
    """Reads the object store behind the operator's back."""

    client: S3Client

    def keys(self, prefix: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def bytes(self, key: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def read(self, run: Json, path: str) -> bytes:
        """Return one file of the latest attempt of a run."""
        return self.bytes(folder(run) + path)

    def log(self, run: Json) -> bytes:
        """Return what the latest attempt printed so far: the whole log, and where that is not there yet its parts."""
        logs = folder(run) + "logs/"
        keys = self.keys(logs)
        if logs + "train.log" in keys:
            return self.bytes(logs + "train.log")
        return b"".join(self.bytes(key) for key in sorted(keys) if key.startswith(logs + "train/"))


def root(run: Json) -> str:
    """Return the prefix of all of a run's objects."""
    return f"runs/{run['metadata']['namespace']}/{run['metadata']['uid']}/"


def folder(run: Json, attempt: int | None = None) -> str:
    """Return the prefix of what an attempt of a run wrote; the latest one where none is named."""
    return f"{root(run)}attempts/{attempt or run['status']['attempt']}/"


@contextmanager
def open_bucket(yard: Yard) -> Iterator[Bucket]:
    """Yield the embedded store's bucket."""
    secret: dict[str, Any] = yard.get("secret", "trainyard-store", "-n", SYSTEM)["data"]
    access, secret_key = (
        base64.b64decode(secret[key]).decode() for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    )
    with forwarded(yard, "service/trainyard-store", port=7070) as port:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id=access,
            aws_secret_access_key=secret_key,
            region_name="us-east-1",
            config=Config(signature_version="s3v4", retries={"max_attempts": 10}),
        )

        def answers() -> bool:
            try:
                client.head_bucket(Bucket=BUCKET)
            except (BotoCoreError, ClientError):
                return False
            return True

        try:
            yard.wait("the port-forward to the store", answers)
            yield Bucket(client=client)
        finally:
            client.close()


@contextmanager
def forwarded(yard: Yard, target: str, *, port: int) -> Iterator[int]:
    """Yield a port of this machine that leads to one of a Service: kubectl picks it, so that nobody else has it."""
    command = [yard.kubectl_program, "--kubeconfig", yard.kubeconfig, "port-forward", "-n", SYSTEM, target, f":{port}"]
    # Into a file: it says something of every connection, and nobody reads a pipe.
    with TemporaryFile("a+") as said, subprocess.Popen(command, stdout=said, stderr=said) as forward:

        def local() -> int | None:
            said.seek(0)
            found = re.search(r"^Forwarding from 127\.0\.0\.1:(\d+) ", text := said.read(), re.MULTILINE)
            assert forward.poll() is None, text
            return int(found[1]) if found else None

        try:
            yield yard.wait(f"a port-forward to {target}", local)
        finally:
            forward.terminate()
