"""Reading models: RBAC's word first, then one Ready version whose manifest is the registered one."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from tests.unit.gateway.builders import KubeObjects, person, pod_identity
from tests.unit.storage.memory import MemoryStore
from trainyard.contract import MODEL_MANIFEST_SCHEMA, canonical_json
from trainyard_operator.gateway.errors import Refusal
from trainyard_operator.gateway.model_access import (
    ALLOWED_SECONDS,
    DENIED_SECONDS,
    CachedAccessReviewer,
    KubeAccessReviewer,
)
from trainyard_operator.gateway.model_requests import ModelRequest
from trainyard_operator.gateway.models import ModelGrants
from trainyard_operator.gateway.requests import parse_grant

MODEL, OBJECT = "sklearn_mnist", "sklearn-mnist-d1cf113a"
NAMESPACE = "team-a"


class Rbac:
    """Allows what is in `allowed`: (account's namespace, account, namespace, object)."""

    def __init__(self, *allowed):
        self.allowed, self.asked = set(allowed), []

    async def may_get_model(self, identity, *, namespace, name):
        self.asked.append((identity.namespace, identity.service_account, namespace, name))
        return self.asked[-1] in self.allowed


class Models:
    def __init__(self, objects):
        self.objects = objects

    def find(self, namespace, name):
        return self.objects.get((namespace, name))


def manifest(number, files):
    entries = [
        {"path": path, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()} for path, body in files.items()
    ]
    return canonical_json({"schema": MODEL_MANIFEST_SCHEMA, "version": number, "files": entries})


def entry(number, state="Ready", **more):
    return {"version": number, "id": f"{MODEL}:{number}", "state": state, **more}


class World:
    """Versions 1 and 3 are Ready, 2 has failed, 4 is being copied; `champion` is 1."""

    def __init__(self):
        self.store = MemoryStore()
        digests = {number: self.add(number, {"model.pkl": b"%d" % number}) for number in (1, 3)}
        self.status = {
            "versions": [
                entry(1, manifestSha256=digests[1]),
                entry(2, "Failed", message="the run saved nothing at 'outputs/x'"),
                entry(3, manifestSha256=digests[3]),
                entry(4, "Pending"),
            ],
            "aliases": {"champion": {"version": 1}, "challenger": {"version": 4}},
        }
        self.models = Models({(NAMESPACE, OBJECT): {"status": self.status}})
        self.rbac = Rbac((NAMESPACE, "alice", NAMESPACE, OBJECT))
        self.grants = ModelGrants(access=self.rbac, models=self.models, store=self.store)

    def add(self, number, files):
        body = manifest(number, files)
        self.store.objects[f"models/{NAMESPACE}/{MODEL}/{number}.manifest.json"] = body
        for path, content in files.items():
            self.store.objects[f"models/{NAMESPACE}/{MODEL}/{number}/{path}"] = content
        return hashlib.sha256(body).hexdigest()

    async def ask(self, identity=None, **request):
        return await self.grants.model(identity or person(), ModelRequest(model=MODEL, **request))

    async def refuse(self, identity=None, **request):
        with pytest.raises(Refusal) as refusal:
            await self.ask(identity, **request)
        return refusal.value


@pytest.fixture
def world():
    return World()


async def test_a_reader_gets_addresses_digest_number_and_state(world):
    sha256 = world.status["versions"][2]["manifestSha256"]
    folder = f"models/{NAMESPACE}/{MODEL}"
    assert await world.ask() == {
        "namespace": NAMESPACE,
        "model": MODEL,
        "version": 3,
        "id": f"{MODEL}:3",
        "state": "Ready",
        "manifestSha256": sha256,
        "manifest": {
            "path": "3.manifest.json",
            "bytes": len(world.store.objects[f"{folder}/3.manifest.json"]),
            "url": f"https://s3/{folder}/3.manifest.json?get&expires=3600",
        },
        "files": [
            {
                "path": "model.pkl",
                "bytes": 1,
                "sha256": hashlib.sha256(b"3").hexdigest(),
                "url": f"https://s3/{folder}/3/model.pkl?get&expires=3600",
            }
        ],
        "next": None,
    }


async def test_a_version_that_is_signed_comes_with_its_signature_or_not_at_all(world):
    world.status["versions"][2]["signature"] = {"uri": "s3://b/3.sig", "keySha256": "a" * 64}
    key = f"models/{NAMESPACE}/{MODEL}/3.sig"
    assert "its signature is not in the object store any more" in (await world.refuse()).message
    world.store.objects[key] = b"bundle"
    assert (await world.ask())["signature"] == {
        "path": "3.sig",
        "bytes": 6,
        "url": f"https://s3/{key}?get&expires=3600",
    }


@pytest.mark.parametrize(
    ("request_", "version"),
    [
        pytest.param({}, 3, id="latest-is-the-latest-that-is-ready"),
        pytest.param({"number": 1}, 1, id="number"),
        pytest.param({"alias": "champion"}, 1, id="alias"),
        pytest.param({"namespace": NAMESPACE}, 3, id="own-namespace-by-name"),
    ],
)
async def test_a_version_is_named_in_several_ways(world, request_, version):
    assert (await world.ask(**request_))["version"] == version


@pytest.mark.parametrize(
    ("request_", "status", "reason", "words"),
    [
        pytest.param({"number": 2}, 409, "ModelNotReady", "is Failed (the run saved nothing at", id="failed"),
        pytest.param({"number": 4}, 409, "ModelNotReady", "is Pending: only versions that are Ready", id="pending"),
        pytest.param({"alias": "challenger"}, 409, "ModelNotReady", "is Pending", id="alias-of-a-pending-one"),
        pytest.param({"number": 9}, 404, "ModelNotFound", "no version 9; its newest are: 4, 3, 2, 1", id="no-number"),
        pytest.param({"alias": "x"}, 404, "ModelNotFound", "its aliases are: challenger, champion", id="no-alias"),
    ],
)
async def test_a_version_that_cannot_be_read_is_refused_in_words(world, request_, status, reason, words):
    refusal = await world.refuse(**request_)
    assert (refusal.status, refusal.reason, refusal.field) == (status, reason, "version")
    assert words in refusal.message


@pytest.mark.parametrize("state", ["Pending", "Failed", "Corrupted", "Archived", "Deleted"])
async def test_where_no_version_is_ready_there_is_no_latest(world, state):
    world.status["versions"] = [entry(1, state)]
    assert (await world.refuse()).reason == "ModelNotReady"
    assert (await world.refuse(number=1)).reason == "ModelNotReady"


@pytest.mark.parametrize(
    "identity",
    [
        pytest.param(person("team-b"), id="another-namespace"),
        pytest.param(replace(person(), service_account="bob"), id="another-account"),
        pytest.param(pod_identity(), id="a-runs-pod"),
    ],
)
async def test_who_has_no_right_is_refused_before_anything_is_looked_up(world, identity):
    there = await world.refuse(identity, namespace=NAMESPACE)
    world.models.objects.clear()
    gone = await world.refuse(identity, namespace=NAMESPACE)
    assert (there.status, there.reason) == (403, "Forbidden")
    assert there.document() == gone.document()
    assert f"registeredmodels of trainyard.dev with the name {OBJECT}" in there.message
    assert world.store.calls == []


async def test_a_pod_and_another_namespace_read_where_rbac_lets_them(world):
    world.rbac.allowed |= {
        (NAMESPACE, "default", NAMESPACE, OBJECT),
        ("team-b", "alice", NAMESPACE, OBJECT),
    }
    assert (await world.ask(pod_identity()))["version"] == 3
    assert (await world.ask(person("team-b"), namespace=NAMESPACE))["version"] == 3
    assert (await world.refuse(person("team-b"))).status == 403


async def test_who_may_read_a_model_is_told_that_it_is_not_there(world):
    world.models.objects.clear()
    refusal = await world.refuse()
    assert (refusal.status, refusal.reason) == (404, "ModelNotFound")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(None, "is not in the object store any more", id="gone"),
        pytest.param(b"{}", "is no model manifest", id="no-manifest"),
        pytest.param(manifest(3, {"model.pkl": b"x"}), "is not the one that was registered", id="other-bytes"),
    ],
)
async def test_a_manifest_that_is_not_the_registered_one_leads_to_no_bytes(world, body, words):
    key = f"models/{NAMESPACE}/{MODEL}/3.manifest.json"
    world.store.objects.pop(key)
    if body is not None:
        world.store.objects[key] = body
    refusal = await world.refuse(number=3)
    assert refusal.status == 409
    assert words in refusal.message


@pytest.mark.parametrize("path", ["../2/model.pkl", "/etc/passwd", "a\\b", "a/../../b"])
async def test_a_name_that_leads_out_of_the_folder_is_never_signed(world, path):
    world.status["versions"][2]["manifestSha256"] = world.add(3, {path: b"x"})
    assert "cannot be read: the name of a file" in (await world.refuse(number=3)).message


async def test_many_files_come_in_pages(world):
    names = [f"part-{n:04}" for n in range(1100)]
    world.status["versions"][2]["manifestSha256"] = world.add(3, dict.fromkeys(names, b"x"))
    seen, after, pages = [], "", 0
    while after is not None:
        page = await world.ask(number=3, after=after)
        seen += [file["path"] for file in page["files"]]
        after, pages = page["next"], pages + 1
    assert (seen, pages) == (names, 3)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param({}, {}, id="latest-without-a-word"),
        pytest.param({"version": "latest"}, {}, id="latest"),
        pytest.param({"version": 3}, {"number": 3}, id="number"),
        pytest.param({"version": "3"}, {"number": 3}, id="number-as-text"),
        pytest.param({"version": "@champion"}, {"alias": "champion"}, id="alias"),
        pytest.param({"namespace": "prod", "after": "a"}, {"namespace": "prod", "after": "a"}, id="elsewhere"),
    ],
)
def test_a_request_is_read(document, expected):
    body = canonical_json({"op": "model", "model": MODEL, **document})
    assert parse_grant(body) == ModelRequest(model=MODEL, **expected)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        pytest.param({"model": None}, "model", id="no-model"),
        pytest.param({"model": "a/b"}, "model", id="a-path"),
        pytest.param({"model": "x" * 256}, "model", id="too-long"),
        pytest.param({"namespace": "../b"}, "namespace", id="a-path-as-namespace"),
        pytest.param({"namespace": 3}, "namespace", id="a-number-as-namespace"),
        pytest.param({"version": 0}, "version", id="zero"),
        pytest.param({"version": True}, "version", id="a-boolean"),
        pytest.param({"version": "champion"}, "version", id="an-alias-without-its-mark"),
        pytest.param({"version": "@"}, "version", id="an-empty-alias"),
        pytest.param({"version": None}, "version", id="null"),
        pytest.param({"after": "../x"}, "after", id="climbing"),
        pytest.param({"after": 1}, "after", id="no-text"),
    ],
)
def test_a_request_that_is_wrong_names_its_field(document, field):
    with pytest.raises(Refusal) as refusal:
        parse_grant(canonical_json({"op": "model", "model": MODEL, **document}))
    assert (refusal.value.status, refusal.value.field) == (400, field)


async def test_the_api_server_is_asked_about_the_account_and_the_object():
    class Client(KubeObjects):
        async def create(self, kind, obj, *, namespace=None):
            self.created.append((kind.kind, obj["spec"]))
            return {"status": {"allowed": True}}

    client = Client()
    assert await KubeAccessReviewer(client).may_get_model(pod_identity(), namespace="prod", name=OBJECT)
    asked = {
        "user": "system:serviceaccount:team-a:default",
        "groups": ["system:serviceaccounts", "system:serviceaccounts:team-a", "system:authenticated"],
        "resourceAttributes": {
            "verb": "get",
            "group": "trainyard.dev",
            "version": "v1alpha1",
            "resource": "registeredmodels",
            "namespace": "prod",
            "name": OBJECT,
        },
    }
    assert client.created == [("SubjectAccessReview", asked)]


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"allowed": False}, id="no"),
        pytest.param({"allowed": "true"}, id="not-quite-yes"),
        pytest.param({"allowed": True, "denied": True}, id="both"),
    ],
)
async def test_every_other_answer_is_a_no(status):
    class Client(KubeObjects):
        async def create(self, kind, obj, *, namespace=None):
            return {"status": status}

    assert not await KubeAccessReviewer(Client()).may_get_model(person(), namespace="prod", name="m")


@pytest.mark.parametrize(
    ("allowed", "seconds"),
    [pytest.param(True, ALLOWED_SECONDS, id="yes"), pytest.param(False, DENIED_SECONDS, id="no")],
)
async def test_an_answer_is_remembered_for_seconds_and_for_that_account_and_model_alone(allowed, seconds):
    inner, now = Rbac(*([(NAMESPACE, "alice", NAMESPACE, "m")] if allowed else [])), [0.0]
    cached = CachedAccessReviewer(inner, clock=lambda: now[0])
    for moment in (0.0, seconds - 0.1):
        now[0] = moment
        assert await cached.may_get_model(person(), namespace=NAMESPACE, name="m") is allowed
    assert len(inner.asked) == 1
    now[0] = seconds + 0.1
    await cached.may_get_model(person(), namespace=NAMESPACE, name="m")
    assert len(inner.asked) == 2
    for identity, namespace, name in (
        (replace(person(), service_account="bob"), NAMESPACE, "m"),
        (person("team-b"), NAMESPACE, "m"),
        (person(), "team-b", "m"),
        (person(), NAMESPACE, "n"),
    ):
        assert not await cached.may_get_model(identity, namespace=namespace, name=name)
    assert len(inner.asked) == 6
