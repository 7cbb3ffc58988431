"""Inputs from another store, with keys of the run's namespace, and from volumes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from devcluster.layout import Yard as Layout
from tests.e2e.bucket import Bucket
from tests.e2e.yard import Json, Yard, ready, secret, training_job
from tests.support.objectstore import ObjectServer

pytestmark = pytest.mark.e2e

SCRIPT = """
import json, os
found = {}
for root, _, names in os.walk("/inputs/data"):
    for name in names:
        path = os.path.join(root, name)
        found[os.path.relpath(path, "/inputs/data")] = os.path.getsize(path)
try:
    open("/inputs/data/new", "w")
    found["new"] = 0
except OSError:
    pass
found["mounts"] = open("/proc/mounts").read().count("trainyard-spec")
os.makedirs("outputs", exist_ok=True)
json.dump(found, open("outputs/found.json", "w"))
"""
OBJECTS = {f"set/part-{number:03}.bin": b"x" * number for number in range(25)} | {"set/deep/ü +&.bin": b"y" * 3_000_000}


@pytest.fixture(scope="module")
def foreign(yard: Yard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """A store that the operator knows nothing of."""
    with ObjectServer(folder=tmp_path_factory.mktemp("foreign"), host=yard.host_address()) as running:
        client = running.client()
        client.create_bucket(Bucket="elsewhere")
        for key, body in OBJECTS.items():
            client.put_object(Bucket="elsewhere", Key=key, Body=body)
        client.close()
        yard.apply(secret("foreign-keys", accessKeyId=running.keys.access, secretAccessKey=running.keys.secret))
        yard.apply(secret("wrong-keys", accessKeyId=running.keys.access, secretAccessKey="not-it"))
        yield running


@pytest.fixture(scope="module")
def claim(yard: Yard, cluster: Layout) -> str:
    """A claim of a volume with a folder and a file; the node's volumes are folders of this machine."""
    folder = cluster.machine / "input-volume"
    (folder / "set" / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "set" / "deep" / "a.bin").write_bytes(b"12345")
    (folder / "other").write_bytes(b"1")
    common = {"accessModes": ["ReadWriteMany"], "storageClassName": "by-hand"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "input-volume"},
        "spec": {**common, "capacity": {"storage": "1Gi"}, "hostPath": {"path": str(folder), "type": "Directory"}},
    }
    claimed = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "input-claim", "namespace": "default"},
        "spec": {**common, "volumeName": "input-volume", "resources": {"requests": {"storage": "1Gi"}}},
    }
    yard.apply(volume)
    return yard.apply(claimed)


@pytest.fixture(scope="module")
def ended(yard: Yard, foreign: ObjectServer, claim: str) -> dict[str, Json]:
    """Start all runs at once."""

    def s3(uri: str = "s3://elsewhere/set/", *, keys: str | None = "foreign-keys", **more: object) -> Json:
        source = {"uri": uri, "endpoint": foreign.endpoint, **({"secretRef": {"name": keys}} if keys else {})}
        return training_job(SCRIPT, inputs=[{"name": "data", "s3": source, **more}])

    def volume(path: str) -> Json:
        return training_job(SCRIPT, inputs=[{"name": "data", "pvc": {"claimName": claim, "path": path}}])

    jobs = {
        "folder": s3(),
        "object": s3("s3://elsewhere/set/deep/ü +&.bin"),
        "wrong keys": s3(keys="wrong-keys"),
        "no keys": s3(keys=None),
        "nothing there": s3("s3://elsewhere/sets/"),
        "no bucket": s3("s3://no-such-bucket/"),
        "too large": s3(sizeLimit="2Mi"),
        "volume": volume("set"),
        "no folder": volume("sets"),
        "a file": volume("other"),
    }
    names = {about: yard.apply(job) for about, job in jobs.items()}
    return {about: yard.wait_for_end(name) for about, name in names.items()}


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        pytest.param("folder", {k.removeprefix("set/"): len(v) for k, v in OBJECTS.items()}, id="a folder of a bucket"),
        pytest.param("object", {"ü +&.bin": 3_000_000}, id="one object"),
        pytest.param("volume", {"deep/a.bin": 5}, id="a folder of a volume"),
    ],
)
def test_an_input_is_whole_and_read_only_and_its_keys_are_nowhere(ended, files: Bucket, about, expected):
    run = ended[about]
    assert run["status"]["phase"] == "Completed", run["status"]
    assert json.loads(files.read(run, "outputs/found.json")) == {**expected, "mounts": 0}


@pytest.mark.parametrize(
    ("about", "reason", "words"),
    [
        pytest.param("wrong keys", "InputFailed", ["spec.inputs[0].s3", "SignatureDoesNotMatch", "wrong-keys"], id="wrong keys"),
        pytest.param("no keys", "InputFailed", ["spec.inputs[0].s3", "AccessDenied", "secretRef"], id="no keys"),
        pytest.param("nothing there", "InputNotFound", ["spec.inputs[0].s3", "s3://elsewhere/sets/"], id="nothing there"),
        pytest.param("no bucket", "InputNotFound", ["spec.inputs[0].s3", "NoSuchBucket"], id="no bucket"),
        pytest.param("too large", "InputFailed", ["spec.inputs[0].sizeLimit", "in 26 files"], id="too large"),
        pytest.param("no folder", "InputNotFound", ["spec.inputs[0].pvc.path", "other, set"], id="no folder"),
        pytest.param("a file", "InputFailed", ["spec.inputs[0].pvc.path", "is a file"], id="a file"),
    ],
)  # fmt: skip
def test_an_input_that_cannot_be_had_fails_the_run_and_names_its_field(ended, about, reason, words):
    failure = ended[about]["status"]["failure"]
    assert failure["reason"] == reason, failure
    assert all(word in failure["message"] for word in words), failure


def test_a_run_that_names_a_claim_that_does_not_exist_says_what_it_waits_for(yard):
    name = yard.apply(training_job(SCRIPT, inputs=[{"name": "data", "pvc": {"claimName": "no-such-claim"}}]))
    waiting = yard.wait_for_reason(name, "Unschedulable")
    assert "spec.inputs" in ready(waiting)["message"]
    assert 'persistentvolumeclaim "no-such-claim" not found' in ready(waiting)["message"]
    yard.kubectl("delete", "tj", name, "--wait=false")
