"""The command line that the chart gives the embedded store, tried on the real server."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from devcluster import ports, programs
from devcluster.children import Child
from devcluster.components import Component
from devcluster.waiting import wait_for
from tests.unit.helm import chart

STORE = "trainyard-store"
BUCKET = "trainyard"


class Pod:
    """The store's container, as a process: mounts become folders, everything else is as the chart says."""

    def __init__(self, *, folder, values):
        objects = chart.render(values)
        container = chart.container(objects, STORE)
        secret = chart.named(objects, "Secret", STORE)["data"]
        self.port = ports.free(1)[0]
        self.health = container["readinessProbe"]["httpGet"]["path"]
        self.keys = {
            v["name"]: base64.b64decode(secret[v["valueFrom"]["secretKeyRef"]["key"]]).decode()
            for v in container["env"]
        }
        self.mounts = {m["mountPath"]: folder / m["subPath"] for m in container["volumeMounts"]}
        for path in self.mounts.values():
            path.mkdir(exist_ok=True)
        self.argv = [str(programs.ensure(["versitygw"])["versitygw"]), *map(self._local, container["args"])]
        self.log = folder / "log"

    def _local(self, argument):
        for path, local in self.mounts.items():
            argument = argument.replace(path, str(local))
        return argument.replace("--port=:7070", f"--port=127.0.0.1:{self.port}")

    def __enter__(self):
        component = Component(name="versitygw", argv=tuple(self.argv), environment=self.keys)
        self.child = child = Child(component, log=self.log)

        def healthy():
            child.check()
            return self.healthy()

        wait_for(healthy, what="the store", timeout=30, hint=child.tail)
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name=chart.environment(chart.render({}))["TRAINYARD_S3_REGION"],
            aws_access_key_id=self.keys["ROOT_ACCESS_KEY_ID"],
            aws_secret_access_key=self.keys["ROOT_SECRET_ACCESS_KEY"],
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    def __exit__(self, *_):
        self.child.stop()

    def healthy(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", self.health)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@pytest.fixture(params=["xattr", "sidecar"])
def pod(request, tmp_path):
    return Pod(folder=tmp_path, values={"store": {"embedded": {"metadata": request.param}}})


def test_the_store_keeps_objects_metadata_and_checksums_over_a_restart(pod):
    body = json.dumps({"accuracy": 0.93}).encode()
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    with pod as s3:
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="runs/a", Body=body, ChecksumSHA256=digest, Metadata={"run": "a"})

    with pod as s3:
        found = s3.get_object(Bucket=BUCKET, Key="runs/a", ChecksumMode="ENABLED")
        assert found["Body"].read() == body
        assert (found["ChecksumSHA256"], found["Metadata"]) == (digest, {"run": "a"})


def test_an_object_is_made_once_only_where_that_is_asked(pod):
    with pod as s3:
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="models/1.json", Body=b"first", IfNoneMatch="*")

        with pytest.raises(ClientError, match="PreconditionFailed"):
            s3.put_object(Bucket=BUCKET, Key="models/1.json", Body=b"second", IfNoneMatch="*")
        assert s3.get_object(Bucket=BUCKET, Key="models/1.json")["Body"].read() == b"first"


def test_only_the_folders_that_the_chart_mounts_hold_data(pod, tmp_path):
    with pod as s3:
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="runs/a", Body=b"x")

    assert (tmp_path / "objects" / BUCKET / "runs" / "a").read_bytes() == b"x"
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in pod.mounts.values()} | {"log"}


def test_new_keys_open_what_old_keys_wrote(pod):
    # An uninstalled release leaves its claim and takes its keys along.
    with pod as s3:
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="runs/a", Body=b"x")

    pod.keys = {name: value[::-1] for name, value in pod.keys.items()}
    with pod as s3:
        assert s3.get_object(Bucket=BUCKET, Key="runs/a")["Body"].read() == b"x"
        s3.put_object(Bucket=BUCKET, Key="runs/b", Body=b"y")
