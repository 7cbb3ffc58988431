from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from tests.unit.gateway.builders import (
    NAMESPACE,
    OTHER_UID,
    UID,
    Board,
    Nobody,
    NoEnvironments,
    Queues,
    Reviewer,
    Runs,
    Sources,
    person,
    pod_identity,
    run_ref,
)
from tests.unit.storage.memory import MemoryStore
from trainyard.contract import CHECKPOINT_SCHEMA
from trainyard_operator.gateway.errors import Refusal, unavailable
from trainyard_operator.gateway.metrics import GatewayMetrics
from trainyard_operator.gateway.models import ModelGrants
from trainyard_operator.gateway.server import Gateway
from trainyard_operator.kube.errors import Unavailable
from trainyard_operator.storage.errors import StoreDenied, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHA = "ab" * 32
INPUT_LIMIT = 1000
POD_A, POD_B = "pod-a", "pod-b"
MNIST = {f"data/{NAMESPACE}/mnist/train.gz": b"12345", f"data/{NAMESPACE}/mnist-private/secret": b"s"}


@dataclass
class World:
    """A gateway with fakes around it; run A and run B have a pod each."""

    store: MemoryStore = field(default_factory=lambda: MemoryStore(MNIST))
    board: Board = field(default_factory=Board)
    sources: Sources = field(default_factory=lambda: Sources({"train.py": b"print(1)"}))
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    seconds: float = 0.0
    timeout: float = 60.0
    http: TestClient[Any, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.runs = Runs({"a": run_ref(), "b": run_ref(OTHER_UID, "other")})
        self.reviewer = Reviewer(
            {
                POD_A: pod_identity("a"),
                POD_B: pod_identity("b"),
                "stray": pod_identity("c"),
                "alice": person(),
                "bob": person("team-b"),
            }
        )
        self.environments = NoEnvironments()
        self.access = Nobody()
        self.gateway = Gateway(
            reviewer=self.reviewer,
            runs=self.runs,
            sources=self.sources,
            queues=Queues(),
            live=self.board,
            environments=self.environments,
            models=ModelGrants(access=self.access, models=None, store=self.store),
            store=self.store,
            metrics=GatewayMetrics(self.registry),
            clock=lambda: self.seconds,
            timeout=self.timeout,
            input_limit=INPUT_LIMIT,
        )

    async def post(self, path: str, document: Any, token: str | None = POD_A) -> tuple[int, dict[str, Any]]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        async with self.http.post(path, data=io.BytesIO(data), headers=headers) as response:
            return response.status, await response.json()

    async def grants(self, token: str | None = POD_A, **document: Any) -> tuple[int, dict[str, Any]]:
        return await self.post("/v1/grants", document, token)

    async def queue(self, name: str, token: str) -> tuple[int, dict[str, Any]]:
        async with self.http.get(f"/v1/queues/{name}", headers={"Authorization": f"Bearer {token}"}) as response:
            return response.status, await response.json()

    async def report(self, token: str | None = POD_A, **document: Any) -> tuple[int, dict[str, Any]]:
        return await self.post("/v1/report", {"state": "Running", "metrics": {}, **document}, token)

    def count(self, op: str, code: int) -> float | None:
        return self.registry.get_sample_value("trainyard_gateway_requests_total", {"op": op, "code": str(code)})


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    async with TestClient(TestServer(made.gateway.application())) as made.http:
        yield made


async def test_a_run_is_told_all_that_it_needs(world):
    status, document = await world.grants(op="run")
    key = f"runs/{NAMESPACE}/{UID}/source.tar.gz"
    body = world.store.objects[key]
    assert status == 200
    assert document == {
        "name": "mnist",
        "namespace": NAMESPACE,
        "uid": UID,
        "experiment": "default",
        "entryScript": "train.py",
        "arguments": ["--regularization", "0.8", "--data-folder", "/inputs/data"],
        "source": {
            "url": f"https://s3/{key}?get&expires=3600",
            "sha256": hashlib.sha256(body).hexdigest(),
            "bytes": len(body),
        },
        "inputs": [
            {
                "name": "data",
                "path": "/inputs/data",
                "field": "spec.inputs[0]",
                "uri": f"s3://bucket/data/{NAMESPACE}/mnist",
                "limit": INPUT_LIMIT,
            }
        ],
        "checkpoint": None,
    }
    assert b"print(1)" in gzip.decompress(body)
    assert world.board.sources == {UID: document["source"]["sha256"]}


async def test_a_pod_that_reads_a_source_is_told_the_file_and_its_text_is_kept_once(world):
    whole = run_ref(environment={"requirements": "train.py"})
    world.runs.readers["a"] = replace(whole, attempt=0)
    status, document = await world.grants(op="run")
    assert (status, document["requirements"]) == (200, "train.py")
    assert world.board.sources == {UID: document["source"]["sha256"]}
    for text in ("numpy", "another"):
        assert await world.grants(op="requirements-put", text=text) == (200, {})
    assert world.store.objects[f"runs/{NAMESPACE}/{UID}/requirements.txt"] == b"numpy"
    assert (await world.report(state="Preparing", message="fetching"))[0] == 200


async def test_the_pod_of_an_attempt_may_not_say_what_its_source_lists(world):
    status, answer = await world.grants(op="requirements-put", text="numpy")
    assert (status, answer["error"]["reason"]) == (403, "Forbidden")
    assert not [key for key in world.store.objects if key.endswith("requirements.txt")]


async def test_every_attempt_of_a_run_gets_the_source_of_the_first(world):
    _, first = await world.grants(op="run")
    world.sources.given = {"train.py": b"edited since"}
    _, second = await world.grants(op="run")
    assert second["source"] == first["source"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        pytest.param({"main.py": b""}, "spec.entryScript: 'train.py' is not in the source, which holds main.py", id="no-script"),
        pytest.param({}, "which holds no file", id="empty"),
        pytest.param({"train.py": b"", "../x": b""}, "'../x'", id="climbing-name"),
        pytest.param({"train.py": b"", "outputs": b""}, "rename it", id="in-place-of-the-outputs"),
        pytest.param({"train.py": b"", "a": b"", "a/b": b""}, "both a file 'a' and 'a/b'", id="file-and-folder"),
    ],
)  # fmt: skip
async def test_a_source_that_cannot_be_used_is_refused_and_not_frozen(world, files, said):
    world.sources.given = files
    status, answer = await world.grants(op="run")
    assert (status, answer["error"]["reason"]) == (400, "SourceInvalid")
    assert said in answer["error"]["message"]
    assert f"runs/{NAMESPACE}/{UID}/source.tar.gz" not in world.store.objects


async def test_a_refusal_of_the_source_reaches_the_pod(world):
    world.sources.given = Refusal(404, "SourceInvalid", "the ConfigMap was deleted", field="spec.source")
    error = {"reason": "SourceInvalid", "message": "the ConfigMap was deleted", "field": "spec.source"}
    assert await world.grants(op="run") == (404, {"error": error})


async def test_an_input_is_its_folder_and_no_neighbour(world):
    url = f"https://s3/data/{NAMESPACE}/mnist/train.gz?get&expires=3600"
    expected = {"files": [{"path": "train.gz", "bytes": 5, "url": url}], "next": None}
    assert await world.grants(op="input", name="data", after="") == (200, expected)


async def test_the_files_of_an_input_are_told_with_their_etags_where_the_store_has_them(world):
    world.store.etags[f"data/{NAMESPACE}/mnist/train.gz"] = '"e1"'
    _, answer = await world.grants(op="input", name="data", after="")
    assert [file["etag"] for file in answer["files"]] == ['"e1"']


async def test_an_input_of_1200_files_comes_in_three_pages(world):
    world.store.objects = {f"data/{NAMESPACE}/mnist/{n:04}": b"" for n in range(1200)}
    seen, after, pages = [], "", 0
    while after is not None:
        _, page = await world.grants(op="input", name="data", after=after)
        seen += [file["path"] for file in page["files"]]
        after, pages = page["next"], pages + 1
    assert (seen, pages) == ([f"{n:04}" for n in range(1200)], 3)


async def test_an_input_that_is_not_there_is_told_with_what_there_is(world):
    world.store.objects = {f"data/{NAMESPACE}/{n:02}/x": b"" for n in range(30)} | {f"data/{NAMESPACE}/mnist.gz": b""}
    status, answer = await world.grants(op="input", name="data", after="")
    error = answer["error"]
    assert (status, error["reason"], error["field"]) == (404, "InputNotFound", "spec.inputs[0].datastore.path")
    assert error["message"] == (
        "spec.inputs[0].datastore.path: nothing is at 'mnist' in the datastore of namespace team-a "
        "(s3://bucket/data/team-a/mnist); at its top level there is 00/, 01/, 02/, 03/, 04/, 05/, 06/, 07/, 08/, 09/. "
        "Give a path that is there, or upload the files with any S3 client to s3://bucket/data/team-a/mnist/"
    )


async def test_an_empty_datastore_is_told_as_such(world):
    world.store.objects = {}
    _, answer = await world.grants(op="input", name="data", after="")
    assert "it is empty" in answer["error"]["message"]


async def test_an_input_that_the_run_does_not_name_is_refused(world):
    status, answer = await world.grants(op="input", name="other", after="")
    assert (status, answer["error"]["field"]) == (404, "name")
    assert "it has: data" in answer["error"]["message"]


async def test_an_object_that_could_not_be_a_file_fails_the_input(world):
    world.store.objects[f"data/{NAMESPACE}/mnist/../x"] = b""
    status, answer = await world.grants(op="input", name="data", after="")
    assert (status, answer["error"]["reason"]) == (400, "InputFailed")


async def test_a_run_writes_below_its_own_folder_with_the_checksum_in_the_signature(world):
    files = [{"path": "outputs/a", "bytes": 1, "sha256": SHA}, {"path": "logs/1", "bytes": 2}]
    status, answer = await world.grants(op="put", files=files)
    root = f"https://s3/runs/{NAMESPACE}/{UID}/attempts/1/"
    assert status == 200
    assert answer["files"] == [
        {"path": "outputs/a", "url": f"{root}outputs/a?put&expires=3600", "headers": {"x-amz-checksum-sha256": SHA}},
        {"path": "logs/1", "url": f"{root}logs/1?put&expires=3600", "headers": {}},
    ]


async def test_a_run_deletes_parts_of_its_own_log(world):
    status, answer = await world.grants(op="delete", paths=["logs/train/000001.log"])
    assert status == 200
    url = f"https://s3/runs/{NAMESPACE}/{UID}/attempts/1/logs/train/000001.log?delete&expires=3600"
    assert answer == {"files": [{"path": "logs/train/000001.log", "url": url}]}


async def test_one_runs_token_opens_nothing_of_another(world):
    _, answer = await world.grants(POD_B, op="put", files=[{"path": "outputs/a", "bytes": 1}])
    assert f"/{OTHER_UID}/" in answer["files"][0]["url"]
    await world.report(POD_B, metrics={"accuracy": 1})
    assert set(world.board.reports) == {OTHER_UID}


async def test_a_report_reaches_the_board(world):
    assert await world.report(metrics={"accuracy": 0.5}, progress={"percent": 10}) == (200, {})
    report = {"state": "Running", "metrics": {"accuracy": 0.5}, "progress": {"percent": 10.0}}
    assert world.board.reports == {UID: report}


async def test_reports_in_a_loop_are_slowed_down_run_by_run(world):
    codes = [(await world.report())[0] for _ in range(22)]
    assert codes == [200] * 20 + [429] * 2
    assert (await world.report(POD_B))[0] == 200
    world.seconds += 1
    assert (await world.report())[0] == 200


async def test_a_slowed_down_caller_is_told_when_to_come_again(world):
    for _ in range(20):
        await world.report()
    headers = {"Authorization": f"Bearer {POD_A}"}
    async with world.http.post("/v1/report", data=b"{}", headers=headers) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "1")


@pytest.mark.parametrize("token", [None, "", "unknown", "two words"])
@pytest.mark.parametrize("path", ["/v1/grants", "/v1/report"])
async def test_without_a_valid_token_nothing_is_answered(world, path, token):
    status, answer = await world.post(path, {"op": "run", "state": "Running", "metrics": {}}, token)
    assert (status, answer["error"]["reason"]) == (401, "Unauthorized")
    assert world.store.calls == []
    assert world.board.reports == {}


async def test_another_scheme_than_bearer_is_refused(world):
    async with world.http.post("/v1/grants", data=b"{}", headers={"Authorization": f"Basic {POD_A}"}) as response:
        assert response.status == 401


PUT = {"files": [{"path": "outputs/a", "bytes": 1}]}


@pytest.mark.parametrize(
    ("token", "document"),
    [
        pytest.param("stray", {"op": "run"}, id="a-pod-of-no-run"),
        pytest.param("alice", {"op": "run"}, id="a-person-asks-for-a-run"),
        pytest.param("alice", {"op": "input", "name": "data"}, id="a-person-asks-for-an-input"),
        pytest.param("alice", {"op": "put", **PUT}, id="a-person-writes-outputs"),
        pytest.param(POD_A, {"op": "data-put", **PUT}, id="a-pod-writes-the-datastore"),
        pytest.param(POD_A, {"op": "list", "area": "data", "prefix": ""}, id="a-pod-lists-the-datastore"),
        pytest.param(POD_A, {"op": "put", "files": [{"path": "models/m/1/a", "bytes": 1}]}, id="a-pod-writes-a-model"),
    ],
)
async def test_what_a_caller_has_no_business_with_is_forbidden(world, token, document):
    status, answer = await world.grants(token, **document)
    assert (status, answer["error"]["reason"]) == (403, "Forbidden")
    assert world.store.calls == []


async def test_people_do_not_report(world):
    assert (await world.report("alice"))[0] == 403


async def test_people_write_into_the_datastore_of_their_namespace(world):
    files = [{"path": "mnist/a", "bytes": 1, "sha256": SHA}]
    _, of_alice = await world.grants("alice", op="data-put", files=files)
    _, of_bob = await world.grants("bob", op="data-put", files=files)
    assert of_alice["files"][0]["url"].startswith("https://s3/data/team-a/mnist/a?put")
    assert of_bob["files"][0]["url"].startswith("https://s3/data/team-b/mnist/a?put")
    assert of_alice["files"][0]["headers"] == {"x-amz-checksum-sha256": SHA}


@pytest.mark.parametrize(
    ("token", "area", "prefix", "paths"),
    [
        pytest.param("alice", "data", "", ["mnist-private/secret", "mnist/train.gz"], id="data"),
        pytest.param("alice", "data", "mnist", ["train.gz"], id="a-folder"),
        pytest.param("bob", "data", "", [], id="another-namespace"),
        pytest.param("alice", "runs", f"{UID}/outputs/", ["model.pkl"], id="a-run"),
        pytest.param("alice", "runs", OTHER_UID, [], id="a-run-that-saved-nothing"),
        pytest.param("bob", "runs", UID, [], id="a-run-of-another-namespace"),
    ],
)
async def test_people_see_what_is_in_their_namespace(world, token, area, prefix, paths):
    world.store.objects[f"runs/{NAMESPACE}/{UID}/outputs/model.pkl"] = b"m"
    world.store.objects[f"models/{NAMESPACE}/m/1/model.pkl"] = b"m"
    status, answer = await world.grants(token, op="list", area=area, prefix=prefix)
    assert (status, [file["path"] for file in answer["files"]], answer["next"]) == (200, paths, None)
    assert all(f"/{area}/{NAMESPACE}/" in file["url"] for file in answer["files"])


def breaking(error):
    async def broken(*_, **__):
        raise error

    return broken


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StoreDenied("wrong keys")], ids=["away", "denied"])
async def test_trouble_with_the_store_is_to_be_tried_again(world, monkeypatch, error):
    monkeypatch.setattr(world.store, "digest", breaking(error))
    status, answer = await world.grants(op="run")
    assert (status, answer["error"]["reason"]) == (503, "Unavailable")
    assert "object store" in answer["error"]["message"]
    assert str(error) not in answer["error"]["message"]


async def test_trouble_with_the_api_server_is_to_be_tried_again(world, monkeypatch):
    monkeypatch.setattr(world.reviewer, "review", breaking(Unavailable("away")))
    status, answer = await world.grants(op="run")
    assert (status, answer["error"]["reason"]) == (503, "Unavailable")


async def test_a_pod_that_is_not_known_yet_is_to_try_again(world, monkeypatch):
    def not_yet(_):
        raise unavailable("not yet")

    monkeypatch.setattr(world.runs, "run_of", not_yet)
    assert (await world.grants(op="run"))[0] == 503


async def test_an_error_of_the_gateway_itself_gives_nothing_away(world, monkeypatch, caplog):
    monkeypatch.setattr(world.sources, "files", breaking(RuntimeError("secret detail")))
    status, answer = await world.grants(op="run")
    assert (status, answer["error"]["reason"]) == (500, "InternalError")
    assert "secret detail" not in json.dumps(answer)
    assert "secret detail" in caplog.text


async def test_a_refusal_is_logged_with_the_pod_that_it_is_about(world, caplog):
    caplog.set_level("INFO")
    await world.grants(op="put", files=[{"path": "../x", "bytes": 1}])
    record = next(r for r in caplog.records if "refused put" in r.message or "refused grants" in r.message)
    assert record.object == {"kind": "Pod", "namespace": NAMESPACE, "name": "mnist-0b6f7d7e-x"}
    assert "files[0].path" in record.message
    assert POD_A not in caplog.text


async def test_what_takes_too_long_is_to_be_tried_again(monkeypatch):
    world = World(timeout=0.05)
    async with TestClient(TestServer(world.gateway.application())) as world.http:

        async def stuck(_):
            await asyncio.Event().wait()

        monkeypatch.setattr(world.sources, "files", stuck)
        status, answer = await world.grants(op="run")
    assert (status, answer["error"]["reason"]) == (503, "Unavailable")


@pytest.mark.parametrize(
    ("path", "size"),
    [
        pytest.param("/v1/grants", (4 << 20) + 1, id="grants"),
        pytest.param("/v1/report", (256 << 10) + 1, id="report"),
    ],
)
async def test_a_body_that_is_too_large_is_refused(world, path, size):
    status, answer = await world.post(path, b" " * size)
    assert (status, answer["error"]["reason"]) == (413, "TooLarge")


async def test_500_files_with_the_longest_names_fit_into_one_request(world):
    files = [{"path": f"outputs/{n:04}" + "é" * 506, "bytes": 1, "sha256": SHA} for n in range(500)]
    status, answer = await world.grants(op="put", files=files)
    assert (status, len(answer["files"])) == (200, 500)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe\x00"])
async def test_what_is_no_json_is_refused_as_json(world, body):
    status, answer = await world.post("/v1/grants", body)
    assert (status, answer["error"]["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/", 404, id="root"),
        pytest.param("GET", "/v1/grants", 405, id="get"),
        pytest.param("POST", "/v1/%2e%2e/metrics", 404, id="elsewhere"),
    ],
)
async def test_other_addresses_answer_in_the_same_form(world, method, path, status):
    async with world.http.request(method, path) as response:
        assert response.status == status
        assert "POST /v1/grants" in (await response.json())["error"]["message"]


async def test_requests_are_counted_by_operation_and_code(world):
    await world.grants(op="run")
    await world.grants(op="run")
    await world.grants(op="put", files=[])
    await world.grants(None, op="run")
    await world.report()
    async with world.http.get("/x"):
        pass
    got = [world.count("run", 200), world.count("grants", 400), world.count("grants", 401)]
    assert got == [2, 1, 1]
    assert [world.count("report", 200), world.count("other", 404)] == [1, 1]


async def test_a_caller_in_a_loop_does_not_keep_others_from_their_grants(world):
    codes = [(await world.grants(op="nonsense"))[0] for _ in range(101)]
    assert codes == [400] * 100 + [429]
    assert (await world.grants(POD_B, op="run"))[0] == 200


async def test_the_server_starts_on_a_free_port_and_stops(world):
    port = await world.gateway.start(host="127.0.0.1", port=0, tls=None)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 404")
    writer.close()
    await writer.wait_closed()
    await world.gateway.stop()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.parametrize(
    ("name", "token", "status"),
    [
        pytest.param("lab", "alice", 200, id="a person's own cluster"),
        pytest.param("other", "alice", 404, id="no such cluster"),
        pytest.param("lab", "bob", 404, id="a cluster of another namespace"),
        pytest.param("lab", POD_A, 403, id="a run's pod"),
        pytest.param("lab", "nobody", 401, id="no valid token"),
    ],
)
async def test_people_may_read_the_queues_of_their_own_namespace(world, name, token, status):
    code, document = await world.queue(name, token)
    assert code == status
    assert document == {"cluster": "lab", "waiting": []} if code == 200 else "error" in document
    assert world.count("queue", status) == 1


def checkpoint(*paths, slot="0a1b2c3d-1", **over):
    files = [{"path": path, "bytes": 1, "sha256": "0" * 64} for path in paths]
    return json.dumps({"schema": CHECKPOINT_SCHEMA, "slot": slot, "files": files, **over}).encode()


async def test_an_attempt_is_told_of_the_latest_whole_checkpoint_before_it(world):
    root = f"runs/{NAMESPACE}/{UID}/attempts/"
    world.runs.runs["a"] = replace(run_ref(), attempt=4)
    assert (await world.grants(op="run"))[1]["checkpoint"] is None
    world.store.objects |= {f"{root}{n}/checkpoint.json": checkpoint("state.bin") for n in (1, 2, 5)}
    world.store.objects[f"{root}3/checkpoint/0/state.bin"] = b"no record of it"
    assert (await world.grants(op="run"))[1]["checkpoint"] == 2
    # Kueue may have taken the pod of this very attempt away, and let it in again.
    world.store.objects[f"{root}4/checkpoint.json"] = checkpoint("state.bin")
    assert (await world.grants(op="run"))[1]["checkpoint"] == 4


async def test_the_files_of_a_checkpoint_are_read_page_by_page_from_the_slot_of_its_record(world):
    root = f"runs/{NAMESPACE}/{UID}/attempts/1/"
    world.runs.runs["a"] = replace(run_ref(), attempt=2)
    paths = [f"{number:04}.bin" for number in range(501)]
    world.store.objects[f"{root}checkpoint.json"] = checkpoint(*reversed(paths))
    status, first = await world.grants(op="checkpoint", attempt=1, after="")
    _, second = await world.grants(op="checkpoint", attempt=1, after=first["next"])
    assert status == 200
    assert [file["path"] for file in first["files"] + second["files"]] == paths
    assert second["next"] is None
    assert first["files"][0] == {
        "path": "0000.bin", "bytes": 1, "sha256": "0" * 64, "url": f"https://s3/{root}checkpoint/0a1b2c3d-1/0000.bin?get&expires=3600",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "attempt", "status", "said"),
    [
        pytest.param(None, 1, 404, "has left no checkpoint", id="none"),
        pytest.param(checkpoint("../../2/outputs/x"), 1, 404, "must stay inside", id="a climbing path"),
        pytest.param(checkpoint("x", slot="../.."), 1, 404, "no slot", id="a climbing slot"),
        pytest.param(b"[]", 1, 404, "is wrong", id="no record"),
        pytest.param(checkpoint("x"), 3, 400, "ask for one up to 2", id="one to come"),
        pytest.param(checkpoint("x"), "1", 400, "attempt must be a whole number", id="no number"),
    ],
)
async def test_a_checkpoint_that_is_none_is_refused(world, body, attempt, status, said):
    world.runs.runs["a"] = replace(run_ref(), attempt=2)
    if body is not None:
        world.store.objects[f"runs/{NAMESPACE}/{UID}/attempts/1/checkpoint.json"] = body
    code, answer = await world.grants(op="checkpoint", attempt=attempt, after="")
    assert code == status
    assert said in answer["error"]["message"]


GIT = {"url": "https://example.com/a.git", "secretRef": {"name": "deploy"}}


async def test_a_run_whose_code_is_in_git_is_told_where_and_may_freeze_it_once(world):
    world.runs.runs["a"] = run_ref(source={"git": GIT}, inputs=[], arguments=[])
    _, document = await world.grants(op="run")
    wanted = {"url": GIT["url"], "revision": "HEAD", "path": "", "secret": "deploy"}
    assert document["source"] == {"url": "", "sha256": "", "bytes": 0, "git": wanted}
    assert world.board.sources == {}
    _, answer = await world.grants(op="source-put", sha256=SHA, commit="c" * 40)
    (grant,) = answer["files"]
    assert f"runs/{NAMESPACE}/{UID}/source.tar.gz" in grant["url"]
    assert grant["headers"] == {"x-amz-checksum-sha256": SHA, "if-none-match": "*", "x-amz-meta-commit": "c" * 40}
    key = f"runs/{NAMESPACE}/{UID}/source.tar.gz"
    world.store.objects[key], world.store.metadata[key] = b"packed", {"commit": "c" * 40}
    _, document = await world.grants(op="run")
    assert document["source"]["commit"] == "c" * 40
    assert "git" not in document["source"]
    assert world.board.commits == {UID: "c" * 40}


async def test_a_run_whose_code_is_not_in_git_cannot_write_its_source(world):
    status, answer = await world.grants(op="source-put", sha256=SHA, commit="c" * 40)
    assert (status, answer["error"]["reason"]) == (403, "Forbidden")


async def test_a_run_is_told_of_inputs_from_elsewhere_and_gets_no_address_for_them(world):
    s3 = {"uri": "s3://bucket/a", "endpoint": "http://minio:9000", "secretRef": {"name": "keys"}}
    inputs = [
        {"name": "s3", "s3": s3, "sizeLimit": "1Ki"},
        {"name": "public", "s3": {"uri": "s3://open"}},
        {"name": "pvc", "pvc": {"claimName": "data", "path": "a/"}},
    ]
    world.runs.runs["a"] = run_ref(inputs=inputs, arguments=[])
    _, document = await world.grants(op="run")
    at = {"uri": "s3://bucket/a", "region": "us-east-1", "endpoint": "http://minio:9000", "secret": "keys"}
    assert document["inputs"] == [
        {"name": "s3", "path": "/inputs/s3", "field": "spec.inputs[0]", "uri": at["uri"], "limit": 1024, "s3": at},
        {
            "name": "public",
            "path": "/inputs/public",
            "field": "spec.inputs[1]",
            "uri": "s3://open",
            "limit": INPUT_LIMIT,
            "s3": {"uri": "s3://open", "region": "us-east-1"},
        },
        {"name": "pvc", "path": "/inputs/pvc", "field": "spec.inputs[2]", "uri": "pvc://data/a", "claim": "a"},
    ]
    for name in ("s3", "pvc"):
        status, _ = await world.grants(op="input", name=name)
        assert status == 404


async def test_people_keep_snapshots_of_their_own_namespace(world):
    files = [{"path": f"{SHA}.tar.gz", "bytes": 1, "sha256": SHA}]
    _, answer = await world.grants(token="alice", op="snapshot-put", files=files)
    (grant,) = answer["files"]
    assert f"snapshots/{NAMESPACE}/{SHA}.tar.gz" in grant["url"]
    assert grant["headers"] == {"x-amz-checksum-sha256": SHA}
    world.store.objects = {f"snapshots/{name}/{SHA}.tar.gz": b"x" for name in (NAMESPACE, "team-b")}
    _, listed = await world.grants(token="alice", op="list", area="snapshots", prefix="")
    assert [file["path"] for file in listed["files"]] == [f"{SHA}.tar.gz"]
    assert f"snapshots/{NAMESPACE}/" in listed["files"][0]["url"]
    assert (await world.grants(op="snapshot-put", files=files))[0] == 403


@pytest.mark.parametrize("token", [POD_A, "alice"])
@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({"op": "build"}, id="what to build"),
        pytest.param({"op": "build-put", "files": [{"path": "manifest.json", "bytes": 1}]}, id="where to"),
    ],
)
async def test_nobody_but_a_build_is_told_of_the_index_or_writes_packages(world, token, request_):
    status, document = await world.grants(token, **request_)
    assert status == 403
    assert document["error"]["reason"] == "Forbidden"


async def test_a_run_is_told_where_its_packages_are(world):
    pack = {"url": "https://s3/pack", "sha256": "b" * 64, "bytes": 9}

    async def found(run):
        return pack

    world.environments.pack = found
    assert (await world.grants(op="run"))[1]["environment"] == pack


async def test_what_a_build_reports_is_of_its_environment_and_of_no_run(world):
    said = []
    world.environments.build_of = lambda identity: identity.pod_uid
    world.environments.said = lambda build, words: said.append((build, words))
    document = {"state": "Preparing", "metrics": {}, "message": "installing"}
    assert (await world.post("/v1/report", document))[0] == 200
    assert said == [("a", "installing")]
    assert world.board.reports == {}


@pytest.mark.parametrize("token", [POD_A, "alice", "bob"])
async def test_models_are_for_those_whom_rbac_lets_read_them(world, token):
    status, answer = await world.grants(token, op="model", model="m", version="latest")
    assert (status, answer["error"]["reason"]) == (403, "Forbidden")
    assert world.count("model", 403) == 1.0


async def test_the_files_of_a_model_are_listed_only_for_whom_rbac_lets_get_it(world, monkeypatch):
    world.store.objects[f"models/{NAMESPACE}/m/1/model.pkl"] = b"x"
    wish = {"op": "list", "area": "models", "prefix": "m/"}
    assert (await world.grants("alice", **wish))[0] == 403

    async def may(identity, *, namespace, name):
        return (namespace, name) == (NAMESPACE, "m")

    monkeypatch.setattr(world.access, "may_get_model", may)
    status, page = await world.grants("alice", **wish)
    assert (status, [file["path"] for file in page["files"]]) == (200, ["1/model.pkl"])
    assert (await world.grants("alice", **wish | {"prefix": "other/"}))[0] == 403
    status, answer = await world.grants("alice", **wish | {"prefix": ""})
    assert (status, answer["error"]["field"]) == (400, "prefix")
