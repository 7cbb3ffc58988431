"""A run whose operator is killed before, and in other lives after, every single write that it makes.

API server and object store are real; only the nodes are played: the test itself ends the run's Job and leaves its
outputs. A killed life leaves nothing in memory behind: store, queues and controllers of the next one are new.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial

import pytest

from tests.unit.runtime.fakes import FakeGroups
from trainyard.contract import RUN_MANIFEST_SCHEMA, canonical_json
from trainyard_operator.api.names import (
    ATTEMPT_LABEL,
    EVENT,
    JOB,
    REGISTERED_MODEL,
    RUN_UID_LABEL,
    TRAINING_JOB,
    TRAINING_JOB_LABEL,
)
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.domain.environment_build import BuildSettings
from trainyard_operator.domain.job import PodSettings
from trainyard_operator.kube.client import KubeClient
from trainyard_operator.kube.connection import from_kubeconfig
from trainyard_operator.runtime.controllers import build_controllers
from trainyard_operator.runtime.environments import EnvironmentBook
from trainyard_operator.runtime.executor import Executor
from trainyard_operator.runtime.index import Index
from trainyard_operator.runtime.informer import Informer
from trainyard_operator.runtime.memory import Memory
from trainyard_operator.runtime.prime import prime
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.queues import Key, Queues
from trainyard_operator.runtime.reconciler import Reconciler
from trainyard_operator.runtime.store import Store
from trainyard_operator.runtime.watched import PLANNED, WATCHED
from trainyard_operator.storage import layout
from trainyard_operator.storage.models import copy_version
from trainyard_operator.storage.runs import erase_run
from trainyard_operator.storage.store import S3Store

NAMESPACE = "default"
BODY = b"a model"
SHA256 = hashlib.sha256(BODY).hexdigest()
STEPS = 30


class Killed(BaseException):
    """No handler of the code under test may catch the end of its process."""


class Lifetime:
    """How many writes a process lives to see, and whether it dies before its last one or right after it."""

    def __init__(self, *, writes: int | None, after: bool) -> None:
        self._left = writes
        self._after = after
        self.killed = False

    async def write(self, effect):
        if self.killed:
            raise Killed
        if self._left is None:
            return await effect()
        self._left -= 1
        if self._left > 0:
            return await effect()
        if self._after:
            await effect()
        self.killed = True
        raise Killed


class Mortal:
    """Passes everything on; counts what writes."""

    def __init__(self, inner, *, lifetime: Lifetime, writes: set[str]) -> None:
        self._inner, self._lifetime, self._writes = inner, lifetime, writes

    def __getattr__(self, name):
        method = getattr(self._inner, name)
        if name not in self._writes:
            return method

        async def mortal(*args, **kwargs):
            return await self._lifetime.write(partial(method, *args, **kwargs))

        return mortal


async def live(client: KubeClient, objects: S3Store, lifetime: Lifetime) -> None:
    """Be an operator process until there is nothing left to do."""
    store, memory = Store(), Memory()
    queues = Queues(kinds=PLANNED, clock=asyncio.get_running_loop())
    book = QueueBook(store=store)
    informer = Informer(store=store, book=book, queues=queues)
    mortal_client = Mortal(client, lifetime=lifetime, writes={"create", "patch", "patch_status"})
    mortal_objects = Mortal(objects, lifetime=lifetime, writes={"put", "copy"})
    environments = EnvironmentBook(
        store=store, objects=mortal_objects, settings=BuildSettings(), trainer_image="trainer:1", bucket="trainyard",
        index=Index,
    )  # fmt: skip
    executor = Executor(
        client=mortal_client, store=store, informer=informer, memory=memory,
        copy=partial(copy_version, mortal_objects), erase=partial(erase_run, mortal_objects), groups=FakeGroups(),
        environments=environments, now=partial(datetime.now, UTC),
    )  # fmt: skip
    pods = PodSettings(trainer_image="trainer:1", gateway_url="https://gateway:8443", gateway_ca="PEM")
    controllers = build_controllers(
        store=store, book=book, client=mortal_client, objects=mortal_objects, memory=memory,
        environments=environments, pods=pods, catalogue=Catalogue(), karpenter=False, no_kueue="",
        groups=FakeGroups(), bucket="trainyard",
    )  # fmt: skip
    await prime(client=client, informer=informer, watched=WATCHED)
    reconcilers = [
        Reconciler(
            controller=controller, queue=queues[controller.kind], store=store, executor=executor,
            now=partial(datetime.now, UTC), observer=lambda **_: None,
        )
        for controller in controllers
    ]  # fmt: skip
    before = None
    while (now := versions(store)) != before:
        before = now
        for controller, reconciler in zip(controllers, reconcilers, strict=True):
            for obj in list(store.list(controller.kind)):
                meta = obj["metadata"]
                await reconciler.reconcile(Key(controller.kind.plural, meta.get("namespace", ""), meta["name"]))


def versions(store: Store) -> set[tuple[str, str]]:
    return {(o["metadata"]["uid"], o["metadata"]["resourceVersion"]) for kind in PLANNED for o in store.list(kind)}


async def end_of_an_attempt(client: KubeClient, objects: S3Store, run) -> None:
    """Do what node, runner and Job controller do once there is a Job; the node of the first attempt is lost.

    Of the second one there are outputs, a manifest, and a Job that has completed.
    """
    meta = run["metadata"]
    for job in await listed(client, JOB, f"{RUN_UID_LABEL}={meta['uid']}"):
        if job.get("status", {}).get("conditions"):
            continue
        attempt = int(job["metadata"]["labels"][ATTEMPT_LABEL])
        if attempt == 1:
            await finish(client, job, "FailureTarget", "Failed", reason="PodFailurePolicy", failed=1)
            continue
        await objects.put(layout.attempt_prefix(NAMESPACE, meta["uid"], attempt) + "outputs/m.pkl", BODY)
        manifest = {
            "schema": RUN_MANIFEST_SCHEMA,
            "run": {"name": meta["name"], "namespace": NAMESPACE, "uid": meta["uid"], "experiment": "crash"},
            "sourceSha256": "5" * 64, "exitCode": 0, "startTime": "", "endTime": "", "metrics": {"accuracy": 0.5},
            "outputs": [{"path": "outputs/m.pkl", "bytes": len(BODY), "sha256": SHA256}], "warnings": [], "environment": {},
        }  # fmt: skip
        await objects.put(layout.run_manifest_key(NAMESPACE, meta["uid"], attempt), canonical_json(manifest))
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        await finish(client, job, "SuccessCriteriaMet", "Complete", succeeded=1, completionTime=now)


async def finish(client: KubeClient, job, *kinds: str, reason: str = "Played", **fields) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    done = {"startTime": now, "uncountedTerminatedPods": {}, **fields}
    done["conditions"] = [
        {"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": ""} for kind in kinds
    ]
    await client.patch_status(JOB, job["metadata"]["name"], done, namespace=NAMESPACE)


async def listed(client: KubeClient, kind, selector: str = ""):
    return [o async for page in client.pages(kind, namespace=NAMESPACE, label_selector=selector) for o in page.items]


@pytest.fixture
async def client(control_plane) -> AsyncIterator[KubeClient]:
    connection = from_kubeconfig(control_plane.kubeconfig)
    async with connection.open_session() as session:
        yield KubeClient(connection=connection, session=session)


@pytest.fixture
async def objects(versitygw) -> AsyncIterator[S3Store]:
    store = await S3Store.open(
        endpoint=versitygw.endpoint, region=versitygw.region, bucket="trainyard",
        access_key=versitygw.keys.access, secret_key=versitygw.keys.secret,
    )  # fmt: skip
    await store.ensure_bucket()
    yield store
    store.close()


def wish(name: str):
    model = {"name": f"model_{name}", "path": "outputs/m.pkl"}
    spec = {"source": {"inline": {"train.py": "pass"}}, "models": [model]}
    meta = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": TRAINING_JOB.api_version, "kind": TRAINING_JOB.kind, "metadata": meta, "spec": spec}


async def run_with_a_kill(client: KubeClient, objects: S3Store, *, name: str, writes: int, after: bool) -> bool:
    """Bring a run to its end through a life that is cut short; return whether it came to the cut."""
    run = await client.create(TRAINING_JOB, wish(name))
    first = Lifetime(writes=writes, after=after)
    for lifetime in [first, *(Lifetime(writes=None, after=False) for _ in range(5))]:
        for _ in range(3):  # the world goes on while the operator lives, and while it does not
            try:
                await live(client, objects, lifetime)
            except (Killed, BaseExceptionGroup):
                assert lifetime.killed
            await end_of_an_attempt(client, objects, run)
        done = await client.get(TRAINING_JOB, name, namespace=NAMESPACE)
        if done.get("status", {}).get("phase") == "Completed":
            break
    await check(client, objects, done)
    return first.killed


async def check(client: KubeClient, objects: S3Store, run) -> None:
    name, uid = run["metadata"]["name"], run["metadata"]["uid"]
    assert run["status"]["phase"] == "Completed", run["status"]
    assert [m["id"] for m in run["status"]["models"]] == [f"model_{name}:1"]
    jobs = await listed(client, JOB, f"{TRAINING_JOB_LABEL}={name}")
    assert sorted(job["metadata"]["labels"][ATTEMPT_LABEL] for job in jobs) == ["1", "2"]
    attempts = [(entry["number"], entry["reason"]) for entry in run["status"]["attempts"]]
    assert attempts == [(1, "NodeLost"), (2, "Completed")]
    assert (run["status"]["attempt"], run["status"]["disruptions"]) == (2, 1)
    models = [m for m in await listed(client, REGISTERED_MODEL) if m["spec"]["modelName"] == f"model_{name}"]
    assert [[(v["version"], v["state"]) for v in m["status"]["versions"]] for m in models] == [[(1, "Ready")]]
    assert models[0]["status"]["versions"][0]["run"]["uid"] == uid
    prefix = layout.models_prefix(NAMESPACE) + f"model_{name}/"
    page = await objects.list(prefix)
    assert sorted(info.key.removeprefix(prefix) for info in page.objects) == ["1.manifest.json", "1/m.pkl"]
    events = [e for e in await listed(client, EVENT) if e["involvedObject"].get("uid") == uid]
    told = [event["reason"] for event in events]
    assert len(told) == len(set(told)), told


@pytest.mark.parametrize("after", [pytest.param(False, id="before"), pytest.param(True, id="after")])
async def test_an_operator_killed_at_any_write_leaves_one_job_an_attempt_and_one_version(
    control_plane, client, objects, after
):
    for writes in range(1, STEPS):
        name = f"crash-{'after' if after else 'before'}-{writes}"
        cut = await run_with_a_kill(client, objects, name=name, writes=writes, after=after)
        control_plane.kubectl("delete", "tj,rmodel,jobs", "--all", "-n", NAMESPACE, "--wait=false")
        if not cut:
            # The whole run takes fewer writes than this life had: every one of them has been the last one once.
            assert writes > 8
            return
    pytest.fail(f"a run takes more than {STEPS} writes")
