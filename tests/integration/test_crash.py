"""A run whose operator is killed before, and in other lives after, every single write that it makes.

API server and object store are real; only the nodes and the people are played: the test itself ends the run's Jobs,
leaves its outputs, and suspends, cancels and deletes.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.mortal import Killed, Lifetime, live
from trainyard.contract import RUN_MANIFEST_SCHEMA, canonical_json
from trainyard_operator.api.names import (
    ATTEMPT_LABEL,
    EVENT,
    JOB,
    POD,
    REGISTERED_MODEL,
    RUN_UID_LABEL,
    TRAINING_JOB,
    TRAINING_JOB_LABEL,
)
from trainyard_operator.kube.client import KubeClient, find_one
from trainyard_operator.kube.connection import from_kubeconfig
from trainyard_operator.storage import layout
from trainyard_operator.storage.store import S3Store

NAMESPACE = "default"
BODY = b"a model"
SHA256 = hashlib.sha256(BODY).hexdigest()
STEPS = 30
ROUNDS = 10
LOST = ("FailureTarget", "Failed"), {"reason": "PodFailurePolicy", "failed": 1}
FAILED = ("FailureTarget", "Failed"), {"reason": "BackoffLimitExceeded", "failed": 1}
EXIT_3 = {"exitCode": 3, "reason": "Error", "startedAt": "2026-11-25T12:00:00Z", "finishedAt": "2026-11-25T12:00:01Z"}
DONE = ("SuccessCriteriaMet", "Complete"), {"succeeded": 1}
GONE = ""


@dataclass(frozen=True, kw_only=True)
class Story:
    """A run, what becomes of it, and how it must be at the end.

    `ends` says by attempt how its Job finishes; one that is not there goes on. `people` says what is patched into the
    spec once the run is in a phase or has a reason; `delete` when the object is deleted. The run's last phase is
    `phase`: `GONE` where the object itself is to go, with its data.
    """

    spec: Mapping[str, object] = field(default_factory=dict)
    ends: Mapping[int, tuple[tuple[str, str], Mapping[str, object]]] = field(default_factory=dict)
    people: tuple[tuple[str, Mapping[str, object]], ...] = ()
    delete: str = ""
    phase: str = "Completed"
    attempts: tuple[tuple[int, str], ...] = ()
    model: bool = False


STORIES = {
    "a node is lost, and a model is registered": Story(
        model=True, ends={1: LOST, 2: DONE}, attempts=((1, "NodeLost"), (2, "Completed"))
    ),
    "an attempt fails and is repeated": Story(
        spec={"retries": 1}, ends={1: FAILED, 2: DONE}, attempts=((1, "RunFailed"), (2, "Completed"))
    ),
    "it rests and goes on": Story(
        people=(("PodPending", {"suspend": True}), ("Suspended", {"suspend": False})),
        ends={2: DONE}, attempts=((1, "Suspended"), (2, "Completed")),
    ),
    "it is canceled": Story(people=(("PodPending", {"cancel": True}),), phase="Canceled", attempts=((1, "Canceled"),)),
    "its time after the end is over": Story(
        spec={"ttlSecondsAfterFinished": 30, "deletionPolicy": "Delete"}, ends={1: DONE}, phase=GONE
    ),
    "it is deleted on its way": Story(spec={"deletionPolicy": "Delete"}, delete="PodPending", phase=GONE),
}  # fmt: skip


class World:
    """Everything around one operator: time, nodes and people."""

    def __init__(self, client: KubeClient, objects: S3Store, story: Story, *, name: str) -> None:
        self._client, self._objects, self._story, self._name = client, objects, story, name
        self._left = list(story.people)
        self._shift = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._shift

    async def go_on(self) -> None:
        """Do what somebody does next, once; a minute passes, so that whatever waits for a time has its turn."""
        self._shift += timedelta(minutes=1)
        run = await self.run()
        if run is None:
            return
        for job in await listed(self._client, JOB, f"{RUN_UID_LABEL}={run['metadata']['uid']}"):
            if not job["spec"].get("suspend") and not job.get("status", {}).get("conditions"):
                await self._end(run, job)
        await self._ask(run)

    async def _ask(self, run) -> None:
        status = run.get("status", {})
        at = {status.get("phase"), *(c["reason"] for c in status.get("conditions", ()) if c["type"] == "Ready")}
        if self._left and self._left[0][0] in at:
            await self._client.patch(TRAINING_JOB, self._name, {"spec": self._left.pop(0)[1]}, namespace=NAMESPACE)
        if self._story.delete in at and "deletionTimestamp" not in run["metadata"]:
            meta = run["metadata"]
            await self._client.delete(TRAINING_JOB, self._name, namespace=NAMESPACE, uid=meta["uid"])

    async def _end(self, run, job) -> None:
        attempt = int(job["metadata"]["labels"][ATTEMPT_LABEL])
        how = self._story.ends.get(attempt)
        if how is None:
            return
        if how is DONE:
            await save_outputs(self._objects, run, attempt=attempt)
        if how is FAILED:
            await exit_3(self._client, job)
        await finish(self._client, job, *how[0], **how[1])

    async def run(self):
        return await find_one(self._client, TRAINING_JOB, self._name, namespace=NAMESPACE)


async def exit_3(client: KubeClient, job) -> None:
    """Leave the pod of a script that failed."""
    meta = job["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
    labels = job["spec"]["template"]["metadata"]["labels"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": meta["name"], "namespace": NAMESPACE, "labels": labels, "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "train", "image": "trainer:1"}], "restartPolicy": "Never"},
    }
    await client.create(POD, pod)
    ended = {"name": "train", "image": "trainer:1", "imageID": "", "ready": False, "restartCount": 0}
    status = {"phase": "Failed", "containerStatuses": [{**ended, "state": {"terminated": EXIT_3}}]}
    await client.patch_status(POD, meta["name"], status, namespace=NAMESPACE)


async def save_outputs(objects: S3Store, run, *, attempt: int) -> None:
    """Leave what the runner of a script that succeeded leaves."""
    meta = run["metadata"]
    await objects.put(layout.attempt_prefix(NAMESPACE, meta["uid"], attempt) + "outputs/m.pkl", BODY)
    manifest = {
        "schema": RUN_MANIFEST_SCHEMA,
        "run": {"name": meta["name"], "namespace": NAMESPACE, "uid": meta["uid"], "experiment": "crash"},
        "sourceSha256": "5" * 64, "exitCode": 0, "startTime": "", "endTime": "", "metrics": {"accuracy": 0.5},
        "outputs": [{"path": "outputs/m.pkl", "bytes": len(BODY), "sha256": SHA256}], "warnings": [], "environment": {},
    }  # fmt: skip
    await objects.put(layout.run_manifest_key(NAMESPACE, meta["uid"], attempt), canonical_json(manifest))


async def finish(client: KubeClient, job, *kinds: str, reason: str = "Played", **fields) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    done = {"startTime": now, "uncountedTerminatedPods": {}, **fields}
    done |= {"completionTime": now} if "Complete" in kinds else {}
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


@pytest.fixture(scope="module")
def service_account(control_plane) -> None:
    """What every pod has, and no controller is here to make."""
    control_plane.kubectl("create", "serviceaccount", "default", "-n", NAMESPACE)


def wish(name: str, story: Story):
    models = {"models": [{"name": f"model_{name}", "path": "outputs/m.pkl"}]} if story.model else {}
    spec = {"source": {"inline": {"train.py": "pass"}}, **models, **story.spec}
    meta = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": TRAINING_JOB.api_version, "kind": TRAINING_JOB.kind, "metadata": meta, "spec": spec}


async def run_with_a_kill(
    client: KubeClient, objects: S3Store, story: Story, *, name: str, writes: int, after: bool
) -> bool:
    """Bring a run to its end through a life that is cut short; return whether it came to the cut."""
    created = await client.create(TRAINING_JOB, wish(name, story))
    world = World(client, objects, story, name=name)
    first = lifetime = Lifetime(writes=writes, after=after)
    for _ in range(ROUNDS):  # the world goes on while the operator lives, and while it does not
        try:
            await live(client, objects, lifetime, now=world.now)
        except (Killed, BaseExceptionGroup):
            assert lifetime.killed
            lifetime = Lifetime(writes=None, after=False)
        done = await world.run()
        if (done or {"status": {"phase": GONE}}).get("status", {}).get("phase") == story.phase:
            break
        await world.go_on()
    await check(client, objects, story, created, done)
    return first.killed


async def check(client: KubeClient, objects: S3Store, story: Story, created, run) -> None:
    name, uid = created["metadata"]["name"], created["metadata"]["uid"]
    jobs = await listed(client, JOB, f"{TRAINING_JOB_LABEL}={name}")
    events = [e for e in await listed(client, EVENT) if e["involvedObject"].get("uid") == uid]
    told = [(event["reason"], event["message"]) for event in events]
    assert len(told) == len(set(told)), told
    if story.phase == GONE:
        assert run is None
        assert len(jobs) == 1
        assert (await objects.list(layout.run_prefix(NAMESPACE, uid))).objects == ()
        return
    assert run["status"]["phase"] == story.phase, run["status"]
    assert [(entry["number"], entry["reason"]) for entry in run["status"]["attempts"]] == list(story.attempts)
    numbers = sorted(int(job["metadata"]["labels"][ATTEMPT_LABEL]) for job in jobs)
    assert numbers == [number for number, _ in story.attempts]
    assert run["status"]["attempt"] == numbers[-1]
    if story.model:
        await check_model(client, objects, run)


async def check_model(client: KubeClient, objects: S3Store, run) -> None:
    name, uid = run["metadata"]["name"], run["metadata"]["uid"]
    assert [m["id"] for m in run["status"]["models"]] == [f"model_{name}:1"]
    models = [m for m in await listed(client, REGISTERED_MODEL) if m["spec"]["modelName"] == f"model_{name}"]
    assert [[(v["version"], v["state"]) for v in m["status"]["versions"]] for m in models] == [[(1, "Ready")]]
    assert models[0]["status"]["versions"][0]["run"]["uid"] == uid
    prefix = layout.models_prefix(NAMESPACE) + f"model_{name}/"
    page = await objects.list(prefix)
    assert sorted(info.key.removeprefix(prefix) for info in page.objects) == ["1.manifest.json", "1/m.pkl"]


@pytest.mark.parametrize("after", [pytest.param(False, id="before"), pytest.param(True, id="after")])
@pytest.mark.parametrize("which", STORIES)
@pytest.mark.usefixtures("service_account")
async def test_a_run_ends_in_the_same_way_at_whichever_write_its_operator_is_killed(
    control_plane, client, objects, which, after
):
    story = STORIES[which]
    for writes in range(1, STEPS):
        name = f"crash-{list(STORIES).index(which)}-{'after' if after else 'before'}-{writes}"
        cut = await run_with_a_kill(client, objects, story, name=name, writes=writes, after=after)
        control_plane.kubectl("delete", "tj,rmodel,jobs,pods", "--all", "-n", NAMESPACE, "--wait=false")
        if not cut:
            # The whole run takes fewer writes than this life had: every one of them has been the last one once.
            assert writes > 4
            return
    pytest.fail(f"a run takes more than {STEPS} writes")
