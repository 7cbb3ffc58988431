"""The runtime's parts against a real API server: what a fake cluster could only assume."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import kopf
import pytest

from devcluster.controlplane import ControlPlane
from tests.unit.runtime.fakes import FakeGroups
from trainyard_operator.api.names import EVENT, JOB, LEASE, REGISTERED_MODEL, TRAINING_JOB, Kind
from trainyard_operator.domain.plan import Event, Plan, VersionRequest
from trainyard_operator.domain.registry import Beyond
from trainyard_operator.handlers.login import register_login
from trainyard_operator.handlers.watches import configure, register_watches
from trainyard_operator.kube.client import KubeClient, path_of
from trainyard_operator.kube.connection import from_kubeconfig
from trainyard_operator.kube.errors import Conflict, Invalid
from trainyard_operator.runtime.executor import Executor, ForeignObjectError
from trainyard_operator.runtime.informer import Informer
from trainyard_operator.runtime.leader import Leader, LeadershipLost
from trainyard_operator.runtime.memory import Memory
from trainyard_operator.runtime.prime import prime
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.queues import Queues
from trainyard_operator.runtime.resync import Drift, Resync
from trainyard_operator.runtime.store import Store
from trainyard_operator.runtime.watched import PLANNED, WATCHED, Watched

NAMESPACE = Kind(group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False)
# Long enough for a machine that does other things as well.
SECONDS = 120.0

numbers = itertools.count()


def now():
    return datetime.now(UTC)


async def until(condition: Callable[[], object]) -> None:
    """Wait for the condition, which the loop's other tasks bring about."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - the cluster brings it about, and tells nobody here
            await asyncio.sleep(0.02)


class Yard:
    """A namespace of its own, and the parts of an operator."""

    def __init__(self, *, connection, client, namespace):
        self.connection = connection
        self.client = client
        self.namespace = namespace
        self.store = Store()
        self.queues = Queues(kinds=PLANNED, clock=asyncio.get_running_loop())
        self.informer = Informer(store=self.store, book=QueueBook(store=self.store), queues=self.queues)

    def executor(self, store=None):
        async def copy(*_):
            raise AssertionError("nothing is copied here")

        async def beyond(*_):
            return Beyond()

        return Executor(
            client=self.client, store=store or self.store, informer=self.informer, memory=Memory(), copy=copy,
            beyond=beyond, erase=None, groups=FakeGroups(), environments=None, keeper=None, background=None, now=now,
        )  # fmt: skip

    async def run(self, name="one"):
        return await self.client.create(
            TRAINING_JOB,
            {
                "apiVersion": TRAINING_JOB.api_version,
                "kind": TRAINING_JOB.kind,
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {"source": {"inline": {"train.py": "print(1)\n"}}},
            },
        )

    def job(self, parent, *, name="child", labels=None):
        metadata = parent["metadata"]
        owner = {
            "apiVersion": TRAINING_JOB.api_version,
            "kind": TRAINING_JOB.kind,
            "name": metadata["name"],
            "uid": metadata["uid"],
        }
        if labels is None:
            labels = {"trainyard.dev/run-uid": metadata["uid"], "trainyard.dev/training-job": metadata["name"]}
        pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "none"}]}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "namespace": self.namespace, "labels": labels, "ownerReferences": [owner]},
            "spec": {"template": {"spec": pod}},
        }

    async def model(self):
        return await self.client.create(
            REGISTERED_MODEL,
            {
                "apiVersion": REGISTERED_MODEL.api_version,
                "kind": REGISTERED_MODEL.kind,
                "metadata": {"name": "m", "namespace": self.namespace},
                "spec": {"modelName": "m"},
            },
        )

    async def delete(self, kind, name):
        url = self.connection.server + path_of(kind, namespace=self.namespace, name=name)
        async with self.client._session.delete(url, json={"propagationPolicy": "Background"}) as response:
            assert response.status == 200

    def get(self, kind, name):
        return self.store.get(kind, self.namespace, name)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[list[tuple[str, str]]]:
        """Run kopf with the operator's handlers; gives what was heard."""
        heard: list[tuple[str, str]] = []
        registry = kopf.OperatorRegistry()
        register_login(registry, connection=self.connection)
        register_watches(
            registry, watched=WATCHED, informer=self.informer, heard=lambda kind, said: heard.append((kind.kind, said))
        )
        settings = kopf.OperatorSettings()
        configure(settings, watched=WATCHED)
        stop = asyncio.Event()
        task = asyncio.create_task(
            kopf.operator(registry=registry, settings=settings, clusterwide=True, stop_flag=stop)
        )
        try:
            yield heard
        finally:
            stop.set()
            await asyncio.wait_for(task, SECONDS)


@pytest.fixture
async def yard(control_plane: ControlPlane) -> AsyncIterator[Yard]:
    connection = from_kubeconfig(control_plane.kubeconfig)
    async with connection.open_session() as session:
        client = KubeClient(connection=connection, session=session)
        name = f"runtime-{next(numbers)}"
        await client.create(NAMESPACE, {"metadata": {"name": name}})
        yield Yard(connection=connection, client=client, namespace=name)


class TestWatch:
    async def test_the_store_follows_an_object_from_its_creation_to_its_end(self, yard):
        async with yard.watching():
            parent = await yard.run()
            await until(lambda: yard.get(TRAINING_JOB, "one"))
            await yard.client.patch_status(TRAINING_JOB, "one", {"phase": "Running"}, namespace=yard.namespace)
            await until(lambda: yard.get(TRAINING_JOB, "one")["status"].get("phase") == "Running")
            await yard.client.create(JOB, yard.job(parent))
            await until(lambda: yard.store.children(JOB, parent["metadata"]["uid"]))
            await yard.delete(TRAINING_JOB, "one")
            await until(lambda: yard.get(TRAINING_JOB, "one") is None)

    async def test_other_peoples_jobs_never_reach_the_process(self, yard):
        async with yard.watching() as heard:
            parent = await yard.run()
            await yard.client.create(JOB, yard.job(parent, name="foreign", labels={}))
            await yard.client.create(JOB, yard.job(parent, name="own"))
            await until(lambda: yard.get(JOB, "own"))
            # Each kind has a watch of its own, and they begin when they do.
            await until(lambda: {("TrainingJob", "ADDED"), ("TrainingJob", "LISTED")} & set(heard))
            assert yard.get(JOB, "foreign") is None

    async def test_watching_writes_nothing_to_the_object(self, yard):
        before = await yard.run()
        async with yard.watching():
            await until(lambda: yard.get(TRAINING_JOB, "one"))
            await yard.client.patch_status(TRAINING_JOB, "one", {"phase": "Running"}, namespace=yard.namespace)
            await until(lambda: yard.get(TRAINING_JOB, "one")["status"])
        after = await yard.client.get(TRAINING_JOB, "one", namespace=yard.namespace)
        assert after["metadata"].get("annotations") is None
        assert after["metadata"].get("finalizers") is None
        assert after["metadata"]["generation"] == before["metadata"]["generation"]

    async def test_what_was_primed_is_not_news_to_the_watch(self, yard):
        await yard.run()
        await prime(client=yard.client, informer=yard.informer, watched=WATCHED)
        queue = yard.queues[TRAINING_JOB]
        while len(queue):
            queue.done(await queue.get())
        async with yard.watching() as heard:
            await until(lambda: ("TrainingJob", "LISTED") in heard)
            await yard.run("two")
            await until(lambda: yard.get(TRAINING_JOB, "two"))
        assert {(await queue.get()).name for _ in range(len(queue))} == {"two"}


class TestSweep:
    async def test_ghosts_go_and_missed_objects_come(self, yard):
        runs = Watched(kind=TRAINING_JOB)
        resync = Resync(client=yard.client, store=yard.store, informer=yard.informer, sleep=lambda _: asyncio.sleep(0))
        for name in ("stays", "goes"):
            yard.informer.take(TRAINING_JOB, await yard.run(name))
        await resync.sweep(runs)  # whatever other tests left in the cluster
        await yard.run("comes")
        await yard.client.patch_status(TRAINING_JOB, "stays", {"phase": "Running"}, namespace=yard.namespace)
        await yard.delete(TRAINING_JOB, "goes")
        assert await resync.sweep(runs) == Drift(ghosts=1, behind=2)
        assert yard.get(TRAINING_JOB, "goes") is None
        assert yard.get(TRAINING_JOB, "comes")["spec"]["source"] == {"inline": {"train.py": 9}}
        assert yard.get(TRAINING_JOB, "stays")["status"]["phase"] == "Running"
        assert await resync.sweep(runs) == Drift()


class TestExecutor:
    async def test_a_job_is_created_once_however_often_it_is_planned(self, yard):
        parent = await yard.run()
        plan = Plan(create=(yard.job(parent),))
        await yard.executor().execute(TRAINING_JOB, parent, plan)
        await yard.executor(Store()).execute(TRAINING_JOB, parent, plan)
        assert len(yard.store.children(JOB, parent["metadata"]["uid"])) == 1

    async def test_a_job_of_another_owner_is_refused(self, yard):
        first, second = await yard.run("first"), await yard.run("second")
        await yard.client.create(JOB, yard.job(first))
        with pytest.raises(ForeignObjectError, match="delete it"):
            await yard.executor().execute(TRAINING_JOB, second, Plan(create=(yard.job(second),)))

    async def test_a_status_loses_the_keys_that_the_plan_has_not(self, yard):
        parent = await yard.run()
        executor = yard.executor()
        await executor.execute(
            TRAINING_JOB, parent, Plan(status={"phase": "Running", "metrics": {"a": 1, "b.c/d": "NaN"}, "jobName": "x"})
        )
        known = yard.get(TRAINING_JOB, "one")
        await executor.execute(TRAINING_JOB, known, Plan(status={"phase": "Running", "metrics": {"b.c/d": "NaN"}}))
        stored = await yard.client.get(TRAINING_JOB, "one", namespace=yard.namespace)
        assert stored["status"] == {"phase": "Running", "metrics": {"b.c/d": "NaN"}}

    async def test_a_status_that_the_schema_refuses_is_an_error_of_that_object(self, yard):
        parent = await yard.run()
        with pytest.raises(Invalid, match=r"status\.phase"):
            await yard.executor().execute(TRAINING_JOB, parent, Plan(status={"phase": "Dancing"}))

    async def test_an_event_is_there_once_after_two_processes_told_it(self, yard):
        parent = await yard.run()
        plan = Plan(events=(Event(type="Warning", reason="SourceNotFound", message="no ConfigMap"),))
        await yard.executor().execute(TRAINING_JOB, parent, plan)
        await yard.executor().execute(TRAINING_JOB, parent, plan)
        events = [item async for page in yard.client.pages(EVENT, namespace=yard.namespace) for item in page.items]
        assert [(e["reason"], e["message"], e["involvedObject"]["uid"]) for e in events] == [
            ("SourceNotFound", "no ConfigMap", parent["metadata"]["uid"])
        ]

    async def test_twenty_runs_that_register_at_once_get_twenty_versions(self, yard):
        await yard.model()
        parent = await yard.run()
        crew = [yard.executor(Store()) for _ in range(4)]  # four processes that know nothing of each other

        async def register(number):
            run = {"name": f"run{number}", "uid": f"0000-{number}", "attempt": 1}
            entry = {"run": run, "path": "outputs/model.pkl", "runManifestSha256": "0" * 64}
            wish = VersionRequest(model="m", key=f"{number}/m/x", entry=entry)
            while True:
                try:
                    await crew[number % 4].execute(TRAINING_JOB, parent, Plan(register=(wish,)))
                except Conflict:
                    continue
                return

        await asyncio.gather(*(register(number) for number in range(20)))
        model = await yard.client.get(REGISTERED_MODEL, "m", namespace=yard.namespace)
        versions = model["status"]["versions"]
        assert [v["version"] for v in versions] == list(range(1, 21))
        assert len({v["key"] for v in versions}) == 20
        assert model["status"]["latestVersion"] == 20

    async def test_a_status_is_not_written_over_what_came_in_between(self, yard):
        before = await yard.model()
        await yard.client.patch_status(REGISTERED_MODEL, "m", {"latestVersion": 3}, namespace=yard.namespace)
        with pytest.raises(Conflict):
            await yard.executor().execute(REGISTERED_MODEL, before, Plan(status={"latestVersion": 1}))


class TestLease:
    def leader(self, yard, identity):
        return Leader(client=yard.client, namespace=yard.namespace, name="lease", identity=identity)

    async def acquire(self, leader):
        async def stand_by(_holder):
            pass

        await asyncio.wait_for(leader.acquire(standing_by=stand_by), SECONDS)

    async def holder(self, yard):
        lease = await yard.client.get(LEASE, "lease", namespace=yard.namespace)
        return lease["spec"].get("holderIdentity")

    async def test_it_passes_on_when_it_is_released_and_comes_back_after_a_crash(self, yard):
        first = self.leader(yard, "first")
        await self.acquire(first)
        waiting = asyncio.create_task(self.acquire(self.leader(yard, "second")))
        await self.acquire(self.leader(yard, "first"))  # the same pod, started again
        assert await self.holder(yard) == "first"
        assert not waiting.done()
        # The restarted process wrote the lease, so the crashed one's knowledge of it is stale.
        restarted = self.leader(yard, "first")
        await self.acquire(restarted)
        await restarted.release()
        await waiting
        assert await self.holder(yard) == "second"

    async def test_who_is_robbed_of_it_notices(self, yard):
        leader = self.leader(yard, "first")
        await self.acquire(leader)
        lease = await yard.client.get(LEASE, "lease", namespace=yard.namespace)
        lease["spec"]["holderIdentity"] = "thief"
        await yard.client.replace(LEASE, lease)
        with pytest.raises(LeadershipLost, match="thief"):
            await asyncio.wait_for(leader.hold(), SECONDS)
