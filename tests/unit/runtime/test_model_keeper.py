"""What is asked of the object store before a model is planned: nothing but what its spec is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.domain.builders import model, version
from tests.unit.storage.memory import MemoryStore
from trainyard_operator.api.names import object_name
from trainyard_operator.domain.plan import VersionFiling
from trainyard_operator.runtime.model_keeper import ModelKeeper

NAME, OLD = "sklearn_mnist", "2020-01-01T00:00:00Z"
RULE = {"keepLast": 1, "keepReadyDays": 30}


class Bench:
    """A keeper, its store and its clock."""

    def __init__(self):
        self.store = MemoryStore()
        self.time = datetime(2026, 11, 26, tzinfo=UTC)
        self.keeper = ModelKeeper(self.store, now=lambda: self.time)

    async def file(self, *entries):
        await self.keeper.file("default", VersionFiling(model_name=NAME, entries=entries))
        self.store.calls.clear()

    async def observe(self, *entries, archived=0, latest=500, **spec):
        parent = model(*entries, object_name=object_name(NAME))
        parent["spec"] = {**parent["spec"], **spec}
        parent["status"] = {**parent["status"], "latestVersion": latest}
        if archived:
            parent["status"]["archivedEntries"] = {"count": archived, "uri": "s3://b/"}
        return await self.keeper.observe(parent, {})


@pytest.fixture
def bench():
    return Bench()


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"archive": [1], "aliases": {"champion": 1}}, id="what-the-status-has"),
        pytest.param({"delete": [1], "aliases": {"champion": 1}}, id="what-an-alias-keeps"),
        pytest.param({"delete": [2]}, id="what-is-gone-already"),
        pytest.param({"retention": {**RULE, "dryRun": True}}, id="a-dry-run"),
        pytest.param({"modelName": ""}, id="what-cannot-work"),
    ],
)
async def test_a_model_at_rest_costs_no_calls(bench, spec):
    await bench.observe(version(1, createdTime=OLD), version(2, state="Deleted"), version(3), **spec)
    assert bench.store.calls == []


async def test_entries_that_somebody_names_are_read_from_the_archive(bench):
    await bench.file(version(7), version(8), version(150))
    seen = await bench.observe(version(300), archived=3, archive=[7], delete=[150, 9], aliases={"a": 8})
    assert seen.recalled == {7: version(7), 8: version(8), 150: version(150)}
    assert seen.free == {150}
    assert seen.archive_uri == "s3://bucket/models/default/sklearn_mnist/archive/"


async def test_the_archive_is_read_once_for_a_rule_and_what_is_filed_later_is_known(bench):
    await bench.file(version(1, createdTime=OLD), version(150, createdTime=OLD, state="Deleted"))
    rule = {"retention": {**RULE, "dryRun": True}}
    assert [one.version for one in (await bench.observe(version(300), archived=2, **rule)).older] == [1]
    await bench.file(version(2, createdTime=OLD))
    assert [one.version for one in (await bench.observe(version(300), archived=3, **rule)).older] == [1, 2]
    assert bench.store.calls == []


async def test_versions_that_the_store_holds_keep_no_other_from_being_deleted_and_are_asked_again_in_an_hour(bench):
    versions = [version(n, createdTime=OLD) for n in range(1, 51)]
    for number in range(1, 51):
        bench.store.objects[f"models/default/{NAME}/{number}/x"] = b""
    bench.store.retained = {f"models/default/{NAME}/{n}/x": "retained until 2030-01-01T00:00:00Z" for n in range(1, 21)}
    first = await bench.observe(*versions, retention=RULE)
    assert (first.free, set(first.held)) == (frozenset(), set(range(1, 21)))
    second = await bench.observe(*versions, retention=RULE)
    assert second.free == frozenset(range(21, 41))
    bench.store.retained = {}
    assert (await bench.observe(*versions, delete=[1])).free == frozenset()
    bench.time += timedelta(hours=1)
    again = await bench.observe(*versions, delete=[1])
    assert again.free == {1}
    assert 1 not in again.held


async def test_a_deletion_is_over_when_the_tombstone_is_there_and_the_folder_is_empty(bench):
    going = version(1, state="Deleting")
    assert (await bench.observe(going)).cleared == frozenset()
    bench.store.objects[f"models/default/{NAME}/1.deleted.json"] = b"{}"
    bench.store.objects[f"models/default/{NAME}/1/x"] = b""
    assert (await bench.observe(going)).cleared == frozenset()
    del bench.store.objects[f"models/default/{NAME}/1/x"]
    assert (await bench.observe(going)).cleared == {1}
