"""The gateway as pods and people meet it: real tokens, real reviews, real TLS, real signed addresses."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from yarl import URL

from tests.support.accounts import await_right, user_of
from trainyard.contract import MODEL_MANIFEST_SCHEMA, TOKEN_AUDIENCE, canonical_json
from trainyard.transfer import GatewayClient, GatewayRefused
from trainyard_operator.api.names import (
    ATTEMPT_LABEL,
    CONFIG_MAP,
    JOB,
    POD,
    REGISTERED_MODEL,
    SECRET,
    TRAINING_JOB,
    Kind,
    job_name,
)
from trainyard_operator.domain.environment_build import BuildSettings
from trainyard_operator.gateway.adapters import KubeSources, StoreModels, StoreRunDirectory
from trainyard_operator.gateway.environments import Environments
from trainyard_operator.gateway.metrics import GatewayMetrics
from trainyard_operator.gateway.model_access import KubeAccessReviewer
from trainyard_operator.gateway.models import ModelGrants
from trainyard_operator.gateway.reviewer import CachedReviewer, KubeTokenReviewer
from trainyard_operator.gateway.server import Gateway
from trainyard_operator.gateway.tls import load_tls
from trainyard_operator.kube.client import KubeClient, list_all
from trainyard_operator.kube.connection import from_kubeconfig
from trainyard_operator.runtime.environments import EnvironmentBook
from trainyard_operator.runtime.index import Index
from trainyard_operator.runtime.store import Store
from trainyard_operator.storage.store import S3Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from devcluster.controlplane import ControlPlane
    from tests.support.objectstore import ObjectServer

SERVICE_ACCOUNT = Kind(group="", version="v1", plural="serviceaccounts", kind="ServiceAccount")
NAMESPACE = Kind(group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False)
ROLE = Kind(group="rbac.authorization.k8s.io", version="v1", plural="roles", kind="Role")
ROLE_BINDING = Kind(group="rbac.authorization.k8s.io", version="v1", plural="rolebindings", kind="RoleBinding")
API_SERVER_AUDIENCE = "https://kubernetes.default.svc"


class Board:
    """Takes what the gateway publishes."""

    def __init__(self) -> None:
        self.reports: dict[str, Any] = {}

    def publish(self, uid: str, *, report: Any = None, **_more: Any) -> None:
        if report is not None:
            self.reports[uid] = report


class Seconds:
    """A clock that stands still until it is turned on."""

    ahead = 0.0

    def __call__(self) -> float:
        return self.ahead


@dataclass
class Yard:
    """An operator's gateway over a real API server and a real object store, in a namespace of its own."""

    control_plane: ControlPlane
    client: KubeClient
    store: Store
    objects: S3Store
    namespace: str
    board: Board
    clock: Seconds
    url: str
    ca_pem: str
    http: aiohttp.ClientSession

    async def create(self, kind: Kind, name: str, **fields: Any) -> dict[str, Any]:
        metadata = {"name": name, "namespace": self.namespace, **fields.pop("metadata", {})}
        document = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **fields}
        return await self.client.create(kind, document)

    async def sync(self) -> None:
        """Do what the watch does."""
        for kind in (TRAINING_JOB, JOB, POD, REGISTERED_MODEL):
            for obj in await list_all(self.client, kind):
                self.store.put(kind, obj)

    async def run(self, name: str, **spec: Any) -> tuple[str, str]:
        """Create a TrainingJob with its Job and its pod; return its uid and the pod's name."""
        spec = {"source": {"inline": {"train.py": f"print('{name}')"}}, **spec}
        parent = await self.create(TRAINING_JOB, name, spec=spec)
        uid = parent["metadata"]["uid"]
        pod = {"restartPolicy": "Never", "containers": [{"name": "train", "image": "none"}]}
        template = {"metadata": {"labels": {"run": name}}, "spec": pod}
        labels = {ATTEMPT_LABEL: "1"}
        metadata = {**owned_by(parent), "labels": labels}
        job = await self.create(JOB, job_name(name, uid, 1), spec={"template": template}, metadata=metadata)
        await self.create(POD, f"{job['metadata']['name']}-x", spec=pod, metadata=owned_by(job))
        await self.sync()
        return uid, f"{job['metadata']['name']}-x"

    def token(self, *, pod: str | None = None, audience: str = TOKEN_AUDIENCE, account: str = "default") -> str:
        """Ask the API server for a token, as the kubelet and `kubectl create token` do."""
        bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod}"] if pod else []
        arguments = ["create", "token", account, f"--namespace={self.namespace}", f"--audience={audience}", *bound]
        return self.control_plane.kubectl(*arguments).strip()

    async def post(self, path: str, document: dict[str, Any], token: str) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.post(self.url + path, json=document, headers=headers) as response:
            return response.status, await response.json()

    async def grants(self, token: str, **document: Any) -> tuple[int, dict[str, Any]]:
        return await self.post("/v1/grants", document, token)

    async def report(self, token: str, **metrics: float) -> tuple[int, dict[str, Any]]:
        return await self.post("/v1/report", {"state": "Running", "metrics": metrics}, token)

    async def send(self, method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None):
        """Use a signed address."""
        async with self.http.request(method, URL(url, encoded=True), data=body, headers=headers) as response:
            return response.status, await response.read()


def owned_by(owner: dict[str, Any]) -> dict[str, Any]:
    reference = {key: owner[key] for key in ("apiVersion", "kind")} | {
        key: owner["metadata"][key] for key in ("name", "uid")
    }
    return {"ownerReferences": [{**reference, "controller": True}]}


@pytest.fixture
async def yard(control_plane: ControlPlane, versitygw: ObjectServer) -> AsyncIterator[Yard]:
    connection = from_kubeconfig(control_plane.kubeconfig)
    objects = await S3Store.open(
        endpoint=versitygw.endpoint,
        region=versitygw.region,
        bucket=f"gateway-{uuid.uuid4().hex[:8]}",
        access_key=versitygw.keys.access,
        secret_key=versitygw.keys.secret,
    )
    await objects.ensure_bucket()
    async with connection.open_session() as session:
        client = KubeClient(connection=connection, session=session)
        namespace = f"gateway-{uuid.uuid4().hex[:8]}"
        store, board, clock = Store(), Board(), Seconds()
        await client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        tls = await load_tls(client, namespace=namespace, secret="tls", names=[])
        directory = StoreRunDirectory(store, clock=clock)
        book = EnvironmentBook(
            store=store,
            objects=objects,
            settings=BuildSettings(),
            trainer_image="trainer:1",
            bucket="trainyard",
            index=Index,
        )
        gateway = Gateway(
            reviewer=CachedReviewer(KubeTokenReviewer(client)),
            runs=directory,
            queues=None,
            sources=KubeSources(client),
            live=board,
            environments=Environments(directory=directory, book=book, store=objects),
            models=ModelGrants(access=KubeAccessReviewer(client), models=StoreModels(store), store=objects),
            store=objects,
            metrics=GatewayMetrics(CollectorRegistry()),
            input_limit=50 << 30,
        )
        port = await gateway.start(host="127.0.0.1", port=0, tls=tls.context)
        trust = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=tls.ca_pem))
        async with aiohttp.ClientSession(connector=trust) as http:
            made = Yard(
                control_plane=control_plane,
                client=client,
                store=store,
                objects=objects,
                namespace=namespace,
                board=board,
                clock=clock,
                url=f"https://localhost:{port}",
                ca_pem=tls.ca_pem,
                http=http,
            )
            for account in ("default", "alice"):
                await made.create(SERVICE_ACCOUNT, account)
            yield made
        await gateway.stop()
    objects.close()


async def eventually(check, *, seconds: float = 60.0):
    """Return the first answer of `check` that is not None."""
    deadline = time.monotonic() + seconds
    while (answer := await check()) is None:
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.5)
    return answer


async def test_a_pod_gets_its_run_reads_its_input_writes_its_outputs_and_reports(yard):
    uid, pod = await yard.run(
        "mnist", inputs=[{"name": "data", "datastore": {"path": "mnist"}}], parameters={"regularization": 0.8}
    )
    await yard.objects.put(f"data/{yard.namespace}/mnist/train.gz", b"images")
    token = yard.token(pod=pod)

    status, document = await yard.grants(token, op="run")
    assert (status, document["uid"], document["arguments"]) == (200, uid, ["--regularization", "0.8"])
    status, archive = await yard.send("GET", document["source"]["url"])
    assert (status, hashlib.sha256(archive).hexdigest()) == (200, document["source"]["sha256"])

    _, page = await yard.grants(token, op="input", name="data", after="")
    assert [(file["path"], file["bytes"]) for file in page["files"]] == [("train.gz", 6)]
    assert await yard.send("GET", page["files"][0]["url"]) == (200, b"images")

    body = b"model"
    file = {"path": "outputs/m ö.pkl", "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    _, granted = await yard.grants(token, op="put", files=[file])
    put = granted["files"][0]
    assert (await yard.send("PUT", put["url"], b"other", put["headers"]))[0] == 400
    assert (await yard.send("PUT", put["url"], body, put["headers"]))[0] == 200
    assert await yard.objects.get(f"runs/{yard.namespace}/{uid}/attempts/1/outputs/m ö.pkl", limit=100) == body

    assert await yard.report(token, accuracy=0.9255) == (200, {})
    assert yard.board.reports[uid]["metrics"] == {"accuracy": 0.9255}


async def test_the_source_stays_what_the_first_attempt_got(yard):
    await yard.create(CONFIG_MAP, "code", data={"train.py": "print(1)"})
    _, pod = await yard.run("mnist", source={"configMapRef": {"name": "code"}})
    token = yard.token(pod=pod)
    _, first = await yard.grants(token, op="run")
    patch = {"data": {"train.py": "print('edited')"}}
    await yard.client.patch(CONFIG_MAP, "code", patch, namespace=yard.namespace)
    _, second = await yard.grants(token, op="run")
    assert second["source"]["sha256"] == first["source"]["sha256"]


async def test_the_runners_own_client_understands_the_gateway(yard):
    uid, pod = await yard.run("mnist", inputs=[{"name": "data", "datastore": {"path": "none"}}])
    token = yard.token(pod=pod)
    client = GatewayClient(yard.url, ca_pem=yard.ca_pem, token=lambda: token)
    try:
        document = await asyncio.to_thread(client.run)
        assert document["uid"] == uid
        await asyncio.to_thread(client.report, {"state": "Running", "metrics": {"loss": "NaN"}})
        assert yard.board.reports[uid]["metrics"] == {"loss": "NaN"}
        with pytest.raises(GatewayRefused) as refusal:
            await asyncio.to_thread(client.grants, {"op": "input", "name": "data", "after": ""})
        assert refusal.value.reason == "InputNotFound"
        assert refusal.value.field == "spec.inputs[0].datastore.path"
    finally:
        client.close()


async def test_a_run_reaches_nothing_of_another_run(yard):
    uid_a, pod_a = await yard.run("run-a")
    uid_b, pod_b = await yard.run("run-b")
    token_a, token_b = yard.token(pod=pod_a), yard.token(pod=pod_b)
    _, run_b = await yard.grants(token_b, op="run")
    assert run_b["uid"] == uid_b
    await yard.objects.put(f"runs/{yard.namespace}/{uid_b}/attempts/1/outputs/secret", b"of b")

    _, run_a = await yard.grants(token_a, op="run")
    assert (run_a["uid"], uid_b in json.dumps(run_a)) == (uid_a, False)
    await yard.report(token_a, accuracy=1.0)
    assert set(yard.board.reports) == {uid_a}

    for path in (f"../{uid_b}/outputs/x", f"outputs/../../{uid_b}/outputs/x", f"/runs/{yard.namespace}/{uid_b}/x"):
        status, answer = await yard.grants(token_a, op="put", files=[{"path": path, "bytes": 1}])
        assert (status, answer["error"]["field"]) == (400, "files[0].path")
    for document in ({"op": "list", "area": "runs", "prefix": uid_b}, {"op": "list", "area": "data", "prefix": ""}):
        assert (await yard.grants(token_a, **document))[0] == 403

    _, granted = await yard.grants(token_a, op="put", files=[{"path": "outputs/x", "bytes": 1}])
    url = granted["files"][0]["url"]
    assert uid_a in url
    assert (await yard.send("PUT", url.replace(uid_a, uid_b), b"x"))[0] == 403
    assert (await yard.send("GET", run_a["source"]["url"].replace(uid_a, uid_b)))[0] == 403


async def test_no_pod_writes_models_or_the_datastore(yard):
    uid, pod = await yard.run("mnist")
    token = yard.token(pod=pod)
    for path in (f"models/{yard.namespace}/m/1/x", "models/x", "../../../models/x", "source.tar.gz", "data/x"):
        status, _ = await yard.grants(token, op="put", files=[{"path": path, "bytes": 1}])
        assert status in {400, 403}
    assert (await yard.grants(token, op="data-put", files=[{"path": "x", "bytes": 1}]))[0] == 403
    _, granted = await yard.grants(token, op="put", files=[{"path": "outputs/x", "bytes": 1}])
    url = granted["files"][0]["url"].replace(
        f"/runs/{yard.namespace}/{uid}/attempts/1/outputs/", f"/models/{yard.namespace}/m/1/"
    )
    assert (await yard.send("PUT", url, b"x"))[0] == 403


@pytest.mark.parametrize("audience", [API_SERVER_AUDIENCE, "other", "trainyard.dev"])
async def test_a_token_for_another_audience_is_refused(yard, audience):
    _, pod = await yard.run("mnist")
    status, answer = await yard.grants(yard.token(pod=pod, audience=audience), op="run")
    assert (status, answer["error"]["reason"]) == (401, "Unauthorized")


async def test_a_token_that_somebody_changed_is_refused(yard):
    _, pod = await yard.run("mnist")
    head, claims, signature = yard.token(pod=pod).split(".")
    other = yard.token().split(".")[1]
    for forged in (f"{head}.{claims}.{signature[:-8]}AAAAAAAA", f"{head}.{other}.{signature}", f"{head}.{claims}."):
        assert (await yard.grants(forged, op="run"))[0] == 401


async def test_the_token_of_a_deleted_pod_is_refused(yard):
    _, pod = await yard.run("mnist")
    token = yard.token(pod=pod)
    assert (await yard.grants(token, op="run"))[0] == 200
    known = yard.store.get(POD, yard.namespace, pod)
    yard.control_plane.kubectl("delete", "pod", pod, f"--namespace={yard.namespace}", "--grace-period=0", "--force")
    yard.store.remove(POD, known)
    # The review of a minute ago is still remembered, so this is the store's word.
    assert (await yard.grants(token, op="run"))[0] == 503
    yard.clock.ahead += 60
    assert (await yard.grants(token, op="run"))[0] == 403
    assert (await yard.report(token, accuracy=1.0))[0] == 403

    async def refused_by_the_api_server():
        return True if await KubeTokenReviewer(yard.client).review(token) is None else None

    assert await eventually(refused_by_the_api_server)


async def test_the_token_of_a_deleted_service_account_is_refused(yard):
    token = yard.token(account="alice")
    assert (await yard.grants(token, op="list", area="data", prefix=""))[0] == 200
    yard.control_plane.kubectl("delete", "serviceaccount", "alice", f"--namespace={yard.namespace}")

    async def refused_by_the_api_server():
        return True if await KubeTokenReviewer(yard.client).review(token) is None else None

    assert await eventually(refused_by_the_api_server)


async def test_a_pod_that_belongs_to_no_run_is_refused(yard):
    await yard.create(POD, "stray", spec={"containers": [{"name": "c", "image": "none"}]})
    token = yard.token(pod="stray")
    assert (await yard.grants(token, op="run"))[0] == 503
    await yard.sync()
    assert (await yard.grants(token, op="run"))[0] == 503
    yard.clock.ahead += 60
    assert (await yard.grants(token, op="run"))[0] == 403
    assert (await yard.grants(token, op="list", area="data", prefix=""))[0] == 403


async def test_a_person_uploads_and_lists_with_a_token_of_the_namespace_alone(yard):
    token = yard.token(account="alice")
    files = [{"path": f"mnist/{name}", "bytes": 3} for name in ("a.gz", "b ü.gz")]
    status, granted = await yard.grants(token, op="data-put", files=files)
    assert status == 200
    for put in granted["files"]:
        assert (await yard.send("PUT", put["url"], b"abc", put["headers"]))[0] == 200
    _, page = await yard.grants(token, op="list", area="data", prefix="mnist/")
    assert [(file["path"], file["bytes"]) for file in page["files"]] == [("a.gz", 3), ("b ü.gz", 3)]
    assert await yard.send("GET", page["files"][1]["url"]) == (200, b"abc")
    assert (await yard.grants(token, op="run"))[0] == 403


async def test_an_input_never_shows_a_neighbour_and_says_what_there_is(yard):
    _, pod = await yard.run(
        "mnist",
        inputs=[
            {"name": "whole", "datastore": {"path": ""}},
            {"name": "folder", "datastore": {"path": "mnist"}},
            {"name": "none", "datastore": {"path": "mni"}},
        ],
    )
    token = yard.token(pod=pod)
    for key in ("mnist/a", "mnist/deep/b", "mnist-private/c", "mnist.txt"):
        await yard.objects.put(f"data/{yard.namespace}/{key}", b"x")
    await yard.objects.put(f"data/{yard.namespace}-other/mnist/d", b"x")

    async def paths(name):
        _, page = await yard.grants(token, op="input", name=name, after="")
        return [file["path"] for file in page["files"]]

    assert await paths("folder") == ["a", "deep/b"]
    assert await paths("whole") == ["mnist-private/c", "mnist.txt", "mnist/a", "mnist/deep/b"]
    status, answer = await yard.grants(token, op="input", name="none", after="")
    assert (status, answer["error"]["reason"]) == (404, "InputNotFound")
    assert "there is mnist-private/, mnist.txt, mnist/" in answer["error"]["message"]


async def test_2500_inputs_come_in_pages(yard):
    _, pod = await yard.run("mnist", inputs=[{"name": "data", "datastore": {"path": "many/"}}])
    token = yard.token(pod=pod)
    names = [f"{n % 9}/{n:04}" for n in range(2500)]
    await asyncio.gather(*(yard.objects.put(f"data/{yard.namespace}/many/{name}", b"") for name in names))
    seen, after, pages = [], "", 0
    while after is not None:
        _, page = await yard.grants(token, op="input", name="data", after=after)
        seen += [file["path"] for file in page["files"]]
        after, pages = page["next"], pages + 1
    assert (seen, pages) == (sorted(names), 5)


async def register(yard: Yard, name: str, content: bytes) -> None:
    """Make version 1 of a model, as the operator leaves it, with the alias `champion` on it."""
    file = {"path": "model.bin", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = canonical_json({"schema": MODEL_MANIFEST_SCHEMA, "version": 1, "files": [file]})
    await yard.objects.put(f"models/{yard.namespace}/{name}/1/model.bin", content)
    await yard.objects.put(f"models/{yard.namespace}/{name}/1.manifest.json", manifest)
    made = await yard.create(REGISTERED_MODEL, name, spec={"modelName": name})
    version = {
        "version": 1,
        "id": f"{name}:1",
        "state": "Ready",
        "manifestSha256": hashlib.sha256(manifest).hexdigest(),
    }
    # By hand, as a status that names more than this API server's schema may know.
    yard.store.put(
        REGISTERED_MODEL, {**made, "status": {"versions": [version], "aliases": {"champion": {"version": 1}}}}
    )


async def allow(yard: Yard, name: str, *, account: str, namespace: str) -> None:
    """Let a service account get one RegisteredModel."""
    rule = {
        "apiGroups": ["trainyard.dev"],
        "resources": ["registeredmodels"],
        "resourceNames": [name],
        "verbs": ["get"],
    }
    await yard.create(ROLE, f"read-{name}", rules=[rule])
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": f"read-{name}"}
    await yard.create(ROLE_BINDING, f"read-{name}", subjects=[subject], roleRef=reference)
    user = user_of(namespace, account)
    await asyncio.to_thread(await_right, yard.control_plane, yard.namespace, user=user, rule=rule)


async def test_a_model_is_read_by_whom_rbac_lets_get_it_and_by_nobody_else(yard):
    await register(yard, "digits", b"weights")
    await register(yard, "digits-b", b"other weights")
    await allow(yard, "digits", account="alice", namespace=yard.namespace)
    alice, other = yard.token(account="alice"), yard.token(account="default")

    for version in ("latest", 1, "@champion"):
        status, answer = await yard.grants(alice, op="model", model="digits", version=version)
        assert (status, answer["id"], answer["state"]) == (200, "digits:1", "Ready")
    _, manifest = await yard.send("GET", answer["manifest"]["url"])
    assert hashlib.sha256(manifest).hexdigest() == answer["manifestSha256"]
    assert await yard.send("GET", answer["files"][0]["url"]) == (200, b"weights")

    # Its neighbour, the same model for another account, and one that nobody ever made: the same no.
    refused = [(alice, "digits-b"), (other, "digits"), (other, "nothing-of-this-name")]
    for token, model in refused:
        status, answer = await yard.grants(token, op="model", model=model)
        assert (status, answer["error"]["reason"]) == (403, "Forbidden")
    url = (await yard.grants(alice, op="model", model="digits"))[1]["files"][0]["url"]
    assert (await yard.send("GET", url.replace("/digits/", "/digits-b/")))[0] == 403


async def test_a_runs_pod_reads_no_model_unless_its_own_account_may(yard):
    await register(yard, "digits", b"weights")
    _, pod = await yard.run("mnist")
    token = yard.token(pod=pod)
    assert (await yard.grants(token, op="model", model="digits"))[0] == 403
    await allow(yard, "digits", account="default", namespace=yard.namespace)

    async def allowed():
        return (await yard.grants(token, op="model", model="digits"))[0] == 200 or None

    assert await eventually(allowed)


async def test_another_namespace_is_read_only_with_a_role_there(yard):
    elsewhere = f"{yard.namespace}-b"
    await yard.client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": elsewhere}})
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "app", "namespace": elsewhere}}
    await yard.client.create(SERVICE_ACCOUNT, account)
    token = yard.control_plane.kubectl(
        "create", "token", "app", f"--namespace={elsewhere}", f"--audience={TOKEN_AUDIENCE}"
    ).strip()
    await register(yard, "digits", b"weights")

    async def ask(model):
        return await yard.grants(token, op="model", model=model, namespace=yard.namespace)

    there, nowhere = await ask("digits"), await ask("digots")
    assert (there[0], nowhere[0]) == (403, 403)
    assert there[1]["error"]["message"].replace("digits", "digots") == nowhere[1]["error"]["message"]
    await allow(yard, "digits", account="app", namespace=elsewhere)

    async def allowed():
        return (await ask("digits"))[0] == 200 or None

    assert await eventually(allowed)
    assert (await ask("digots"))[0] == 403


async def test_the_authority_is_in_a_secret_and_the_same_for_the_next_operator(yard):
    found = await yard.client.get(SECRET, "tls", namespace=yard.namespace)
    assert set(found["data"]) == {"tls.crt", "tls.key"}
    again = await asyncio.gather(
        *(load_tls(yard.client, namespace=yard.namespace, secret="tls", names=[]) for _ in range(4))
    )
    assert {tls.ca_pem for tls in again} == {yard.ca_pem}


async def test_four_operators_that_start_at_once_agree_on_one_authority(yard):
    made = await asyncio.gather(
        *(load_tls(yard.client, namespace=yard.namespace, secret="race", names=[]) for _ in range(4))
    )
    assert len({tls.ca_pem for tls in made}) == 1


async def test_a_pod_whose_attempt_was_given_up_gets_nothing_more_and_can_reach_no_other_attempts_folder(yard):
    uid, pod = await yard.run("mnist")
    token = yard.token(pod=pod)
    wish = {"op": "put", "files": [{"path": "outputs/x", "bytes": 1}]}
    _, granted = await yard.grants(token, **wish)
    parent = await yard.client.get(TRAINING_JOB, "mnist", namespace=yard.namespace)
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "train", "image": "none"}]}}
    labels = {"labels": {ATTEMPT_LABEL: "2"}}
    await yard.create(JOB, job_name("mnist", uid, 2), spec={"template": template}, metadata=owned_by(parent) | labels)
    await yard.sync()
    status, answer = await yard.grants(token, **wish)
    assert (status, "is over" in answer["error"]["message"]) == (403, True)
    assert (await yard.report(token, loss=1.0))[0] == 403
    # An address that it still has leads to its own folder, and cannot be bent towards another one.
    url, headers = granted["files"][0]["url"], granted["files"][0]["headers"]
    assert (await yard.send("PUT", url, b"1", headers))[0] == 200
    assert (await yard.send("PUT", url.replace("/attempts/1/", "/attempts/2/"), b"1", headers))[0] == 403
    assert await yard.objects.get(f"runs/{yard.namespace}/{uid}/attempts/1/outputs/x", limit=10) == b"1"
    assert await yard.objects.head(f"runs/{yard.namespace}/{uid}/attempts/2/outputs/x") is None
