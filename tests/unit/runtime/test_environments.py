"""The environments that one process knows of."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest
from packaging.version import Version

from tests.unit.domain.builders import training_job
from tests.unit.storage.memory import MemoryStore
from trainyard_operator.api.names import JOB, TRAINING_JOB
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.environment import EnvironmentRecord, Preparation
from trainyard_operator.domain.environment_build import BuildSettings
from trainyard_operator.domain.plan import Seal
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.runtime.environments import EnvironmentBook
from trainyard_operator.runtime.index import Channels, Index
from trainyard_operator.runtime.store import Store

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


class World:
    def __init__(self):
        self.store, self.objects, self.index, self.now = Store(), MemoryStore(), Index(), NOW
        self.changed = []
        self.book = EnvironmentBook(
            store=self.store,
            objects=self.objects,
            settings=BuildSettings(packages={"joblib": (Version("1.6.0"),)}),
            trainer_image="trainer:1",
            bucket="bucket",
            index=lambda: self.index,
            changed=lambda *key: self.changed.append(key),
            now=lambda: self.now,
        )

    async def preparation(self, text=None, **environment):
        run = training_job(environment=environment, source={"inline": {"train.py": 1, "r.txt": 1}})
        return await self.book.preparation(run, TrainingJobSpec.parse(run["spec"]), text)

    def waits_for(self, digest, *, phase="Preparing", state="Building"):
        status = {"phase": phase, "environment": {"hash": digest, "state": state}}
        self.store.put(TRAINING_JOB, training_job(status=status))


@pytest.fixture
def world():
    return World()


async def test_a_run_that_asks_for_nothing_needs_no_environment(world):
    assert await world.preparation() is None
    assert await world.preparation("# nothing\n", requirements="r.txt") is None


async def test_equal_wishes_are_one_environment_however_they_are_written(world):
    one = await world.preparation("Tabulate >= 0.9\n", requirements="r.txt", pip=["b"])
    two = await world.preparation(pip=["b", "tabulate>=0.9"])
    assert isinstance(one, Preparation)
    assert one.environment == two.environment
    assert one.environment.image == "trainer:1"
    assert one.record is None
    assert one.logs_uri == f"s3://bucket/envs/default/{one.environment.hash}/logs/"


async def test_another_index_is_another_environment(world):
    one = await world.preparation(pip=["tabulate"])
    world.index = Index(url="https://other/simple")
    two = await world.preparation(pip=["tabulate"])
    assert one.environment.hash != two.environment.hash


async def test_what_the_trainer_image_has_is_there_at_once_and_what_another_image_has_is_not_known(world):
    there = await world.preparation(pip=["joblib>=1"])
    assert there.record == EnvironmentRecord(hash=there.environment.hash, pack=None)
    assert there.logs_uri == ""
    assert world.objects.calls == []
    assert (await world.preparation(pip=["joblib>=1"], image="other:1")).record is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(None, "no text in the source", id="binary"),
        pytest.param("-e .\n", "line 1 of r.txt .* option", id="option"),
    ],
)
async def test_a_file_that_cannot_be_read_says_so(world, text, words):
    failure = await world.preparation(text, requirements="r.txt")
    assert isinstance(failure, Failure)
    assert failure.reason == "InvalidSpec"
    import re

    assert re.search(words, failure.message)


CONDA = {"channels": ["conda-forge"], "packages": ["python=3.12"]}


async def test_conda_packages_are_always_built_and_pips_go_with_them(world):
    alone = await world.preparation(conda=CONDA)
    both = await world.preparation(conda=CONDA, pip=["joblib>=1"])
    assert (alone.record, both.record) == (None, None)
    assert both.environment.requirements == ("joblib>=1",)
    assert alone.environment.hash != both.environment.hash


async def test_channels_at_another_address_are_another_environment_and_pips_stays(world):
    before = [await world.preparation(**asked) for asked in ({"conda": CONDA}, {"pip": ["tabulate"]})]
    world.index = Index(channels=Channels(alias="https://mirror/conda"))
    after = [await world.preparation(**asked) for asked in ({"conda": CONDA}, {"pip": ["tabulate"]})]
    assert [one.environment == two.environment for one, two in zip(before, after, strict=True)] == [False, True]


async def test_what_is_written_down_is_read_once(world):
    there = await world.preparation(pip=["tabulate"])
    digest = there.environment.hash
    world.objects.objects[f"envs/default/{digest}.json"] = json.dumps({"hash": digest, "pack": None}).encode()
    for _ in range(3):
        assert (await world.preparation(pip=["tabulate"])).record == EnvironmentRecord(hash=digest, pack=None)
    assert [call for call in world.objects.calls if call[0] == "get"] == [("get", f"envs/default/{digest}.json")] * 2


async def test_what_a_build_left_unusable_is_told_to_the_runs_of_that_build(world):
    there = await world.preparation(pip=["tabulate"])
    await world.book.seal(Seal(namespace="default", hash=there.environment.hash, job="uid"))
    labels = {"trainyard.dev/environment": there.environment.name}
    meta = {"name": there.environment.name, "namespace": "default", "uid": "uid", "labels": labels}
    meta["annotations"] = {"trainyard.dev/environment": json.dumps(there.environment.document)}
    world.store.put(JOB, {"metadata": meta, "status": {}})
    assert (await world.preparation(pip=["tabulate"])).unusable == "its build left no manifest"


async def test_the_words_of_a_build_wake_its_runs_when_they_are_new(world):
    for words in ("resolving", "resolving", "installing"):
        world.book.say("default", "env-1", job="uid", words=words)
    assert world.changed == [("default", "env-1")] * 2


@pytest.mark.parametrize(
    ("phase", "state", "expected"),
    [
        pytest.param("Preparing", "Building", True, id="waits"),
        pytest.param("Failed", "Building", False, id="ended"),
        pytest.param("Running", "Ready", False, id="has it"),
    ],
)
def test_a_build_is_awaited_as_long_as_a_run_waits_for_it(world, phase, state, expected):
    world.waits_for("a" * 64, phase=phase, state=state)
    assert world.book.awaited("default", "a" * 64) is expected
    assert world.book.awaited("default", "b" * 64) is False
    assert world.book.awaited("other", "a" * 64) is False


async def test_an_environment_is_touched_once_a_day(world):
    for _ in range(2):
        await world.book.touch("default", "a" * 64)
    assert len(world.objects.calls) == 1
    world.now = datetime(2026, 11, 26, tzinfo=UTC)
    await world.book.touch("default", "a" * 64)
    assert world.objects.objects[f"envs/default/{'a' * 64}.used"] == b"2026-11-26"


@pytest.mark.parametrize(
    ("phase", "kept"),
    [
        pytest.param("Queued", True, id="a run in the queue"),
        pytest.param("Completed", False, id="a run that has ended"),
    ],
)
async def test_an_environment_that_a_run_still_needs_is_never_removed(world, phase, kept):
    digest = "a" * 64
    world.objects.objects[f"envs/default/{digest}.json"] = json.dumps({"hash": digest, "pack": None}).encode()
    world.objects.objects[f"envs/default/{digest}.used"] = date(2026, 1, 1).isoformat().encode()
    assert await world.book.record("default", digest) is not None
    world.waits_for(digest, phase=phase, state="Ready")
    assert await world.book.collect(unused_days=30) == (0 if kept else 1)
    assert (await world.book.record("default", digest) is not None) is kept
