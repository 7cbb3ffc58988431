import asyncio
import base64
import hashlib
import threading
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError, NoCredentialsError, ReadTimeoutError
from botocore.stub import Stubber

from trainyard_operator.storage import store as store_module
from trainyard_operator.storage.errors import (
    BucketNotFound,
    ObjectNotFound,
    StoreDenied,
    StoreRefused,
    StoreUnavailable,
)
from trainyard_operator.storage.store import S3Store

SHA = "ab" * 32


@pytest.fixture(scope="module")
def store():
    # Made once, since boto3 takes its time; a store is bound to no event loop.
    opened = asyncio.run(open_store())
    yield opened
    opened.close()


def open_store(endpoint="http://s3.example:7070", region="us-east-1"):
    return S3Store.open(endpoint=endpoint, region=region, bucket="bucket", access_key="key", secret_key="secret")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        pytest.param("SlowDown", 503, StoreUnavailable, id="overloaded"),
        pytest.param("InternalError", 500, StoreUnavailable, id="broken-inside"),
        pytest.param("RequestTimeout", 400, StoreUnavailable, id="too-slow"),
        pytest.param("TooManyRequests", 429, StoreUnavailable, id="too-many"),
        pytest.param("ConditionalRequestConflict", 409, StoreUnavailable, id="two-writers-at-once"),
        pytest.param("AccessDenied", 403, StoreDenied, id="denied"),
        pytest.param("InvalidAccessKeyId", 403, StoreDenied, id="unknown-key"),
        pytest.param("SignatureDoesNotMatch", 403, StoreDenied, id="wrong-secret"),
        pytest.param("NoSuchBucket", 404, BucketNotFound, id="no-bucket"),
        pytest.param("NoSuchKey", 404, ObjectNotFound, id="no-object"),
        pytest.param("EntityTooLarge", 400, StoreRefused, id="too-large"),
        pytest.param("", 400, StoreRefused, id="no-code"),
    ],
)
async def test_answers_of_the_store_are_sorted_by_what_can_be_done(store, code, status, kind, monkeypatch):
    def answer(**_):
        response = {"Error": {"Code": code, "Message": "words"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(response, "CopyObject")

    monkeypatch.setattr(store._copier, "copy_object", answer)
    with pytest.raises(kind) as error:
        await store.copy("a/source", "b")
    assert type(error.value) is kind
    assert "a/source" in str(error.value)
    assert "words" in str(error.value)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        pytest.param(ReadTimeoutError(endpoint_url="http://s3"), StoreUnavailable, id="no-answer"),
        pytest.param(NoCredentialsError(), StoreDenied, id="no-keys"),
    ],
)
async def test_trouble_on_the_way_is_sorted_too(store, raised, kind, monkeypatch):
    def fail(**_):
        raise raised

    monkeypatch.setattr(store._client, "list_objects_v2", fail)
    with pytest.raises(kind):
        await store.list("a/")


@pytest.mark.parametrize(
    ("answer", "sha256"),
    [
        pytest.param({"ChecksumSHA256": base64.b64encode(b"\xab" * 32).decode()}, SHA, id="kept"),
        pytest.param(
            {"ChecksumSHA256": base64.b64encode(b"\xab" * 32).decode(), "ChecksumType": "FULL_OBJECT"}, SHA, id="whole"
        ),
        pytest.param(
            {"ChecksumSHA256": base64.b64encode(b"\xab" * 32).decode(), "ChecksumType": "COMPOSITE"}, None, id="parts"
        ),
        pytest.param({"ChecksumSHA256": base64.b64encode(b"\xab" * 32).decode() + "-2"}, None, id="parts-by-suffix"),
        pytest.param({"ChecksumSHA256": "no base64!"}, None, id="junk"),
        pytest.param({}, None, id="none"),
    ],
)
async def test_only_a_checksum_of_all_the_bytes_counts(store, answer, sha256):
    with Stubber(store._client) as stub:
        stub.add_response("head_object", {"ContentLength": 3, **answer})
        assert (await store.head("x")).sha256 == sha256


async def test_a_lost_race_is_an_answer_only_where_there_was_a_race(store):
    lost = {"service_error_code": "PreconditionFailed", "http_status_code": 412}
    with Stubber(store._client) as stub:
        stub.add_client_error("put_object", **lost)
        assert await store.put("x", b"", only_if_absent=True) is False
        stub.add_client_error("put_object", **lost)
        with pytest.raises(StoreRefused):
            await store.put("x", b"")


async def test_a_bucket_that_may_not_be_created_is_told_as_that(store):
    with Stubber(store._client) as stub:
        stub.add_client_error("head_bucket", http_status_code=404)
        stub.add_client_error("create_bucket", service_error_code="AccessDenied", http_status_code=403)
        with pytest.raises(BucketNotFound, match="may not create it"):
            await store.ensure_bucket()


async def test_a_bucket_is_created_in_its_region():
    store = await open_store(endpoint=None, region="eu-central-1")
    with Stubber(store._client) as stub:
        stub.add_client_error("head_bucket", http_status_code=404)
        place = {"Bucket": "bucket", "CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}
        stub.add_response("create_bucket", {}, place)
        await store.ensure_bucket()
        stub.assert_no_pending_responses()
    store.close()


@pytest.mark.parametrize(
    ("endpoint", "host", "path"),
    [
        pytest.param("http://s3.example:7070", "s3.example:7070", "/bucket/runs/a/x%20%25", id="a-server-of-ones-own"),
        pytest.param(None, "bucket.s3.amazonaws.com", "/runs/a/x%20%25", id="aws"),
    ],
)
async def test_an_address_is_signed_the_modern_way_for_the_place_of_the_bucket(endpoint, host, path):
    store = await open_store(endpoint=endpoint)
    address = urlsplit(store.sign_get("runs/a/x %"))
    query = parse_qs(address.query)
    assert (address.netloc, address.path) == (host, path)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["3600"]
    assert query["X-Amz-SignedHeaders"] == ["host"]
    store.close()


async def test_a_checksum_is_part_of_what_is_signed(store):
    put = store.sign_put("x", sha256=hashlib.sha256(b"x").hexdigest(), seconds=60)
    query = parse_qs(urlsplit(put.url).query)
    assert query["X-Amz-SignedHeaders"] == ["host;x-amz-checksum-sha256"]
    assert query["X-Amz-Expires"] == ["60"]
    assert put.headers == {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(b"x").digest()).decode()}


async def test_the_secret_is_in_no_address(store):
    assert "secret" not in store.sign_get("x")


async def test_a_uri_is_what_tools_for_people_understand(store):
    assert store.uri("models/a/m/1/") == "s3://bucket/models/a/m/1/"


async def test_long_copies_keep_nobody_waiting(store, monkeypatch):
    done = threading.Event()
    monkeypatch.setattr(store._copier, "copy_object", lambda **_: done.wait(30))
    copies = [asyncio.create_task(store.copy("a", f"b/{n}")) for n in range(20)]
    with Stubber(store._client) as stub:
        stub.add_response("head_object", {"ContentLength": 3})
        assert await store.head("x")
    assert not any(copy.done() for copy in copies)
    done.set()
    await asyncio.gather(*copies)


async def test_a_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(store_module, "READ_SECONDS", 0.1)
    asked = []

    async def listen(reader, writer):
        asked.append(await reader.readline())
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        store = await open_store(endpoint=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await store.get("x", limit=1)
        store.close()
    assert asked[0].startswith(b"GET /bucket/x")
