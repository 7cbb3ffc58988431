"""Versions laid aside, deleted and archived: the real operator, a real API server and a real S3 server."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from tests.perf.process import OperatorProcess
from tests.support.fault_proxy import FaultProxy, Hold
from tests.support.mortal import Killed, Lifetime, live
from trainyard_operator.api.names import EVENT, REGISTERED_MODEL, TRAINING_JOB, Kind, object_name
from trainyard_operator.domain.conditions import timestamp
from trainyard_operator.domain.model_keeping import LEAST_RECENT, MOST_RECENT
from trainyard_operator.domain.plan import Plan, VersionRequest
from trainyard_operator.kube.client import KubeClient
from trainyard_operator.kube.connection import from_kubeconfig
from trainyard_operator.runtime.executor import Executor
from trainyard_operator.runtime.informer import Informer
from trainyard_operator.runtime.memory import Memory
from trainyard_operator.runtime.model_keeper import ModelKeeper
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.queues import Queues
from trainyard_operator.runtime.store import Store
from trainyard_operator.runtime.watched import PLANNED
from trainyard_operator.storage.model_archive import find_entry, read_entries
from trainyard_operator.storage.model_survey import look_beyond
from trainyard_operator.storage.store import S3Store

NAMESPACE = Kind(group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False)
# Long enough for a machine that does other things as well.
SECONDS = 180.0
STEPS = 12

numbers = itertools.count()


class Yard:
    """A namespace with a model `m`, and a bucket."""

    def __init__(self, control_plane, versitygw, client, objects, bucket):
        self.control_plane, self.versitygw, self.client = control_plane, versitygw, client
        self.objects, self.bucket = objects, bucket
        self.namespace = f"keeping-{next(numbers)}"
        self.root = f"models/{self.namespace}/m/"

    async def model(self, *versions, **spec):
        await self.client.create(NAMESPACE, {"metadata": {"name": self.namespace}})
        await self.client.create(
            REGISTERED_MODEL,
            {
                "apiVersion": REGISTERED_MODEL.api_version,
                "kind": REGISTERED_MODEL.kind,
                "metadata": {"name": object_name("m"), "namespace": self.namespace},
                "spec": {"modelName": "m", **spec},
            },
        )
        status = {"versions": list(versions), "latestVersion": versions[-1]["version"], "latestId": versions[-1]["id"]}
        await self.client.patch_status(REGISTERED_MODEL, object_name("m"), status, namespace=self.namespace)

    async def patch(self, **spec):
        await self.client.patch(REGISTERED_MODEL, object_name("m"), {"spec": spec}, namespace=self.namespace)

    async def status(self):
        found = await self.client.get(REGISTERED_MODEL, object_name("m"), namespace=self.namespace)
        return found.get("status") or {}

    async def states(self):
        return {v["version"]: v["state"] for v in (await self.status()).get("versions", ())}

    async def reach(self, condition):
        async with asyncio.timeout(SECONDS):
            while not condition(status := await self.status()):  # noqa: ASYNC110 - the operator tells nobody here
                await asyncio.sleep(0.02)
        return status

    async def events(self):
        pages = [page async for page in self.client.pages(EVENT, namespace=self.namespace)]
        return sorted(item["reason"] for page in pages for item in page.items)

    async def keys(self, prefix=""):
        found, more = [], True
        while more:
            page = await self.objects.list(self.root + prefix, after=found[-1] if found else "")
            found, more = [*found, *(info.key for info in page.objects)], page.more
        return [key.removeprefix(self.root) for key in found]

    def fill(self, *keys, **how):
        """Write objects, many at a time."""
        client = self.versitygw.client()
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda key: client.put_object(Bucket=self.bucket, Key=key, Body=b"x", **how), keys))

    def retain(self, key, until):
        """Have an object retained for another time, as only the bucket's owner may."""
        retention = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
        self.versitygw.client().put_object_retention(
            Bucket=self.bucket, Key=key, Retention=retention, BypassGovernanceRetention=True
        )

    def operator(self, tmp_path, *, objects=None):
        return OperatorProcess(
            kubeconfig=self.control_plane.kubeconfig, log=tmp_path / "operator.log", objects=objects or self.versitygw
        )

    def executor(self):
        """Return one of a process that knows nothing yet."""
        store, now = Store(), partial(datetime.now, UTC)
        queues = Queues(kinds=PLANNED, clock=asyncio.get_running_loop())
        return Executor(
            client=self.client, store=store, informer=Informer(store=store, book=QueueBook(store=store), queues=queues),
            memory=Memory(), copy=None, beyond=partial(look_beyond, self.objects), erase=None, groups=None, environments=None,
            keeper=ModelKeeper(self.objects, now=now), background=None, now=now,
        )  # fmt: skip

    async def settle(self, lifetime=None):
        """Be operator processes until nothing is left to do; what only the object store tells is seen by the next one."""
        lifetime = lifetime or Lifetime(writes=None, after=False)
        for _ in range(2):
            await live(self.client, self.objects, lifetime, now=lambda: datetime.now(UTC))


def version(number, *, state="Ready", days=0, **over):
    return {
        "version": number,
        "id": f"m:{number}",
        "key": f"run-{number}/m/outputs",
        "state": state,
        "run": {"name": f"run-{number}", "uid": f"uid-{number}", "attempt": 1},
        "path": "outputs",
        "manifestSha256": "d" * 64,
        "createdTime": timestamp(datetime.now(UTC) - timedelta(days=days)),
        **over,
    }


@pytest.fixture
async def client(control_plane) -> AsyncIterator[KubeClient]:
    if not control_plane.kubectl("get", "namespace", "trainyard-system", "--ignore-not-found"):
        control_plane.kubectl("create", "namespace", "trainyard-system")
    connection = from_kubeconfig(control_plane.kubeconfig)
    async with connection.open_session() as session:
        yield KubeClient(connection=connection, session=session)
    control_plane.kubectl("delete", "rmodel,tj", "--all", "--all-namespaces", "--wait=false")


async def store_of(versitygw, bucket):
    return await S3Store.open(
        endpoint=versitygw.endpoint, region=versitygw.region, bucket=bucket,
        access_key=versitygw.keys.access, secret_key=versitygw.keys.secret,
    )  # fmt: skip


@pytest.fixture
async def yard(control_plane, versitygw, client):
    objects = await store_of(versitygw, "trainyard")
    await objects.ensure_bucket()
    yield Yard(control_plane, versitygw, client, objects, "trainyard")
    objects.close()


@pytest.fixture
async def locked(control_plane, versitygw, client):
    """A yard whose bucket can lock objects against deletion."""
    versitygw.client().create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    objects = await store_of(versitygw, "locked")
    yield Yard(control_plane, versitygw, client, objects, "locked")
    objects.close()


async def test_a_version_of_2500_objects_goes_completely_also_after_a_kill_and_nothing_else_does(yard, tmp_path):
    neighbours = [f"{yard.root}10/x", f"{yard.root[:-1]}-b/1/x", f"{yard.root}1.manifest.json", f"{yard.root}2/x"]
    yard.fill(*neighbours)
    folder = yard.versitygw.data / yard.bucket / yard.root / "1"  # files of the server are objects of the bucket
    folder.mkdir(parents=True)
    for number in range(2500):
        (folder / f"part-{number:05}").write_bytes(b"x")
    await yard.model(version(1, uri="s3://b/", files=2500, bytes=2500), version(2), version(10))
    files, hold = f"{yard.root}1/".encode(), Hold()

    def deletes(request):
        return request.method == "POST" and files in request.body

    async with (
        FaultProxy(yard.versitygw) as proxy,
        yard.operator(tmp_path, objects=proxy) as operator,
    ):
        yard.control_plane.kubectl(
            "patch", "rmodel", object_name("m"), "-n", yard.namespace, "--type=merge",
            "--field-manager=pull-request", "-p", '{"spec":{"delete":[1]}}',
        )  # fmt: skip
        with proxy.breaking(deletes, hold):
            await asyncio.wait_for(hold.holds.wait(), SECONDS)
            await operator.end(signal.SIGKILL)
        hold.release()
    left = len(await yard.keys("1/"))
    assert 0 < left < 2500
    async with yard.operator(tmp_path):
        status = await yard.reach(lambda status: status["versions"][0]["state"] == "Deleted")
        print(f"killed with {left} objects left")
        assert await yard.keys() == ["1.deleted.json", "1.manifest.json", "10/x", "2/x"]
        assert (await yard.objects.head(neighbours[1])) is not None
        tombstone = status["versions"][0]
        assert tombstone["deletedBy"] == "pull-request"
        assert tombstone.keys() & {"uri", "files", "bytes"} == set()
        await yard.patch(delete=None)
        await yard.patch(delete=[1])
        await yard.patch(delete=[1], description="again")
        status = await yard.reach(lambda status: status["observedGeneration"] == 5)
        assert status["versions"][0] == tombstone
    assert (await yard.events()).count("VersionDeleted") == 1


async def test_a_dry_run_says_what_the_rule_then_deletes_and_keeps_what_is_laid_aside(yard, tmp_path):
    old = [version(number, days=90) for number in (1, 2, 3)]
    yard.fill(*(f"{yard.root}{number}/x" for number in range(1, 6)))
    await yard.model(*old, version(4), version(5), retention={"keepLast": 1, "keepReadyDays": 30, "dryRun": True})
    async with yard.operator(tmp_path):
        dry = (await yard.reach(lambda status: "retention" in status))["retention"]
        assert dry == {"count": 3, "versions": [1, 2, 3]}
        assert set((await yard.states()).values()) == {"Ready"}
        await yard.patch(archive=[3])
        dry = (await yard.reach(lambda status: status["retention"]["count"] == 2))["retention"]
        await yard.patch(retention={"keepLast": 1, "keepReadyDays": 30, "dryRun": False})
        status = await yard.reach(lambda status: [v["state"] for v in status["versions"]].count("Deleted") == 2)
    gone = [v["version"] for v in status["versions"] if v["state"] == "Deleted"]
    assert gone == dry["versions"] == [1, 2]
    assert {v["deletedBy"] for v in status["versions"] if "deletedBy" in v} == {"retention"}
    assert "retention" not in status
    assert await yard.keys() == ["1.deleted.json", "2.deleted.json", "3/x", "4/x", "5/x"]


@pytest.mark.parametrize("after", [pytest.param(False, id="before"), pytest.param(True, id="after")])
async def test_a_deletion_ends_in_the_same_way_at_whichever_write_its_operator_is_killed(yard, after):
    for writes in range(1, STEPS):
        each = Yard(yard.control_plane, yard.versitygw, yard.client, yard.objects, yard.bucket)
        each.fill(f"{each.root}1/x", f"{each.root}1/deep/y", f"{each.root}2/x")
        await each.model(version(1), version(2), delete=[1])
        first = Lifetime(writes=writes, after=after)
        try:
            await each.settle(first)
        except (Killed, BaseExceptionGroup):
            await each.settle()
        assert await each.states() == {1: "Deleted", 2: "Ready"}
        assert await each.keys() == ["1.deleted.json", "2/x"]
        assert (await each.events()).count("VersionDeleted") <= 1
        yard.control_plane.kubectl("delete", "rmodel", "--all", "-n", each.namespace)
        if not first.killed:
            assert writes > 4
            return
    pytest.fail("a deletion takes more writes than that")


@pytest.mark.parametrize("writes", [60, 131, 132, None], ids=lambda n: f"killed-at-{n}" if n else "whole")
async def test_older_entries_move_to_the_archive_and_come_back_when_they_are_asked_for(yard, writes):
    count = MOST_RECENT + 30
    await yard.model(*(version(number) for number in range(1, count + 1)))
    try:
        await yard.settle(Lifetime(writes=writes, after=True))
    except (Killed, BaseExceptionGroup):
        await yard.settle()
    status = await yard.status()
    moved = count - LEAST_RECENT
    assert [v["version"] for v in status["versions"]] == list(range(moved + 1, count + 1))
    assert status["archivedEntries"] == {"count": moved, "uri": f"s3://trainyard/{yard.root}archive/"}
    pages = [key for key in await yard.keys("archive/") if "/keys/" not in key]
    assert pages == ["archive/1-100.json", "archive/101-200.json"]
    assert (await find_entry(yard.objects, yard.namespace, "m", "run-7/m/outputs"))["version"] == 7
    run = {"metadata": {"name": "run-7", "namespace": yard.namespace, "uid": "uid-7"}}
    for _ in range(3):  # the same request gives the same version for ever
        wish = VersionRequest(model=object_name("m"), key="run-7/m/outputs", entry={})
        await yard.executor().execute(TRAINING_JOB, run, Plan(register=(wish,)))
    status = await yard.status()
    assert status["versions"][0]["version"] == 7
    assert (status["latestVersion"], status["archivedEntries"]["count"]) == (count, moved - 1)
    await yard.patch(archive=[7], delete=[130, 999])
    yard.fill(f"{yard.root}130/x")
    await yard.settle()
    status = await yard.status()
    assert [(v["version"], v["state"]) for v in status["versions"]][:2] == [(7, "Archived"), (130, "Deleted")]
    assert status["archivedEntries"]["count"] == moved - 2
    assert "no version 999" in next(c["message"] for c in status["conditions"] if c["type"] == "Cleared")


async def test_the_rule_reaches_versions_in_the_archive(yard):
    count = MOST_RECENT + 30
    yard.fill(*(f"{yard.root}{number}/x" for number in range(1, count + 1)))
    await yard.model(*(version(number, days=90 if number <= 45 else 0) for number in range(1, count + 1)))
    await yard.settle()
    await yard.patch(retention={"keepLast": 3, "keepReadyDays": 1})
    for _ in range(3):
        await yard.settle()
    assert await yard.keys("archive/1-100") == ["archive/1-100.json"]
    left = [key for key in await yard.keys() if not key.startswith("archive/") and not key.endswith(".deleted.json")]
    assert sorted(left) == sorted(f"{number}/x" for number in range(46, count + 1))
    filed = await read_entries(yard.objects, yard.namespace, "m", range(1, count + 1))
    states = {number: entry["state"] for number, entry in filed.items()} | await yard.states()
    assert [number for number, state in sorted(states.items()) if state == "Deleted"] == list(range(1, 46))


async def test_a_version_that_the_bucket_retains_stays_as_it_was_until_it_may_go(locked):
    until = datetime.now(UTC) + timedelta(hours=1)
    locked.fill(f"{locked.root}1/a")
    locked.fill(f"{locked.root}1/b", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    await locked.model(version(1), version(2), delete=[1])
    await locked.settle()
    status = await locked.status()
    assert status["versions"][0]["state"] == "Ready"
    (condition,) = [c for c in status["conditions"] if c["type"] == "Cleared"]
    assert condition["reason"] == "VersionRetained"
    assert f"retained until {timestamp(until)}" in condition["message"]
    assert await locked.keys() == ["1/a", "1/b"]
    until = datetime.now(UTC) + timedelta(seconds=1)
    locked.retain(f"{locked.root}1/b", until)
    await asyncio.sleep((until - datetime.now(UTC)).total_seconds() + 1)
    await locked.settle()
    status = await locked.status()
    assert status["versions"][0]["state"] == "Deleted"
    assert not [c for c in status["conditions"] if c["type"] == "Cleared"]
    assert await locked.keys() == ["1.deleted.json"]


async def sweep(yard, *arguments):
    """Run the command as an admin does, with the operator's environment; return its status and its words."""
    environment = {
        **os.environ,
        "KUBECONFIG": str(yard.control_plane.kubeconfig),
        "TRAINYARD_TRAINER_IMAGE": "trainer:1",
        "TRAINYARD_S3_ENDPOINT": yard.versitygw.endpoint,
        "AWS_ACCESS_KEY_ID": yard.versitygw.keys.access,
        "AWS_SECRET_ACCESS_KEY": yard.versitygw.keys.secret,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "trainyard_operator.sweep", "--namespace", yard.namespace, *arguments,
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    told, _ = await process.communicate()
    return process.returncode, told.decode()


async def test_the_sweep_deletes_what_its_dry_run_has_named_and_nothing_that_has_an_owner(yard):
    kept = ["1.manifest.json", "1/x", "2/x", "4/x"]
    yard.fill(*(yard.root + key for key in (*kept, "3/a", "3/deep/b")), f"{yard.root[:-1]}-b/9/x")
    for path in (yard.versitygw.data / yard.bucket / yard.root).parent.rglob("*"):
        os.utime(path, (0, 0))
    yard.fill(f"{yard.root}4/x")  # somebody writes there just now
    await yard.model(version(1), version(2, state="Pending"))
    status, told = await sweep(yard, "--dry-run")
    assert (status, told.count("would be deleted")) == (0, 3)
    assert len(await yard.keys()) == 6
    status, told = await sweep(yard, "--delete")
    rows = [line.split()[:5] for line in told.splitlines()]
    assert sorted(row for row in rows if row[0] == yard.namespace) == [
        [yard.namespace, "m", "3", "2", "2"],
        [yard.namespace, "m-b", "9", "1", "1"],
    ]
    assert status == 0
    assert await yard.keys() == ["1.manifest.json", "1/x", "2/x", "3.deleted.json", "4/x"]
    status, told = await sweep(yard, "--delete")
    assert (status, told.splitlines()[-1]) == (0, "0 folder(s) with 0 file(s), 0 bytes, deleted")
