from __future__ import annotations

import asyncio
import json
import ssl

import pytest
from aiohttp import web

from trainyard_operator.api.names import EVENT, JOB, NODE, TRAINING_JOB
from trainyard_operator.kube import errors
from trainyard_operator.kube.client import KubeClient, find_one, list_all, path_of
from trainyard_operator.kube.connection import Connection


class Server:
    """An API server that answers what a test writes down, and remembers what it was asked."""

    def __init__(self):
        self.requests = []
        self.answers = []
        self.calls = []

    async def answer(self, request):
        body = await request.read()
        self.requests.append(
            (request.method, request.path_qs, dict(request.headers), json.loads(body) if body else None)
        )
        status, document, headers = self.answers.pop(0)
        if document is None:
            request.transport.close()
        text = document if isinstance(document, str) else json.dumps(document)
        return web.Response(status=status, text=text, headers=headers)

    def will(self, document, status=200, **headers):
        self.answers.append((status, document, headers))


@pytest.fixture
async def api():
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    connection = Connection(server=url, tls=ssl.create_default_context(), token=lambda: "secret")
    async with connection.open_session(seconds=60) as session:
        server.client = KubeClient(
            connection=connection, session=session, observe=lambda *call: server.calls.append(call)
        )
        yield server
    await runner.cleanup()


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "subresource", "path"),
    [
        pytest.param(NODE, None, "", "", "/api/v1/nodes", id="core, cluster-wide"),
        pytest.param(EVENT, "ns", "", "", "/api/v1/namespaces/ns/events", id="core, namespaced"),
        pytest.param(JOB, "ns", "j", "", "/apis/batch/v1/namespaces/ns/jobs/j", id="a group"),
        pytest.param(
            TRAINING_JOB,
            "ns",
            "t",
            "status",
            "/apis/trainyard.dev/v1alpha1/namespaces/ns/trainingjobs/t/status",
            id="a subresource",
        ),
        pytest.param(JOB, "a/b", "..", "", "/apis/batch/v1/namespaces/a%2Fb/jobs/..", id="names are quoted"),
    ],
)
def test_the_path_of_an_object(kind, namespace, name, subresource, path):
    assert path_of(kind, namespace=namespace, name=name, subresource=subresource) == path


async def test_every_request_carries_the_token(api):
    api.will({"metadata": {"name": "j"}})
    assert await api.client.get(JOB, "j", namespace="ns") == {"metadata": {"name": "j"}}
    assert api.requests[0][2]["Authorization"] == "Bearer secret"


async def test_a_status_is_a_merge_patch_on_the_subresource(api):
    api.will({})
    await api.client.patch_status(TRAINING_JOB, "t", {"phase": "Running", "old": None}, namespace="ns")
    method, path, headers, body = api.requests[0]
    assert (method, path) == ("PATCH", "/apis/trainyard.dev/v1alpha1/namespaces/ns/trainingjobs/t/status")
    assert headers["Content-Type"] == "application/merge-patch+json"
    assert body == {"status": {"phase": "Running", "old": None}}


async def test_an_optimistic_lock_travels_with_the_patch(api):
    api.will({})
    await api.client.patch_status(TRAINING_JOB, "t", {}, namespace="ns", resource_version="7")
    assert api.requests[0][3]["metadata"] == {"resourceVersion": "7"}


async def test_pages_are_followed_to_the_end(api):
    api.will({"metadata": {"resourceVersion": "9", "continue": "a+b/c="}, "items": [{"n": 1}]})
    api.will({"metadata": {"resourceVersion": "9"}, "items": [{"n": 2}]})
    assert await list_all(api.client, JOB, label_selector="trainyard.dev/run-uid") == [{"n": 1}, {"n": 2}]
    assert api.requests[0][1].startswith("/apis/batch/v1/jobs?limit=100&labelSelector=trainyard.dev")
    assert "continue=a%2Bb%2Fc%3D" in api.requests[1][1]


@pytest.mark.parametrize(
    ("names", "served"), [(["jobs", "jobs/status"], True), (["cronjobs"], False)], ids=["yes", "no"]
)
async def test_discovery_says_whether_a_kind_is_served(api, names, served):
    api.will({"resources": [{"name": name} for name in names]})
    assert await api.client.serves(JOB) is served
    assert api.requests[0][:2] == ("GET", "/apis/batch/v1")


async def test_a_listing_of_metadata_asks_for_nothing_else(api):
    api.will({"metadata": {}, "items": []})
    assert [page.items async for page in api.client.pages(JOB, metadata_only=True)] == [[]]
    assert api.requests[0][2]["Accept"] == "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@pytest.mark.parametrize(("items", "found"), [([{"a": 1}], {"a": 1}), ([], None)], ids=["there", "not there"])
async def test_one_object_is_found_by_a_listing(api, items, found):
    api.will({"metadata": {}, "items": items})
    assert await find_one(api.client, JOB, "j", namespace="ns") == found
    assert "fieldSelector=metadata.name%3Dj" in api.requests[0][1]


STATUS = {"kind": "Status", "reason": "Some", "message": "because"}


@pytest.mark.parametrize(
    ("code", "document", "kind"),
    [
        pytest.param(400, STATUS, errors.Invalid, id="400"),
        pytest.param(401, STATUS, errors.Forbidden, id="401"),
        pytest.param(403, STATUS, errors.Forbidden, id="403"),
        pytest.param(404, STATUS, errors.NotFound, id="404"),
        pytest.param(409, {**STATUS, "reason": "Conflict"}, errors.Conflict, id="409, changed"),
        pytest.param(409, {**STATUS, "reason": "AlreadyExists"}, errors.AlreadyExists, id="409, there already"),
        pytest.param(410, STATUS, errors.Expired, id="410"),
        pytest.param(422, STATUS, errors.Invalid, id="422"),
        pytest.param(429, STATUS, errors.Unavailable, id="429"),
        pytest.param(500, STATUS, errors.Unavailable, id="500"),
        pytest.param(503, "<html>busy</html>", errors.Unavailable, id="a proxy's page"),
        pytest.param(418, "[]", errors.ApiError, id="what nobody expects"),
    ],
)
async def test_each_refusal_is_an_error_of_its_own_type(api, code, document, kind):
    api.will(document, status=code)
    with pytest.raises(errors.ApiError) as caught:
        await api.client.get(JOB, "j", namespace="ns")
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert "get /apis/batch/v1/namespaces/ns/jobs/j" in str(caught.value)


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None)], ids=["seconds", "a date"]
)
async def test_the_server_may_say_when_to_come_again(api, header, seconds):
    api.will(STATUS, status=429, **{"Retry-After": header})
    with pytest.raises(errors.Unavailable) as caught:
        await api.client.get(JOB, "j", namespace="ns")
    assert caught.value.retry_after == seconds


async def test_an_answer_that_is_not_json_is_no_answer(api):
    api.will("<html>login</html>")
    with pytest.raises(errors.Unavailable, match="not JSON"):
        await api.client.get(JOB, "j", namespace="ns")


async def test_a_write_whose_connection_breaks_is_not_repeated(api):
    api.will(None)
    api.will({})
    with pytest.raises(errors.Unavailable):
        await api.client.create(JOB, {"metadata": {"name": "j", "namespace": "ns"}})
    assert len(api.requests) == 1


async def test_a_server_that_is_not_there_is_unavailable():
    connection = Connection(server="http://127.0.0.1:9", tls=ssl.create_default_context(), token=lambda: None)
    async with connection.open_session(seconds=60) as session:
        calls = []
        client = KubeClient(connection=connection, session=session, observe=lambda *call: calls.append(call))
        with pytest.raises(errors.Unavailable):
            await client.get(JOB, "j", namespace="ns")
    assert calls == [("get", "Job", "0")]


async def test_calls_are_counted_by_verb_kind_and_status(api):
    api.will({"metadata": {}, "items": []})
    api.will({}, status=201)
    api.will({})
    api.will(STATUS, status=409)
    await list_all(api.client, JOB)
    await api.client.create(JOB, {"metadata": {"name": "j", "namespace": "ns"}})
    await api.client.patch_status(TRAINING_JOB, "t", {}, namespace="ns")
    with pytest.raises(errors.Conflict):
        await api.client.replace(JOB, {"metadata": {"name": "j", "namespace": "ns"}})
    assert api.calls == [
        ("list", "Job", "200"),
        ("create", "Job", "201"),
        ("patch", "TrainingJob/status", "200"),
        ("update", "Job", "409"),
    ]


async def test_a_slow_server_is_given_up():
    async def never(_request):
        await asyncio.Event().wait()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", never)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    connection = Connection(server=url, tls=ssl.create_default_context(), token=lambda: None)
    async with connection.open_session(seconds=0.1) as session:
        with pytest.raises(errors.Unavailable, match="Timeout"):
            await KubeClient(connection=connection, session=session).get(JOB, "j", namespace="ns")
    await runner.cleanup()
