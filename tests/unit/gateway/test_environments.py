"""What the pods of builds are granted, and what runs get of what they built."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.unit.gateway.builders import NAMESPACE, POD_UID, UID, pod_identity, run_ref, spec
from tests.unit.storage.memory import MemoryStore
from trainyard_operator.api.conda import CondaSpec
from trainyard_operator.api.environment import Environment
from trainyard_operator.api.names import JOB, POD, TRAINING_JOB
from trainyard_operator.domain.environment_build import BuildSettings, build_environment_job
from trainyard_operator.domain.job import PodSettings
from trainyard_operator.gateway.adapters import GRACE_SECONDS, StoreRunDirectory
from trainyard_operator.gateway.environments import Environments
from trainyard_operator.gateway.errors import Refusal
from trainyard_operator.gateway.requests import parse_grant
from trainyard_operator.runtime.environments import EnvironmentBook
from trainyard_operator.runtime.index import Channels, Index
from trainyard_operator.runtime.store import Store

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
ENVIRONMENT = Environment(image="trainer:1", platform="amd64", requirements=("tabulate>=0.9",), index="a" * 64)
DIGEST = ENVIRONMENT.hash
SETTINGS = PodSettings(trainer_image="trainer:1", gateway_url="https://gateway:8443", gateway_ca="PEM")
RECORD = {"hash": DIGEST, "pack": {"path": "pack-" + "b" * 16 + ".tar.zst", "sha256": "b" * 64, "bytes": 9}}


class World:
    """A build whose pod runs, and a run that waits for it; `over` changes the metadata of the build's Job."""

    def __init__(self, *, phase="Preparing", namespace=NAMESPACE, environment=ENVIRONMENT, **over):
        self.store, self.objects, self.seconds, self.said = Store(), MemoryStore(), 0.0, []
        job = build_environment_job(environment=environment, namespace=NAMESPACE, pods=SETTINGS, builds=BuildSettings())
        meta = {**job["metadata"], "uid": "job", "resourceVersion": "1", **over}
        self.store.put(JOB, {"metadata": meta, "status": {}})
        owner = {"apiVersion": "batch/v1", "kind": "Job", "uid": "job"}
        pod = {"name": "env-x", "namespace": NAMESPACE, "uid": POD_UID, "ownerReferences": [owner]}
        self.store.put(POD, {"metadata": {**pod, "resourceVersion": "1"}, "status": {"phase": "Running"}})
        run = {"name": "mnist", "namespace": namespace, "uid": UID, "resourceVersion": "1"}
        status = {"phase": phase, "environment": {"hash": environment.hash, "state": "Building"}}
        self.store.put(TRAINING_JOB, {"metadata": run, "spec": spec(), "status": status})
        self.directory = StoreRunDirectory(self.store, clock=lambda: self.seconds, now=lambda: NOW)
        book = EnvironmentBook(
            store=self.store,
            objects=self.objects,
            settings=BuildSettings(),
            trainer_image="trainer:1",
            bucket="bucket",
            index=lambda: Index(url="https://index/simple", username="me", password="secret"),
            changed=lambda *key: self.said.append(key),
            now=lambda: NOW,
        )
        self.environments = Environments(directory=self.directory, book=book, store=self.objects)

    def identity(self):
        return pod_identity(pod_name="env-x")

    def record(self, document=RECORD):
        self.objects.objects[f"envs/{NAMESPACE}/{DIGEST}.json"] = json.dumps(document).encode()


def put(*paths):
    files = [{"path": path, "bytes": 1, "sha256": "c" * 64} for path in paths]
    return parse_grant(json.dumps({"op": "build-put", "files": files}).encode())


async def test_a_build_is_told_what_to_install_and_from_where():
    world = World()
    build = world.environments.build_of(world.identity())
    assert await world.environments.document(build) == {
        "hash": DIGEST,
        "requirements": ["tabulate>=0.9"],
        "index": {"url": "https://me:secret@index/simple", "extraUrls": [], "ca": ""},
        "built": False,
    }


async def test_a_build_of_conda_packages_is_told_where_their_channels_are():
    conda = CondaSpec(channels=("conda-forge",), packages=("python=3.12",))
    world = World(environment=replace(ENVIRONMENT, conda=conda, alias="c" * 64))
    build = world.environments.build_of(world.identity())
    document = await world.environments.document(build)
    assert document["conda"] == Channels().wish(conda)
    assert document["requirements"] == ["tabulate>=0.9"]


async def test_a_build_writes_below_its_own_environments_folder():
    world = World()
    pack = "pack-" + "c" * 16 + ".tar.zst"
    build = world.environments.build_of(world.identity())
    answer = await world.environments.put(build, put(pack, "manifest.json", "logs/env-x.log"))
    assert [grant["url"].split("?")[0] for grant in answer["files"]] == [
        f"https://s3/envs/{NAMESPACE}/{DIGEST}/{path}" for path in (pack, "manifest.json", "logs/env-x.log")
    ]


@pytest.mark.parametrize("path", ["outputs/x", "pack.tar.zst", "logs", "a.json", "pack-zz.tar.zst"])
def test_a_build_writes_nothing_else(path):
    with pytest.raises(Refusal, match=r"a build may write logs/…, manifest\.json, a pack") as refusal:
        put(path)
    assert refusal.value.status == 403


async def test_nothing_changes_once_an_environment_is_written_down():
    world = World()
    world.record()
    build = world.environments.build_of(world.identity())
    assert (await world.environments.document(build))["built"] is True
    with pytest.raises(Refusal, match="is built: nothing of it changes any more"):
        await world.environments.put(build, put("manifest.json"))


@pytest.mark.parametrize(
    "over",
    [
        pytest.param({"annotations": {}}, id="no build"),
        pytest.param({"annotations": {"trainyard.dev/environment": '{"image":"evil"}'}}, id="another document"),
        pytest.param({"name": "mine"}, id="another name"),
    ],
)
def test_a_job_that_only_looks_like_a_build_gets_nothing(over):
    world = World(**over)
    assert world.environments.build_of(world.identity()) is None


@pytest.mark.parametrize(
    "world",
    [
        pytest.param(World(phase="Failed"), id="the run has ended"),
        pytest.param(World(namespace="team-b"), id="a run of another namespace"),
    ],
)
def test_a_build_that_no_run_waits_for_is_refused_after_a_while(world):
    with pytest.raises(Refusal) as refusal:
        world.environments.build_of(world.identity())
    assert refusal.value.status == 503
    world.seconds = GRACE_SECONDS + 1
    with pytest.raises(Refusal, match="no run waits for the environment") as refusal:
        world.environments.build_of(world.identity())
    assert refusal.value.status == 403


def test_the_pod_of_a_build_is_not_one_of_a_run():
    world = World()
    with pytest.raises(Refusal, match="belongs to no TrainingJob"):
        world.directory.run_of(world.identity())


def test_what_a_build_says_wakes_the_runs_that_wait():
    world = World()
    world.environments.said(world.environments.build_of(world.identity()), "installing")
    assert world.said == [(NAMESPACE, ENVIRONMENT.name)]


async def test_a_run_gets_the_pack_of_its_own_namespace_and_no_other():
    world = World()
    world.record()
    run = run_ref()
    assert await world.environments.pack(run) is None
    with_pack = replace(run, environment=DIGEST)
    grant = await world.environments.pack(with_pack)
    assert grant["url"].startswith(f"https://s3/envs/{NAMESPACE}/{DIGEST}/{RECORD['pack']['path']}?get")
    assert (grant["sha256"], grant["bytes"]) == ("b" * 64, 9)
    assert world.objects.objects[f"envs/{NAMESPACE}/{DIGEST}.used"] == b"2026-11-25"
    elsewhere = replace(run, namespace="team-b", environment=DIGEST)
    with pytest.raises(Refusal) as refusal:
        await world.environments.pack(elsewhere)
    assert refusal.value.reason == "EnvironmentNotRestored"
