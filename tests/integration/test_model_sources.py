"""Versions that no run of the namespace makes: the operator as a process, a real API server with RBAC, a real store."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections.abc import AsyncIterator

import pytest

from devcluster.errors import DevclusterError
from tests.perf.process import OperatorProcess
from tests.support.accounts import await_right, user_of
from tests.support.mortal import Killed, Lifetime, live
from tests.unit.domain.builders import NOW
from tests.unit.storage.builders import UID, run_manifest
from trainyard.contract import canonical_json
from trainyard_operator.api.names import EVENT, REGISTERED_MODEL
from trainyard_operator.kube.client import KubeClient, find_one
from trainyard_operator.kube.connection import from_kubeconfig
from trainyard_operator.storage import layout
from trainyard_operator.storage.models import read_model_manifest
from trainyard_operator.storage.store import S3Store

# Long enough for a machine that does other things as well.
SECONDS = 180.0
BODY = b"weights"
SHA256 = hashlib.sha256(BODY).hexdigest()
DIGEST = "d" * 64

numbers = itertools.count()


class Yard:
    """What people do in two namespaces, `a` and `b`, and what they see."""

    def __init__(self, control_plane, client: KubeClient, objects: S3Store) -> None:
        self.kubectl, self.client, self.objects = control_plane.kubectl, client, objects
        number = next(numbers)
        self.a, self.b = f"sources-a-{number}", f"sources-b-{number}"
        for namespace in (self.a, self.b):
            self.kubectl("create", "namespace", namespace)

    async def upload(self, path: str, body: bytes = BODY) -> None:
        await self.objects.put(layout.data_prefix(self.a) + path, body)

    async def apply(self, namespace: str, name: str, *, who: str = "", **spec) -> None:
        document = {
            "apiVersion": REGISTERED_MODEL.api_version,
            "kind": REGISTERED_MODEL.kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"modelName": name, **spec},
        }
        acts = [f"--as=system:serviceaccount:{who}"] if who else []
        arguments = ["apply", "--server-side", "--force-conflicts", *acts, "-f", "-"]
        await asyncio.to_thread(self.kubectl, *arguments, text=json.dumps(document))

    async def until(self, namespace: str, name: str, kind: str, reason: str):
        """Return the model once its condition has the reason."""
        found = None
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    found = await find_one(self.client, REGISTERED_MODEL, name, namespace=namespace)
                    conditions = (found.get("status") or {}).get("conditions") or ()
                    if any((c["type"], c["reason"]) == (kind, reason) for c in conditions):
                        return found
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"{kind} never was {reason}: {json.dumps(found.get('status'), indent=1)}")

    async def has_told(self, namespace: str, reason: str, *, times: int) -> None:
        """Wait for Events, which follow the status; there must not be more of them."""
        async with asyncio.timeout(SECONDS):
            while (told := (await self.events(namespace)).count(reason)) < times:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert told == times

    async def events(self, namespace: str) -> list[str]:
        pages = self.client.pages(EVENT, namespace=namespace)
        return sorted([event["reason"] async for page in pages for event in page.items])

    async def manifest(self, namespace: str, name: str, version: int):
        document, _ = await read_model_manifest(self.objects, namespace, name, version)
        return document

    async def copied(self, namespace: str, name: str) -> list[str]:
        root = f"{layout.models_prefix(namespace)}{name}/"
        return [info.key.removeprefix(root) for info in (await self.objects.list(root)).objects]


@pytest.fixture
async def yard(control_plane, versitygw) -> AsyncIterator[Yard]:
    connection = from_kubeconfig(control_plane.kubeconfig)
    store = await S3Store.open(
        endpoint=versitygw.endpoint, region=versitygw.region, bucket="trainyard",
        access_key=versitygw.keys.access, secret_key=versitygw.keys.secret,
    )  # fmt: skip
    await store.ensure_bucket()
    async with connection.open_session() as session:
        yield Yard(control_plane, KubeClient(connection=connection, session=session), store)
    store.close()


@pytest.fixture
async def operator(control_plane, versitygw, tmp_path):
    """An operator that leaves no trace of trouble."""
    if not control_plane.kubectl("get", "namespace", "trainyard-system", "--ignore-not-found"):
        control_plane.kubectl("create", "namespace", "trainyard-system")
    log = tmp_path / "operator.log"
    async with OperatorProcess(kubeconfig=control_plane.kubeconfig, log=log, objects=versitygw) as process:
        yield process
    control_plane.kubectl("-n", "trainyard-system", "delete", "lease", "trainyard-operator", "--ignore-not-found")
    assert [line for line in log.read_text().splitlines() if '"level": "error"' in line or "Traceback" in line] == []


def condition(model, kind):
    return next(c for c in model["status"]["conditions"] if c["type"] == kind)


def wish(key, path, **over):
    return {"key": key, "datastorePath": path, **over}


async def test_files_of_the_datastore_become_versions_once_they_are_there(yard, operator):
    for path in ("iris/model.skops", "iris/deep/notes.md", "iris-b/other", "iris.onnx"):
        await yard.upload(path)
    late, file, folder = wish("late", "new/model"), wish("file", "iris.onnx", sha256=SHA256), wish("folder", "iris")
    await yard.apply(yard.a, "m", imports=[late, file | {"metrics": {"auc": 0.5}, "tags": {"by": "me"}}, folder])

    waiting = await yard.until(yard.a, "m", "Imported", "ImportPathNotFound")
    words = condition(waiting, "Imported")["message"]
    assert "spec.imports[late].datastorePath: nothing is at 'new/model'" in words
    assert "iris-b/, iris.onnx, iris/" in words
    await operator.settled()
    waiting = await find_one(yard.client, REGISTERED_MODEL, "m", namespace=yard.a)
    assert [(v["id"], v["key"]) for v in waiting["status"]["versions"]] == [
        ("m:1", "import/file"),
        ("m:2", "import/folder"),
    ]

    # Nobody tells of what comes into the datastore: it is looked at again.
    await yard.upload("new/model")
    done = await yard.until(yard.a, "m", "Imported", "Imported")
    assert [(v["id"], v["state"], v["import"]["key"]) for v in done["status"]["versions"]] == [
        ("m:1", "Ready", "file"), ("m:2", "Ready", "folder"), ("m:3", "Ready", "late"),
    ]  # fmt: skip
    assert await yard.copied(yard.a, "m") == [
        "1.manifest.json", "1/iris.onnx", "2.manifest.json", "2/deep/notes.md", "2/model.skops", "3.manifest.json",
        "3/model",
    ]  # fmt: skip
    manifest = await yard.manifest(yard.a, "m", 1)
    assert manifest["import"] == {"key": "file", "datastorePath": "iris.onnx", "sha256": SHA256}
    assert (manifest["metrics"], manifest["tags"], "run" in manifest) == ({"auc": 0.5}, {"by": "me"}, False)
    assert manifest["files"] == [{"path": "iris.onnx", "bytes": len(BODY), "sha256": SHA256}]

    await yard.apply(
        yard.a, "m", imports=[file | {"datastorePath": "iris.csv"}, wish("wrong", "iris.onnx", sha256=DIGEST)]
    )
    refused = await yard.until(yard.a, "m", "Imported", "ImportChanged")
    failed = (await yard.until(yard.a, "m", "Ready", "VersionFailed"))["status"]["versions"]
    assert failed[:3] == done["status"]["versions"]
    assert "m:1 was made from 'iris.onnx'" in condition(refused, "Imported")["message"]
    assert (failed[3]["id"], failed[3]["state"]) == ("m:4", "Failed")
    assert SHA256 in failed[3]["message"]
    assert DIGEST in failed[3]["message"]
    assert "4.manifest.json" not in await yard.copied(yard.a, "m")

    await yard.apply(yard.a, "m", imports=[])
    async with asyncio.timeout(SECONDS):
        while any(c["type"] == "Imported" for c in refused["status"]["conditions"]):
            await asyncio.sleep(0.1)
            refused = await find_one(yard.client, REGISTERED_MODEL, "m", namespace=yard.a)
    assert refused["status"]["versions"] == failed
    told = ["ImportChanged", "ImportPathNotFound", "VersionFailed", *["VersionReady"] * 3]
    assert await yard.events(yard.a) == told


async def registered(yard: Yard, **spec) -> str:
    """Make a version of a model of `b` from a run of it; return the digest of its manifest."""
    root = f"runs/{yard.b}/{UID}/attempts/1/"
    body = canonical_json(run_manifest({"outputs/model/w": BODY}, run={"name": "r", "namespace": yard.b, "uid": UID}))
    await yard.objects.put(f"{root}outputs/model/w", BODY)
    await yard.objects.put(f"{root}manifest.json", body)
    await yard.apply(yard.b, "source", **spec)
    entry = {
        "version": 1, "id": "source:1", "key": f"{UID}/source/outputs/model", "state": "Pending",
        "run": {"name": "r", "uid": UID, "attempt": 1}, "path": "outputs/model", "metrics": {"accuracy": 0.9},
        "sourceSha256": "ab" * 32, "tags": {"data": "mnist"}, "createdTime": "2026-11-23T11:00:00Z",
        "runManifestSha256": hashlib.sha256(body).hexdigest(),
    }  # fmt: skip
    status = {"status": {"versions": [entry], "latestVersion": 1, "latestId": "source:1"}}
    yard.kubectl(
        "-n", yard.b, "patch", "rmodel", "source", "--subresource=status", "--type=merge", "-p", json.dumps(status)
    )
    done = await yard.until(yard.b, "source", "Ready", "VersionReady")
    return done["status"]["versions"][0]["manifestSha256"]


@pytest.mark.usefixtures("operator")
async def test_a_version_comes_into_another_namespace_only_where_its_owner_shares_it(control_plane, yard):
    digest = await registered(yard)
    author = f"{yard.a}:author"
    yard.kubectl("-n", yard.a, "create", "serviceaccount", "author")
    verbs = "--verb=create,get,list,watch,update,patch,delete"
    yard.kubectl("-n", yard.a, "create", "role", "author", verbs, "--resource=registeredmodels.trainyard.dev")
    yard.kubectl("-n", yard.a, "create", "rolebinding", "author", "--role=author", f"--serviceaccount={author}")
    rule = {"apiGroups": [REGISTERED_MODEL.group], "resources": [REGISTERED_MODEL.plural], "verbs": ["patch"]}
    await asyncio.to_thread(await_right, control_plane, yard.a, user=user_of(yard.a, "author"), rule=rule)
    promotion = {"namespace": yard.b, "model": "source", "version": 1, "sha256": digest}

    # Rights in `a` give nothing of `b`, neither by asking for it nor by sharing it with oneself.
    with pytest.raises(DevclusterError, match="forbidden"):
        await yard.apply(yard.b, "source", who=author, sharedWith=[yard.a])
    await yard.apply(yard.a, "m", who=author, promoteFrom=promotion)
    stranger = condition(await yard.until(yard.a, "m", "Promoted", "NotShared"), "Promoted")["message"]
    await yard.apply(yard.a, "nothing", who=author, promoteFrom=promotion | {"model": "none"})
    nothing = condition(await yard.until(yard.a, "nothing", "Promoted", "NotShared"), "Promoted")["message"]
    assert nothing.replace("none", "source") == stranger
    assert f"add {yard.a} to spec.sharedWith" in stranger
    assert await yard.copied(yard.a, "m") == []

    # Once `b` shares it, whoever waits goes on by itself; another digest is still refused.
    await yard.apply(yard.a, "other", who=author, promoteFrom=promotion | {"sha256": DIGEST})
    await yard.until(yard.a, "other", "Promoted", "NotShared")
    await yard.apply(yard.b, "source", sharedWith=[yard.a])
    done = await yard.until(yard.a, "m", "Promoted", "Promoted")
    mismatch = condition(await yard.until(yard.a, "other", "Promoted", "DigestMismatch"), "Promoted")
    assert digest in mismatch["message"]
    assert await yard.copied(yard.a, "other") == []

    (entry,) = done["status"]["versions"]
    run = {"namespace": yard.b, "name": "r", "uid": UID, "attempt": 1}
    source = {"namespace": yard.b, "model": "source", "version": 1, "manifestSha256": digest}
    assert (entry["id"], entry["state"], entry["files"]) == ("m:1", "Ready", 1)
    assert entry["promotedFrom"] == {**source, "run": run}
    assert (entry["metrics"], entry["tags"], entry["sourceSha256"]) == ({"accuracy": 0.9}, {"data": "mnist"}, "ab" * 32)
    manifest = await yard.manifest(yard.a, "m", 1)
    assert manifest["promotedFrom"] == {**source, "run": {**run, "manifestSha256": entry["runManifestSha256"]}}
    assert manifest["files"] == (await yard.manifest(yard.b, "source", 1))["files"]
    assert await yard.copied(yard.a, "m") == ["1.manifest.json", "1/w"]
    await yard.has_told(yard.a, "NotShared", times=3)

    # What is not shared any more stays where it was promoted to.
    await yard.apply(yard.b, "source", sharedWith=[])
    await yard.apply(yard.a, "m", who=author, promoteFrom=promotion | {"version": 2})
    after = await yard.until(yard.a, "m", "Promoted", "NotShared")
    assert after["status"]["versions"] == done["status"]["versions"]


@pytest.mark.parametrize("after", [pytest.param(False, id="before"), pytest.param(True, id="after")])
async def test_an_import_makes_one_version_at_whichever_write_its_operator_is_killed(yard, after):
    await yard.upload("iris/a")
    await yard.upload("iris/b")
    for writes in range(1, 12):
        name = f"killed-{writes}"
        await yard.apply(yard.a, name, imports=[wish("one", "iris")])
        first = Lifetime(writes=writes, after=after)
        for lifetime in (first, Lifetime(writes=None, after=False)):
            try:
                await live(yard.client, yard.objects, lifetime, now=lambda: NOW)
            except (Killed, BaseExceptionGroup):
                assert lifetime.killed
        done = await yard.until(yard.a, name, "Imported", "Imported")
        assert [(v["version"], v["state"]) for v in done["status"]["versions"]] == [(1, "Ready")]
        assert await yard.copied(yard.a, name) == ["1.manifest.json", "1/a", "1/b"]
        yard.kubectl("-n", yard.a, "delete", "rmodel", name)
        if not first.killed:
            assert writes > 4
            return
    pytest.fail("an import takes more writes than this")
