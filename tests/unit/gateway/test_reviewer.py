import base64
import json

import pytest

from tests.unit.gateway.builders import KubeObjects, Reviewer, person
from trainyard_operator.gateway.ports import Identity
from trainyard_operator.gateway.reviewer import CachedReviewer, KubeTokenReviewer, identity_of
from trainyard_operator.kube.errors import Unavailable

EXTRA = {
    "authentication.kubernetes.io/pod-name": ["mnist-x"],
    "authentication.kubernetes.io/pod-uid": ["u1"],
    "authentication.kubernetes.io/node-name": ["n"],
}


def status(**over):
    user = {"username": "system:serviceaccount:team-a:default", "extra": EXTRA, **over.pop("user", {})}
    return {"authenticated": True, "audiences": ["trainyard"], "user": user, **over}


def token(exp=None):
    claims = {} if exp is None else {"exp": exp}
    return "h." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".s"


def test_a_review_of_a_pods_token_names_the_pod():
    expected = Identity(namespace="team-a", service_account="default", pod_name="mnist-x", pod_uid="u1")
    assert identity_of(status()) == expected


def test_a_review_of_a_persons_token_names_no_pod():
    assert identity_of(status(user={"extra": {}})) == Identity(namespace="team-a", service_account="default")


@pytest.mark.parametrize(
    "review",
    [
        pytest.param({}, id="empty"),
        pytest.param(status(authenticated=False), id="not-authenticated"),
        pytest.param(status(authenticated="true"), id="not-quite-authenticated"),
        pytest.param(status(audiences=["https://kubernetes.default.svc"]), id="another-audience"),
        pytest.param(status(audiences=None), id="a-server-that-knows-no-audiences"),
        pytest.param(status(user={"username": "alice"}), id="no-service-account"),
        pytest.param(status(user={"username": "system:serviceaccount:team-a"}), id="half-a-name"),
        pytest.param(status(user={"username": "system:serviceaccount::x"}), id="no-namespace"),
        pytest.param(status(user={"username": "system:serviceaccount:a:b:c"}), id="three-parts"),
        pytest.param(status(user={"username": "system:node:a:b"}), id="a-node"),
    ],
)
def test_every_other_review_is_nobody(review):
    assert identity_of(review) is None


async def test_the_api_server_is_asked_for_our_audience():
    class Client(KubeObjects):
        async def create(self, kind, obj, *, namespace=None):
            self.created.append((kind.kind, obj["spec"]))
            return {"status": status()}

    client = Client()
    assert (await KubeTokenReviewer(client).review("t")).pod_uid == "u1"
    assert client.created == [("TokenReview", {"token": "t", "audiences": ["trainyard"]})]


class World:
    def __init__(self, tokens):
        self.inner, self.seconds = Reviewer(tokens), 1000.0
        self.cached = CachedReviewer(self.inner, clock=lambda: self.seconds, wall_clock=lambda: self.seconds)


@pytest.mark.parametrize(
    ("text", "identity", "kept", "asked_again"),
    [
        pytest.param(token(exp=99_999), person(), 59, 61, id="a-good-token-for-a-minute"),
        pytest.param(token(exp=1030), person(), 29, 31, id="never-beyond-its-own-end"),
        pytest.param(token(), person(), None, 0.1, id="not-at-all-without-an-end"),
        pytest.param("opaque", person(), None, 0.1, id="not-at-all-what-cannot-be-read"),
        pytest.param(token(exp=99_999), None, 4, 6, id="a-bad-token-for-seconds"),
    ],
)
async def test_a_review_is_remembered(text, identity, kept, asked_again):
    world = World({text: identity})
    assert await world.cached.review(text) == identity
    if kept is not None:
        world.seconds += kept
        assert await world.cached.review(text) == identity
        assert len(world.inner.asked) == 1
        world.seconds -= kept
    world.seconds += asked_again
    assert await world.cached.review(text) == identity
    assert len(world.inner.asked) == 2


async def test_no_token_is_kept_only_its_digest():
    world = World({token(exp=99_999): person()})
    await world.cached.review(token(exp=99_999))
    assert [len(key) for key in world.cached._known._known] == [32]
    assert token(exp=99_999) not in repr(world.cached._known._known)


@pytest.mark.parametrize("text", ["", "x" * 20_000, "tök.en.x"])
async def test_what_is_no_token_is_not_asked_about(text):
    world = World({text: person()})
    assert await world.cached.review(text) is None
    assert world.inner.asked == []


async def test_an_api_server_that_is_away_is_no_refusal():
    class Away(Reviewer):
        async def review(self, token):
            raise Unavailable("away")

    cached = CachedReviewer(Away({}))
    with pytest.raises(Unavailable):
        await cached.review(token(exp=99_999))
