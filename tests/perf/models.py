"""A model with ten thousand versions: how large its object is, and how long listing it and registering one more take."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from devcluster.controlplane import ControlPlane
from tests.perf.api import Api, open_api
from tests.perf.ground import prepare, say
from tests.perf.process import OperatorProcess
from tests.support.objectstore import ObjectServer
from tests.unit.storage.memory import MemoryStore
from trainyard.contract import RUN_MANIFEST_SCHEMA, canonical_json
from trainyard_operator.api.names import JOB, REGISTERED_MODEL, TRAINING_JOB, job_name, object_name
from trainyard_operator.domain.conditions import timestamp
from trainyard_operator.domain.model_keeping import MOST_RECENT
from trainyard_operator.kube.client import path_of
from trainyard_operator.storage import layout
from trainyard_operator.storage.model_archive import file_entries

VERSIONS = 10_000
REGISTRATIONS = 5
MOST_BYTES = 1 << 20
NAMESPACE, MODEL, BUCKET = "warm", "large", "trainyard"
BODY = b"a model"
SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """What was measured; the fields are keys of bench.json."""

    model_versions: int
    model_object_bytes: int
    model_list_p50_ms: float
    model_register_p50_ms: float
    model_register_max_ms: float
    model_rss_mb: float

    @property
    def met(self) -> bool:
        """Whether the goals are."""
        return self.model_object_bytes < MOST_BYTES


def entry(number: int) -> dict[str, Any]:
    """Return a version's entry, as large as one with a few metrics and tags is."""
    uid = f"00000000-0000-4000-8000-{number:012}"
    return {
        "version": number,
        "id": f"{MODEL}:{number}",
        "key": f"{uid}/{MODEL}/outputs/model.skops",
        "state": "Ready",
        "uri": f"s3://{BUCKET}/models/{NAMESPACE}/{MODEL}/{number}/",
        "manifestSha256": "a" * 64,
        "files": 3,
        "bytes": 12_345_678,
        "run": {"name": f"nightly-training-{number}", "uid": uid, "attempt": 1},
        "path": "outputs/model.skops",
        "runManifestSha256": "b" * 64,
        "sourceSha256": "c" * 64,
        "imageDigest": "registry.example.com/team/trainer@sha256:" + "d" * 64,
        "metrics": {"accuracy": 0.9255, "loss": 0.2417, "epochs": 10},
        "tags": {"data": "2026-11", "commit": "0123456789abcdef0123456789abcdef01234567"},
        "createdTime": "2026-11-23T10:02:00Z",
    }


async def seed(api: Api, server: ObjectServer) -> None:
    """Leave what an operator has left after so many registrations."""
    archive = MemoryStore()
    kept = VERSIONS - MOST_RECENT
    await file_entries(archive, NAMESPACE, MODEL, [entry(number) for number in range(1, kept + 1)])
    server.client().create_bucket(Bucket=BUCKET)
    for key, body in archive.objects.items():  # files of the server are objects of the bucket
        path = server.data / BUCKET / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    meta = {"name": object_name(MODEL), "namespace": NAMESPACE}
    kind = {"apiVersion": REGISTERED_MODEL.api_version, "kind": REGISTERED_MODEL.kind}
    model = await api.create(REGISTERED_MODEL, {**kind, "metadata": meta, "spec": {"modelName": MODEL}})
    uri = f"s3://{BUCKET}/{layout.archive_prefix(NAMESPACE, MODEL)}"
    status = {
        "latestVersion": VERSIONS,
        "latestId": f"{MODEL}:{VERSIONS}",
        "versions": [entry(number) for number in range(kept + 1, VERSIONS + 1)],
        "archivedEntries": {"count": kept, "uri": uri},
    }
    await api.patch_status(REGISTERED_MODEL, model, status)


async def register(api: Api, server: ObjectServer, number: int) -> float:
    """Let a run end that registers a version; return the seconds from its end until the version is Ready."""
    spec = {"source": {"inline": {"train.py": "pass"}}, "models": [{"name": MODEL, "path": "outputs/m.bin"}]}
    kind = {"apiVersion": TRAINING_JOB.api_version, "kind": TRAINING_JOB.kind}
    name = f"one-more-{number}"
    run = await api.create(TRAINING_JOB, {**kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
    uid = run["metadata"]["uid"]
    job = path_of(JOB, namespace=NAMESPACE, name=job_name(name, uid, 1))
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(RuntimeError):
                found = await api.call("GET", job)
                break
            await asyncio.sleep(0.02)
    save_outputs(server, name, uid)
    begin = time.perf_counter()
    await finish(api, found)
    path = path_of(REGISTERED_MODEL, namespace=NAMESPACE, name=object_name(MODEL))
    async with asyncio.timeout(SECONDS):
        while True:
            latest = (await api.call("GET", path))["status"]["versions"][-1]
            if latest["version"] == VERSIONS + number and latest["state"] == "Ready":
                return time.perf_counter() - begin
            await asyncio.sleep(0.01)


def save_outputs(server: ObjectServer, name: str, uid: str) -> None:
    manifest = {
        "schema": RUN_MANIFEST_SCHEMA,
        "run": {"name": name, "namespace": NAMESPACE, "uid": uid, "experiment": "bench"},
        "sourceSha256": "5" * 64, "exitCode": 0, "startTime": "", "endTime": "", "metrics": {"accuracy": 0.5},
        "outputs": [{"path": "outputs/m.bin", "bytes": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest()}],
        "warnings": [], "environment": {},
    }  # fmt: skip
    client = server.client()
    key = layout.attempt_prefix(NAMESPACE, uid, 1) + "outputs/m.bin"
    client.put_object(Bucket=BUCKET, Key=key, Body=BODY, ChecksumAlgorithm="SHA256")
    client.put_object(Bucket=BUCKET, Key=layout.run_manifest_key(NAMESPACE, uid, 1), Body=canonical_json(manifest))


async def finish(api: Api, job: dict[str, Any]) -> None:
    now = timestamp(datetime.now(UTC))
    status = {
        "startTime": now,
        "completionTime": now,
        "succeeded": 1,
        "uncountedTerminatedPods": {},
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": now, "reason": "Played", "message": ""}
            for kind in ("SuccessCriteriaMet", "Complete")
        ],
    }
    await api.patch_status(JOB, job, status)


async def measure(kubeconfig: Path, server: ObjectServer, *, log: Path) -> ModelResult:
    async with open_api(kubeconfig) as api:
        await prepare(api)
        say(f"a model with {VERSIONS} versions")
        await seed(api, server)
        before = [await listing(api) for _ in range(REGISTRATIONS)]
        async with OperatorProcess(kubeconfig=kubeconfig, log=log, objects=server) as operator:
            taken = [1000 * await register(api, server, number) for number in range(1, REGISTRATIONS + 1)]
            rss = (await operator.metrics())["process_resident_memory_bytes"]
        # It is largest right before older entries leave it.
        listed = [*before, await listing(api)]
    return ModelResult(
        model_versions=VERSIONS + REGISTRATIONS,
        model_object_bytes=max(size for size, _ in listed),
        model_list_p50_ms=round(median(ms for _, ms in listed), 1),
        model_register_p50_ms=round(median(taken), 1),
        model_register_max_ms=round(max(taken), 1),
        model_rss_mb=round(rss / 1e6, 1),
    )


async def listing(api: Api) -> tuple[int, float]:
    """Return the bytes and the milliseconds of a list of all models, which are this one."""
    begin = time.perf_counter()
    async with api.session.get(api.server + path_of(REGISTERED_MODEL, namespace=NAMESPACE)) as response:
        size = len(await response.read())
    return size, 1000 * (time.perf_counter() - begin)


def run(*, log: Path) -> ModelResult:
    """Measure with a control plane and an object store of its own."""
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as folder:
        home = Path(folder)
        with ControlPlane(home=home / "control-plane") as plane, ObjectServer(folder=home / "objects") as server:
            return asyncio.run(measure(plane.kubeconfig, server, log=log))


def table(result: ModelResult) -> Iterator[str]:
    rows = [
        ("one model: versions", result.model_versions),
        ("object, bytes (goal: below 1048576)", result.model_object_bytes),
        ("listing it, median ms", result.model_list_p50_ms),
        ("one more version, median ms", result.model_register_p50_ms),
        ("one more version, longest ms", result.model_register_max_ms),
        ("operator memory, MB", result.model_rss_mb),
    ]
    for name, value in rows:
        yield f"{name:43}{value:>10}"


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tests.perf.models", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as place:
        print("\n".join(table(run(log=Path(place) / "operator.log"))))
