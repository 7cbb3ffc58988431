"""The cache of inputs that the runs of one node share: nothing is downloaded twice, and nothing depends on it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.bucket import Bucket
from tests.e2e.yard import Json, Yard, ready, secret, training_job, unique
from tests.support.objectstore import ObjectServer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.e2e

SCRIPT = """
import hashlib, json, os, pathlib
files = [p for p in pathlib.Path("/inputs").rglob("*") if p.is_file()]
found = {str(p.relative_to("/inputs")): hashlib.sha256(p.read_bytes()).hexdigest()[:8] for p in files}
os.makedirs("outputs")
json.dump({"files": found, "cache": os.path.exists("/input-cache")}, open("outputs/found.json", "w"))
"""
USER = 65532


class Store:
    """A store of the user's own that says what was read of it."""

    def __init__(self, server: ObjectServer, client: S3Client) -> None:
        self.server, self.client, self._seen = server, client, 0

    def put(self, **objects: bytes) -> None:
        for key, body in objects.items():
            self.client.put_object(Bucket="elsewhere", Key=f"set/{key}", Body=body)

    def reads(self) -> list[str]:
        """Return the objects that were read since the last call, in order."""
        text = self.server.access_log.read_text()[self._seen :]
        self._seen += len(text)
        return sorted(re.findall(r"s3_GetObject set/(\S+) ", text))


@pytest.fixture(scope="module")
def store(yard: Yard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with ObjectServer(folder=tmp_path_factory.mktemp("foreign"), host=yard.host_address()) as running:
        client = running.client()
        client.create_bucket(Bucket="elsewhere")
        made = Store(running, client)
        made.put(a=b"a" * 2_000_000, b=b"b" * 1_000_000, c=b"")
        yield made
        client.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache's folder: nodes of this cluster have the disk of this machine."""
    made = tmp_path_factory.mktemp("cache")
    os.chown(made, USER, USER)
    made.chmod(0o700)
    return made


@pytest.fixture(scope="module")
def spaces(yard: Yard) -> Iterator[dict[str, str]]:
    """Namespaces by the Pod Security level that they enforce."""
    names = {level: unique(level).replace("_", "-") for level in ("privileged", "restricted")}
    for level, name in names.items():
        labels = {"pod-security.kubernetes.io/enforce": level}
        yard.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield names
    for name in names.values():
        yard.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def lab(yard: Yard, folder: Path, spaces: dict[str, str]) -> Iterator[str]:
    """A cluster of the nodes that are there, whose runs share a cache."""
    spec = {
        "provider": {"type": "Existing", "existing": {}},
        "sharedWith": [*spaces.values()],
        "inputCache": {"hostPath": {"path": str(folder)}, "sizeLimit": "100Mi"},
    }
    meta = {"name": unique("lab").replace("_", "-"), "namespace": "default"}
    yield yard.apply({"apiVersion": "trainyard.dev/v1alpha1", "kind": "ComputeCluster", "metadata": meta, "spec": spec})
    yard.kubectl("delete", "cc", meta["name"], "--wait=false")


class Runs:
    """Runs with the same two inputs, one after the other."""

    def __init__(self, yard: Yard, store: Store, lab: str, files: Bucket) -> None:
        self.yard, self.store, self.lab, self.files = yard, store, lab, files

    def start(self, namespace: str, *, keys: str = "keys") -> str:
        server = self.store.server
        for name, word in (("keys", server.keys.secret), ("wrong-keys", "not-it")):
            made = secret(name, accessKeyId=server.keys.access, secretAccessKey=word)
            made["metadata"]["namespace"] = namespace
            self.yard.apply(made)
        source = {"uri": "s3://elsewhere/set/", "endpoint": server.endpoint, "secretRef": {"name": keys}}
        inputs = [{"name": "images", "s3": source}, {"name": "own", "datastore": {"path": "set/"}}]
        reference = {"name": self.lab, "namespace": "default"}
        return self.yard.apply(training_job(SCRIPT, namespace=namespace, computeClusterRef=reference, inputs=inputs))

    def end(self, name: str, namespace: str) -> tuple[Json, str]:
        """Return what the script found, and what `prepare` said."""
        run = self.yard.wait_for_end(name, namespace=namespace)
        assert run["status"]["phase"] == "Completed", run["status"]
        return json.loads(self.files.read(run, "outputs/found.json")), self.files.read(run, "logs/prepare.log").decode()


@pytest.fixture(scope="module")
def runs(yard: Yard, store: Store, lab: str, files: Bucket, spaces: dict[str, str]) -> Runs:
    for namespace in spaces.values():
        files.put(f"data/{namespace}/set/x", b"x" * 1000)
    return Runs(yard, store, lab, files)


def test_runs_at_once_download_a_file_once_and_later_ones_only_what_has_changed(runs, store, spaces, folder):
    namespace = spaces["privileged"]
    at_once = [runs.start(namespace) for _ in range(3)]
    found = [runs.end(name, namespace)[0] for name in at_once]
    first = found[0]
    assert found == [first] * 3
    assert first["files"].keys() == {"images/a", "images/b", "images/c", "own/x"}
    assert first["cache"] is False
    assert store.reads() == ["a", "b", "c"]

    second, said = runs.end(runs.start(namespace), namespace)
    assert second == first
    assert "input 'images': 3 of 3 files (3 from the cache), 3.0 of 3.0 MB" in said
    assert "input 'own': 1 of 1 files (1 from the cache)" in said
    assert store.reads() == []
    assert (folder / namespace).stat().st_mode & 0o777 == 0o700

    store.put(b=b"B" * 1_000_000)
    (kept,) = [p for p in (folder / namespace).glob("*.data") if p.stat().st_size == 2_000_000]
    kept.write_bytes(b"z" * 2_000_000)
    third, said = runs.end(runs.start(namespace), namespace)
    assert {name for name in third["files"] if third["files"][name] != first["files"][name]} == {"images/b"}
    assert "input 'images': 3 of 3 files (1 from the cache), 3.0 of 3.0 MB" in said
    assert "the cache's copy of a is damaged" in said
    assert store.reads() == ["a", "b"]


def test_wrong_keys_get_nothing_from_the_cache(yard, runs, spaces):
    namespace = spaces["privileged"]
    run = yard.wait_for_end(runs.start(namespace, keys="wrong-keys"), namespace=namespace)
    assert run["status"]["failure"]["reason"] == "InputFailed"
    assert "SignatureDoesNotMatch" in run["status"]["failure"]["message"]


def test_a_cache_that_nobody_may_write_to_is_told_of_and_does_without(runs, store, spaces, folder):
    namespace = spaces["privileged"]
    os.chown(folder, 0, 0)
    try:
        _, said = runs.end(runs.start(namespace), namespace)
    finally:
        os.chown(folder, USER, USER)
    assert "warning: the cache of inputs cannot be used: Permission denied" in said
    assert "user that this container runs as, 65532" in said
    assert store.reads() == ["a", "b", "c"]


def test_a_namespace_that_admits_no_cache_of_the_node_says_so_and_names_the_field(yard, runs, lab, spaces):
    namespace = spaces["restricted"]
    name = runs.start(namespace)
    waiting = yard.wait_for_reason(name, "PodForbidden", namespace=namespace)
    message = ready(waiting)["message"]
    assert f'namespace {namespace} admits no such pod: violates PodSecurity "restricted:latest"' in message
    assert f"spec.inputCache.hostPath of the ComputeCluster {lab}" in message
    yard.kubectl("delete", "tj", name, "-n", namespace, "--wait=false")


@pytest.fixture
def claim(yard: Yard, spaces: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A claim in the namespace that admits nothing of a node; its volume is a folder of this machine."""
    folder = tmp_path_factory.mktemp("claim")
    os.chown(folder, USER, USER)
    name = unique("inputs").replace("_", "-")
    common = {"accessModes": ["ReadWriteMany"], "storageClassName": "by-hand"}
    volume = {**common, "capacity": {"storage": "1Gi"}, "hostPath": {"path": str(folder), "type": "Directory"}}
    yard.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": volume})
    meta = {"name": name, "namespace": spaces["restricted"]}
    wanted = {**common, "volumeName": name, "resources": {"requests": {"storage": "1Gi"}}}
    yield yard.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": wanted})
    yard.kubectl("delete", "pv", name, "--wait=false")


def test_a_claim_is_a_cache_for_every_namespace_and_counts_from_the_next_run_on(yard, runs, lab, claim, spaces):
    namespace = spaces["restricted"]
    cache = {"hostPath": None, "persistentVolumeClaim": {"claimName": claim}}
    yard.kubectl("patch", "cc", lab, "--type=merge", "-p", json.dumps({"spec": {"inputCache": cache}}))

    def known() -> bool:
        cluster = yard.get("cc", lab)
        return cluster["status"]["observedGeneration"] == cluster["metadata"]["generation"]

    yard.wait("the operator to know of it", known)
    first, said = runs.end(runs.start(namespace), namespace)
    assert "from the cache" not in said
    assert runs.store.reads() == ["a", "b", "c"]
    second, said = runs.end(runs.start(namespace), namespace)
    assert second == first
    assert "input 'images': 3 of 3 files (3 from the cache)" in said
    assert runs.store.reads() == []
