"""The storage layer against a real S3 server: what must not be believed of a fake."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import http.client
import time
import tracemalloc
import uuid
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from moto import mock_aws

from tests.support.objectstore import ObjectServer
from tests.unit.storage.builders import NAMESPACE, UID, entry, saved_run
from trainyard_operator.storage import layout
from trainyard_operator.storage.erasure import is_empty
from trainyard_operator.storage.errors import (
    BucketNotFound,
    CopyRefused,
    ObjectNotFound,
    ObjectTooLarge,
    StoreDenied,
    StoreRefused,
    StoreUnavailable,
)
from trainyard_operator.storage.model_survey import folders, look_beyond, survey
from trainyard_operator.storage.models import copy_version, read_model_manifest
from trainyard_operator.storage.probe import probe
from trainyard_operator.storage.runs import erase_run, freeze_copy, freeze_source, frozen_source
from trainyard_operator.storage.store import S3Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


# Long enough for a machine that does other things as well.
SECONDS = 60.0
OUTPUTS = {"outputs/model/a": b"a" * 1000, "outputs/model/deep/ü b+c%41": b"b", "outputs/modelx": b"x"}


async def open_store(server: ObjectServer, **over) -> S3Store:
    settings = {
        "endpoint": server.endpoint,
        "region": server.region,
        "bucket": f"test-{uuid.uuid4().hex[:12]}",
        "access_key": server.keys.access,
        "secret_key": server.keys.secret,
    }
    return await S3Store.open(**settings | over)


@pytest.fixture
async def store(versitygw: ObjectServer) -> AsyncIterator[S3Store]:
    opened = await open_store(versitygw)
    await opened.ensure_bucket()
    yield opened
    opened.close()


@pytest.fixture(params=["versitygw", "moto"])
async def either(request: pytest.FixtureRequest, versitygw: ObjectServer) -> AsyncIterator[S3Store]:
    """A real server, and moto where moto can be believed: not in conditions, checksums or signatures."""
    with contextlib.ExitStack() as stack:
        if request.param == "versitygw":
            opened = await open_store(versitygw)
        else:
            stack.enter_context(mock_aws())
            opened = await open_store(versitygw, endpoint=None, access_key="test", secret_key="test")
        await opened.ensure_bucket()
        yield opened
        opened.close()


def send(method: str, url: str, *, body: bytes | None = None, headers: dict[str, str] | None = None, key: str = ""):
    """Send one request like a pod does; `key` replaces the object in the address."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=SECONDS)
    try:
        path = key or address.path
        connection.request(method, f"{path}?{address.query}", body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


async def fill(store: S3Store, objects: dict[str, bytes]) -> None:
    await asyncio.gather(*(store.put(key, body) for key, body in objects.items()))


def copied(store: S3Store, model: str, version: int, names: list[str]):
    prefix = layout.version_prefix(NAMESPACE, model, version)
    return asyncio.gather(*(store.get(prefix + name, limit=10_000) for name in names))


async def test_an_object_comes_back_with_the_checksum_that_it_was_sent_with(store):
    body = b"hello"
    assert await store.put("data/team-a/x", body) is True
    info = await store.head("data/team-a/x")
    assert (info.bytes, info.sha256) == (5, hashlib.sha256(body).hexdigest())
    assert await store.get("data/team-a/x", limit=5) == body
    assert await store.digest("data/team-a/x") == info


async def test_a_large_object_is_read_again_without_being_held_in_memory(store):
    body = bytes(range(256)) * (48 << 12)  # 48 MiB
    await store.put("large", body)
    tracemalloc.start()
    try:
        info = await store.reread("large")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (info.bytes, info.sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert peak < 8 << 20
    with pytest.raises(ObjectNotFound):
        await store.reread("none")


async def test_what_is_not_there_is_none(either):
    assert await either.get("data/team-a/none", limit=5) is None
    assert await either.head("data/team-a/none") is None
    with pytest.raises(ObjectNotFound):
        await either.digest("data/team-a/none")
    with pytest.raises(ObjectNotFound):
        await either.copy("data/team-a/none", "data/team-a/copy")


async def test_an_object_larger_than_the_limit_is_not_read(either):
    await either.put("x", b"123456")
    with pytest.raises(ObjectTooLarge):
        await either.get("x", limit=5)


async def test_an_object_below_an_object_is_refused_for_good(store):
    await store.put("a", b"1")
    with pytest.raises(StoreRefused):
        await store.put("a/b", b"1")


async def test_a_bucket_is_made_once(either):
    await asyncio.gather(*(either.ensure_bucket() for _ in range(4)))


async def test_a_bucket_that_is_missing_is_told_apart_from_an_object_that_is(versitygw):
    other = await open_store(versitygw)
    with pytest.raises(BucketNotFound):
        await other.get("x", limit=1)
    other.close()


async def test_wrong_keys_are_denied(versitygw):
    other = await open_store(versitygw, secret_key="wrong")
    with pytest.raises(StoreDenied):
        await other.get("x", limit=1)
    other.close()


async def test_a_server_that_is_away_is_unavailable(versitygw):
    other = await open_store(versitygw, endpoint="http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable):
        await other.get("x", limit=1)
    other.close()


async def test_of_sixteen_writers_one_wins_and_all_see_its_bytes(store):
    for key in (f"races/{n}" for n in range(8)):
        bodies = [f"writer {n}".encode() for n in range(16)]
        won = await asyncio.gather(*(store.put(key, body, only_if_absent=True) for body in bodies))
        assert won.count(True) == 1
        assert await store.get(key, limit=100) == bodies[won.index(True)]


async def test_of_sixteen_pods_each_gets_the_same_source(store):
    sources = [{"train.py": f"attempt {n}".encode()} for n in range(16)]
    frozen = await asyncio.gather(*(freeze_source(store, NAMESPACE, UID, source) for source in sources))
    assert len(set(frozen)) == 1
    body = await store.get(frozen[0].key, limit=10_000)
    assert (hashlib.sha256(body).hexdigest(), len(body)) == (frozen[0].sha256, frozen[0].bytes)


async def test_a_signed_address_reads_its_object_and_no_other(store):
    await fill(store, {"runs/a/1/x": b"mine", "runs/a/2/x": b"yours"})
    url = store.sign_get("runs/a/1/x")
    bucket = urlsplit(url).path.split("/")[1]
    assert send("GET", url) == (200, b"mine")
    assert send("GET", url, key=f"/{bucket}/runs/a/2/x")[0] == 403
    assert send("GET", url, key=f"/{bucket}/runs/a/1/../2/x")[0] in {400, 403}
    assert send("PUT", url, body=b"other")[0] == 403
    assert send("DELETE", url)[0] == 403


async def test_a_signed_address_writes_its_object_and_no_other(store):
    put = store.sign_put("runs/a/1/outputs/x")
    bucket = urlsplit(put.url).path.split("/")[1]
    assert send("PUT", put.url, body=b"x", headers=put.headers)[0] == 200
    assert send("PUT", put.url, body=b"x", key=f"/{bucket}/models/a/m/1/x")[0] == 403
    assert send("PUT", put.url, body=b"x", key=f"/{bucket}/runs/a/2/outputs/x")[0] == 403
    assert send("GET", put.url)[0] == 403
    assert await store.get("runs/a/1/outputs/x", limit=10) == b"x"


async def test_an_address_deletes_its_object_and_no_other(store):
    await store.put("runs/a/1/logs/train/1", b"mine")
    await store.put("runs/a/2/logs/train/1", b"theirs")
    url = store.sign_delete("runs/a/1/logs/train/1")
    bucket = urlsplit(url).path.split("/")[1]
    assert send("DELETE", url, key=f"/{bucket}/runs/a/2/logs/train/1")[0] == 403
    assert send("GET", url)[0] == 403
    assert send("DELETE", url)[0] == 204
    assert await store.get("runs/a/1/logs/train/1", limit=10) is None
    assert await store.get("runs/a/2/logs/train/1", limit=10) == b"theirs"


async def test_an_address_ends_with_its_time(store):
    await store.put("x", b"x")
    # Times of signatures are whole seconds: what is signed first ends first.
    put, get, longer = (
        store.sign_put("x", seconds=1), store.sign_get("x", seconds=1), store.sign_get("x", seconds=3600)
    )  # fmt: skip
    async with asyncio.timeout(SECONDS):
        while send("GET", get)[0] == 200:  # noqa: ASYNC110 - the server's clock brings it about
            await asyncio.sleep(0.2)
    assert send("GET", get)[0] == 403
    assert send("PUT", put.url, body=b"late")[0] == 403
    assert send("GET", longer)[0] == 200
    assert await store.get("x", limit=10) == b"x"


async def test_with_a_signed_checksum_the_store_takes_these_bytes_only(store):
    body = b"the model"
    put = store.sign_put("runs/a/1/outputs/x", sha256=hashlib.sha256(body).hexdigest())
    assert put.headers == {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(body).digest()).decode()}
    assert send("PUT", put.url, body=b"other", headers=put.headers)[0] == 400
    other = {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(b"other").digest()).decode()}
    assert send("PUT", put.url, body=b"other", headers=other)[0] == 403
    assert send("PUT", put.url, body=body)[0] == 403
    assert await store.head("runs/a/1/outputs/x") is None
    assert send("PUT", put.url, body=body, headers=put.headers)[0] == 200
    assert (await store.head("runs/a/1/outputs/x")).sha256 == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("name", ["%2e%2e/x", "ü/ö", "a b+c", "a&b=c?d#e", "x'\"<>", "日本語", "..x/x..", "a:b@c;d,e"])
async def test_odd_names_stay_the_names_that_they_are(store, name):
    key = f"runs/a/1/outputs/{name}"
    put = store.sign_put(key)
    assert send("PUT", put.url, body=b"odd")[0] == 200
    assert [info.key for info in (await store.list("runs/a/1/")).objects] == [key]
    assert send("GET", store.sign_get(key)) == (200, b"odd")
    await store.copy(key, f"models/a/m/1/{name}")
    assert await store.get(f"models/a/m/1/{name}", limit=10) == b"odd"


async def test_a_copy_keeps_the_checksum(store):
    await store.put("a", b"bytes")
    await store.copy("a", "b")
    assert (await store.head("b")).sha256 == hashlib.sha256(b"bytes").hexdigest()


async def test_an_object_sent_without_a_checksum_is_read_and_hashed(store):
    put = store.sign_put("x")
    body = b"y" * 3_000_000
    assert send("PUT", put.url, body=body)[0] == 200
    assert (await store.head("x")).sha256 is None
    info = await store.digest("x")
    assert (info.bytes, info.sha256) == (len(body), hashlib.sha256(body).hexdigest())


async def test_the_checksum_of_an_object_sent_in_parts_is_not_taken_for_that_of_its_bytes(store):
    client, where = store._client, {"Bucket": store._bucket, "Key": "x"}
    upload = client.create_multipart_upload(**where, ChecksumAlgorithm="SHA256", ChecksumType="COMPOSITE")["UploadId"]
    parts, bodies = [], [b"a" * (5 << 20), b"b"]
    for number, body in enumerate(bodies, start=1):
        checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        done = client.upload_part(**where, UploadId=upload, PartNumber=number, Body=body, ChecksumSHA256=checksum)
        parts.append({"PartNumber": number, "ETag": done["ETag"], "ChecksumSHA256": checksum})
    client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    assert (await store.head("x")).sha256 is None
    assert (await store.digest("x")).sha256 == hashlib.sha256(b"".join(bodies)).hexdigest()


async def test_a_server_that_comes_back_is_used_again(tmp_path):
    with ObjectServer(folder=tmp_path) as server:
        store = await open_store(server)
        await store.ensure_bucket()
        await store.put("x", b"before")
        server.stop()
        with pytest.raises(StoreUnavailable):
            await store.put("x", b"while away")
        server.start()
        assert await store.get("x", limit=10) == b"before"
        store.close()


async def test_a_listing_never_shows_a_neighbour(either):
    await fill(either, {"data/a/m/1": b"", "data/a/m-private/1": b"", "data/a/m.txt": b"", "data/ab/m/1": b""})
    assert [o.key for o in (await either.list("data/a/m/")).objects] == ["data/a/m/1"]
    page = await either.list("data/a/", delimiter="/")
    assert page.folders == ("data/a/m-private/", "data/a/m/")
    assert [o.key for o in page.objects] == ["data/a/m.txt"]


async def test_2500_objects_are_listed_in_pages(either):
    keys = sorted((f"data/a/{n % 7}/{n:04}" for n in range(2500)), key=str.encode)
    await fill(either, dict.fromkeys(keys, b""))
    seen, after, pages = [], "", 0
    while True:
        page = await either.list("data/a/", after=after, limit=500)
        seen += [info.key for info in page.objects]
        pages += 1
        if not page.more:
            break
        after = seen[-1]
    assert (seen, pages) == (keys, 5)


async def test_a_version_made_twice_is_the_same_bytes(either):
    await fill(either, saved_run(OUTPUTS))
    await copy_version(either, NAMESPACE, "m", 1, entry("outputs/model"))
    key = layout.model_manifest_key(NAMESPACE, "m", 1)
    first = await either.get(key, limit=10_000)
    await copy_version(either, NAMESPACE, "m", 1, entry("outputs/model"))
    assert await either.get(key, limit=10_000) == first
    assert await copied(either, "m", 1, ["a", "deep/ü b+c%41", "x"]) == [b"a" * 1000, b"b", None]


async def test_a_version_cut_short_before_its_manifest_is_finished(store, monkeypatch):
    await fill(store, saved_run(OUTPUTS))
    put, copy, copies = store.put, store.copy, []

    async def killed(*_, **__):
        raise StoreUnavailable("killed here")

    async def counted(source, target):
        copies.append(target)
        await copy(source, target)

    monkeypatch.setattr(store, "put", killed)
    with pytest.raises(StoreUnavailable):
        await copy_version(store, NAMESPACE, "m", 1, entry("outputs/model"))
    assert await read_model_manifest(store, NAMESPACE, "m", 1) is None
    monkeypatch.setattr(store, "put", put)
    monkeypatch.setattr(store, "copy", counted)
    await copy_version(store, NAMESPACE, "m", 1, entry("outputs/model"))
    manifest, _ = await read_model_manifest(store, NAMESPACE, "m", 1)
    assert [file["path"] for file in manifest["files"]] == ["a", "deep/ü b+c%41"]
    assert copies == []


async def test_eight_operators_at_once_make_one_version(store):
    await fill(store, saved_run(OUTPUTS))
    await asyncio.gather(*(copy_version(store, NAMESPACE, "m", 1, entry("outputs")) for _ in range(8)))
    manifest, _ = await read_model_manifest(store, NAMESPACE, "m", 1)
    assert len(manifest["files"]) == 3


async def test_bytes_that_changed_after_the_run_never_become_a_version(either):
    await fill(either, saved_run(OUTPUTS) | {f"runs/{NAMESPACE}/{UID}/attempts/1/outputs/modelx": b"X"})
    with pytest.raises(CopyRefused, match="changed after the run"):
        await copy_version(either, NAMESPACE, "m", 1, entry("outputs/modelx"))
    assert await read_model_manifest(either, NAMESPACE, "m", 1) is None


async def test_signing_500_addresses_leaves_the_event_loop_free(store):
    def sign():
        return [store.sign_put(f"runs/a/1/outputs/{n}", sha256="ab" * 32).url for n in range(500)]

    longest, done = 0.0, asyncio.Event()
    clock = time.process_time  # that other processes had the processor says nothing of the loop

    async def watch():
        nonlocal longest
        while not done.is_set():
            before = clock()
            await asyncio.sleep(0)
            longest = max(longest, clock() - before)

    watcher = asyncio.create_task(watch())
    began = clock()
    assert len(set(await asyncio.to_thread(sign))) == 500
    took = clock() - began
    done.set()
    await watcher
    assert longest < took / 2


async def test_a_run_is_deleted_page_by_page_and_its_neighbours_stay(either):
    mine = {f"runs/{NAMESPACE}/erased/attempts/1/outputs/{n:04} ü": b"x" for n in range(1001)}
    neighbours = {f"runs/{NAMESPACE}/erased-too/x": b"", f"runs/{NAMESPACE}/erase/x": b""}
    await fill(either, mine | neighbours)
    await erase_run(either, NAMESPACE, "erased")
    assert await is_empty(either, f"runs/{NAMESPACE}/erased/")
    await erase_run(either, NAMESPACE, "erased")
    assert [await either.head(key) is not None for key in neighbours] == [True, True]


async def test_a_signed_address_can_be_good_for_one_object_and_what_it_says_of_itself_goes_with_a_copy(store):
    key, body, commit = layout.source_key(NAMESPACE, UID), b"packed", "c" * 40
    signed = store.sign_put(key, sha256=hashlib.sha256(body).hexdigest(), once=True, metadata={"commit": commit})
    without = {name: value for name, value in signed.headers.items() if name != "if-none-match"}
    assert send("PUT", signed.url, body=body, headers=without)[0] == 403
    assert send("PUT", signed.url, body=body, headers={**signed.headers, "x-amz-meta-commit": "d" * 40})[0] == 403
    assert send("PUT", signed.url, body=body, headers=signed.headers)[0] == 200
    assert send("PUT", signed.url, body=body, headers=signed.headers)[0] == 412
    frozen = await frozen_source(store, NAMESPACE, UID)
    assert (frozen.sha256, frozen.commit) == (hashlib.sha256(body).hexdigest(), commit)
    copy = await freeze_copy(store, NAMESPACE, "another", origin=key)
    assert (copy.sha256, copy.bytes, copy.commit) == (frozen.sha256, frozen.bytes, commit)


async def test_numbers_are_found_among_those_that_sort_before_and_behind_them(either):
    root = f"models/{NAMESPACE}/m/"
    names = [f"{n}.manifest.json" for n in range(1, 24)] + [f"{n}/m.pkl" for n in range(1, 24)]
    await fill(either, {root + name: b"{}" for name in [*names, "archive/x.json", "29/half"]})
    assert await folders(either, f"models/{NAMESPACE}/") == ["m"]
    assert (await survey(either, NAMESPACE, "m")).all == {*range(1, 24), 29}
    for known, used in [(5, 29), (9, 29), (23, 29), (28, 29), (29, 0), (0, 29)]:
        assert (await look_beyond(either, NAMESPACE, "m", known)).used == used


async def test_a_server_that_keeps_its_word_about_conditions_is_trusted(store):
    assert (await probe(store)).good
    assert (await store.list("probes/")).objects == ()
