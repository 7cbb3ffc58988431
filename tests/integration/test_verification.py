"""What is done to a version's files behind the operator's back is found, and named, by the operator as a process."""

from __future__ import annotations

import asyncio
import hashlib
import re
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.perf.process import OperatorProcess
from tests.support.objectstore import ObjectServer
from trainyard.contract import RUN_MANIFEST_SCHEMA, canonical_json
from trainyard_operator.api.names import EVENT, REGISTERED_MODEL, object_name
from trainyard_operator.domain.conditions import parse_timestamp
from trainyard_operator.domain.plan import VersionRequest
from trainyard_operator.domain.registry import allocate, build_model
from trainyard_operator.kube.client import KubeClient
from trainyard_operator.kube.connection import from_kubeconfig
from trainyard_operator.storage import layout
from trainyard_operator.storage.store import S3Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMESPACE = "default"
BUCKET = "trainyard"
# Long enough for a machine that does other things as well.
SECONDS = 120.0
FILES = {"a.pkl": b"some bytes", "deep/b.json": b"{}"}
JsonObject = dict[str, Any]


@dataclass
class Yard:
    """A store with its owner's client, and the API server."""

    server: ObjectServer
    objects: S3Store
    client: KubeClient
    operator: OperatorProcess | None = None
    asked: int = 0
    owner: Any = field(init=False)

    def __post_init__(self):
        self.owner = self.server.client()

    async def register(self, name, *, versions=1):
        """Make versions as the operator does it from a run's outputs; return the model once they are settled."""
        uid = f"uid-of-{name}"
        outputs = []
        for path, body in FILES.items():
            await self.objects.put(layout.attempt_prefix(NAMESPACE, uid, 1) + f"outputs/m/{path}", body)
            sha256 = hashlib.sha256(body).hexdigest()
            outputs.append({"path": f"outputs/m/{path}", "bytes": len(body), "sha256": sha256})
        manifest = {
            "schema": RUN_MANIFEST_SCHEMA, "run": {"uid": uid}, "sourceSha256": "5" * 64, "exitCode": 0, "startTime": "",
            "endTime": "", "metrics": {}, "outputs": outputs, "warnings": [], "environment": {},
        }  # fmt: skip
        await self.objects.put(layout.run_manifest_key(NAMESPACE, uid, 1), canonical_json(manifest))
        model = await self.client.create(REGISTERED_MODEL, build_model(namespace=NAMESPACE, model_name=name))
        status = None
        for number in range(1, versions + 1):
            entry = {"run": {"name": "run", "uid": uid, "attempt": 1}, "path": "outputs/m"}
            request = VersionRequest(model=model["metadata"]["name"], key=f"{uid}/{number}", entry=entry)
            now = parse_timestamp("2026-11-26T00:00:00Z")
            status = allocate(model={**model, "status": status or {}}, request=request, now=now)
        await self.client.patch_status(REGISTERED_MODEL, model["metadata"]["name"], status, namespace=NAMESPACE)
        return await self.until(name, lambda found: states(found) == ["Ready"] * versions)

    async def get(self, name):
        return await self.client.get(REGISTERED_MODEL, object_name(name), namespace=NAMESPACE)

    async def until(self, name, holds):
        async with asyncio.timeout(SECONDS):
            while not holds(found := await self.get(name)):  # noqa: ASYNC110 - the API server tells nobody here
                await asyncio.sleep(0.05)
        return found

    async def request(self, name, *, wait=True):
        """Wish for a verification; return the model once that is done."""
        self.asked += 1
        text = f"wish {self.asked}"
        await self.patch(name, {"request": text})
        return await self.until(name, lambda found: not wait or verification(found).get("request") == text)

    async def let_it_be_due(self, name):
        """Have a schedule whose time has come; return the model once that is done."""
        self.asked += 1
        long_ago = f"{2025 - self.asked:04}-01-01T00:00:00Z"
        await self.patch_status(name, {"verification": {"time": long_ago}})
        await self.patch(name, {"everyHours": 24})
        return await self.until(name, lambda found: verification(found).get("time", long_ago) != long_ago)

    async def patch(self, name, wish):
        patch = {"spec": {"verification": {"request": None, "everyHours": None, **wish}}}
        await self.client.patch(REGISTERED_MODEL, object_name(name), patch, namespace=NAMESPACE)

    async def patch_status(self, name, patch):
        await self.client.patch_status(REGISTERED_MODEL, object_name(name), patch, namespace=NAMESPACE)

    async def has_told(self, name, *reasons):
        """Wait for the Events of a model, which follow its status; those of its making are not counted."""
        async with asyncio.timeout(SECONDS):
            while (told := await self._told(name)) != list(reasons):
                assert len(told) <= len(reasons), told
                await asyncio.sleep(0.05)

    async def _told(self, name):
        uid = (await self.get(name))["metadata"]["uid"]
        events = [e async for page in self.client.pages(EVENT, namespace=NAMESPACE) for e in page.items]
        reasons = [e["reason"] for e in events if e["involvedObject"].get("uid") == uid]
        return sorted(reason for reason in reasons if reason != "VersionReady")

    def version(self, name, number=1):
        return Version(self, layout.models_prefix(NAMESPACE) + f"{name}/", number)

    def writes(self):
        """Return how many requests have changed anything in the store."""
        actions = re.findall(r" s3_(\w+) ", self.server.access_log.read_text())
        assert "CopyObject" in actions
        return sum(not action.startswith(("Get", "Head", "List")) for action in actions)


@dataclass
class Version:
    """A version's objects, as somebody with the store's keys can change them."""

    yard: Yard
    root: str
    number: int

    @property
    def folder(self):
        return f"{self.root}{self.number}/"

    @property
    def manifest(self):
        return f"{self.root}{self.number}.manifest.json"

    def put(self, key, body, **more):
        self.yard.owner.put_object(Bucket=BUCKET, Key=key, Body=body, **more)

    def delete(self, key):
        self.yard.owner.delete_object(Bucket=BUCKET, Key=key)

    def get(self, key):
        return self.yard.owner.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def snapshot(self):
        listed = self.yard.owner.list_objects_v2(Bucket=BUCKET, Prefix=f"{self.root}{self.number}")["Contents"]
        return {entry["Key"]: self.get(entry["Key"]) for entry in listed}

    def restore(self, before):
        for key in self.snapshot().keys() - before.keys():
            self.delete(key)
        for key, body in before.items():
            self.put(key, body)

    def rename(self, old, new):
        source = {"Bucket": BUCKET, "Key": self.folder + old}
        self.yard.owner.copy_object(Bucket=BUCKET, Key=self.folder + new, CopySource=source)
        self.delete(self.folder + old)


def states(model):
    return [entry["state"] for entry in model["status"].get("versions", ())]


def verification(model):
    return model["status"].get("verification") or {}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A store of this module's own, whose log tells of nobody else and which may be stopped."""
    with ObjectServer(folder=tmp_path_factory.mktemp("verification")) as running:
        yield running


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("log") / "operator.log"


def process(control_plane, server, log):
    return OperatorProcess(kubeconfig=control_plane.kubeconfig, log=log, objects=server)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quiet(control_plane, server) -> AsyncIterator[Yard]:
    """A yard whose operator does not run."""
    if not control_plane.kubectl("get", "namespace", "trainyard-system", "--ignore-not-found"):
        control_plane.kubectl("create", "namespace", "trainyard-system")
    objects = await S3Store.open(
        endpoint=server.endpoint, region=server.region, bucket=BUCKET,
        access_key=server.keys.access, secret_key=server.keys.secret,
    )  # fmt: skip
    await objects.ensure_bucket()
    connection = from_kubeconfig(control_plane.kubeconfig)
    async with connection.open_session() as session:
        yield Yard(server=server, objects=objects, client=KubeClient(connection=connection, session=session))
    objects.close()
    # Objects of other tests' operators must not be ours, nor ours theirs.
    control_plane.kubectl("delete", "rmodel", "--all", "-n", NAMESPACE)
    control_plane.kubectl("-n", "trainyard-system", "delete", "lease", "trainyard-operator", "--ignore-not-found")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def yard(quiet, control_plane, server, log) -> AsyncIterator[Yard]:
    """A yard with one operator for many tests."""
    async with process(control_plane, server, log) as operator:
        quiet.operator = operator
        # The store is probed beside all else, and tests count what is written there.
        await operator.shows("trainyard_store_conditional_writes", 1)
        yield quiet


async def test_an_outage_proves_nothing_and_a_killed_operator_is_followed_by_one_that_goes_on(
    quiet, control_plane, server, log
):
    async with process(control_plane, server, log) as operator:
        await quiet.register("outage", versions=3)
        quiet.version("outage", 2).put(quiet.version("outage", 2).folder + "a.pkl", b"SOME BYTES")
        server.stop()
        await quiet.request("outage", wait=False)
        waiting = await quiet.until("outage", lambda found: "message" in verification(found))
        assert states(waiting) == ["Ready"] * 3
        assert "cannot be reached" in verification(waiting)["message"]
        await quiet.has_told("outage", "VerificationInterrupted")
        assert await operator.end(signal.SIGKILL) == -signal.SIGKILL
    server.start()
    async with process(control_plane, server, log):
        found = await quiet.until("outage", lambda found: "message" not in verification(found))
        await quiet.has_told("outage", "VerificationInterrupted", "VersionCorrupted")
    assert states(found) == ["Ready", "Corrupted", "Ready"]
    assert (verification(found)["versions"], verification(found)["corrupted"]) == (3, 1)


CHANGES = {
    "overwritten": (lambda v: v.put(v.folder + "a.pkl", b"longer than before"), "a.pkl has 18 bytes and not 10"),
    "overwritten-with-the-same-size": (lambda v: v.put(v.folder + "a.pkl", b"SOME BYTES"), "a.pkl has other bytes"),
    "overwritten-with-its-own-checksum": (
        lambda v: v.put(v.folder + "a.pkl", b"SOME BYTES", ChecksumAlgorithm="SHA256"),
        "a.pkl has other bytes",
    ),
    "truncated": (lambda v: v.put(v.folder + "deep/b.json", b"{"), "deep/b.json has 1 bytes and not 2"),
    "emptied": (lambda v: v.put(v.folder + "a.pkl", b""), "a.pkl has 0 bytes and not 10"),
    "deleted": (lambda v: v.delete(v.folder + "deep/b.json"), "deep/b.json is missing"),
    "added": (lambda v: v.put(v.folder + "c.pkl", b"x"), "c.pkl is not in the manifest"),
    "added-under-a-dot": (lambda v: v.put(v.folder + ".github/c", b"x"), ".github/c is not in the manifest"),
    "renamed": (lambda v: v.rename("a.pkl", "c.pkl"), "c.pkl is not in the manifest, a.pkl is missing"),
    "manifest-changed": (
        lambda v: v.put(v.manifest, v.get(v.manifest).replace(b'"bytes":10', b'"bytes":11')),
        "its manifest 1.manifest.json was changed",
    ),
    "manifest-deleted": (lambda v: v.delete(v.manifest), "its manifest 1.manifest.json is missing"),
}


@pytest.mark.parametrize("wish", ["request", "let_it_be_due"])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_is_found_and_named_and_forgiven_once_it_is_mended(yard, change, wish):
    name = f"{change}.{wish}"
    verify = getattr(yard, wish)
    await yard.register(name)
    await yard.register(f"{name}-b")
    version, (apply, message) = yard.version(name), CHANGES[change]
    before = version.snapshot()

    apply(version)
    found = await verify(name)
    assert states(found) == ["Corrupted"]
    assert found["status"]["versions"][0]["message"] == message
    assert (verification(found)["versions"], verification(found)["corrupted"]) == (1, 1)
    ready = next(c for c in found["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "VersionCorrupted")
    assert states(await verify(f"{name}-b")) == ["Ready"]
    assert states(await verify(name)) == ["Corrupted"]

    version.restore(before)
    found = await verify(name)
    assert states(found) == ["Ready"]
    assert "message" not in found["status"]["versions"][0]
    assert verification(found)["corrupted"] == 0
    await yard.has_told(name, "VersionCorrupted", "VersionMended")


async def test_bytes_that_change_on_the_disk_of_the_server_are_found_on_demand(yard):
    await yard.register("rotten")
    path = yard.server.data / BUCKET / (yard.version("rotten").folder + "a.pkl")
    with path.open("r+b") as file:  # in place: what the server notes beside the file stays
        file.write(b"S")
    assert states(await yard.let_it_be_due("rotten")) == ["Ready"]
    sample = f'trainyard_corrupted_versions{{model="rotten",model_namespace="{NAMESPACE}"}}'
    assert sample not in await yard.operator.metrics()
    assert states(await yard.request("rotten")) == ["Corrupted"]
    await yard.operator.shows(sample, 1)


async def test_a_version_that_nobody_has_touched_stays_as_it_is_and_nothing_is_written_for_it(yard):
    before = await yard.register("whole", versions=3)
    # Files of a neighbour, and of a number that begins like this one, are no files of this version.
    await yard.register("whole-b")
    yard.version("whole-b").put(yard.version("whole-b").folder + "more", b"x")
    yard.version("whole", 10).put(yard.version("whole", 10).folder + "more", b"x")
    writes = yard.writes()
    after = await yard.request("whole")
    assert after["status"]["versions"] == before["status"]["versions"]
    assert (verification(after)["versions"], verification(after)["corrupted"]) == (3, 0)
    await yard.has_told("whole")
    assert states(await yard.request("whole-b")) == ["Corrupted"]
    assert yard.writes() == writes
    assert (await yard.get("whole"))["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]
