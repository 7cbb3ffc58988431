"""The clients of gateway and store against servers that misbehave."""

from __future__ import annotations

import hashlib
import io
import time

import pytest

from tests.support.fake_yard import DROP, HANG, TOKEN
from trainyard.patience import Retry, TransferError, Unavailable
from trainyard.transfer import FileChanged, GatewayClient, GatewayRefused, StoreClient, StoreRefused, Upload
from trainyard.uploads import in_parallel, open_regular, put_file, put_files

QUICK = Retry(limit=60, first=0.01, most=0.05)
SHORT = Retry(limit=0.3, first=0.01, most=0.05)


@pytest.fixture
def client(yard):
    """Make clients of the gateway."""
    made = []

    def make(*, url=None, token=lambda: TOKEN, retry=QUICK, **more):
        made.append(
            GatewayClient(url or yard.gateway.url, ca_pem=yard.gateway.ca_pem, token=token, retry=retry, **more)
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def store():
    """Make clients of the store."""
    made = []

    def make(*, retry=QUICK, **more):
        made.append(StoreClient(retry=retry, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()


class Times:
    """A fault of the first so many requests."""

    def __init__(self, fault, times):
        self.fault, self.left = fault, times

    def __call__(self, *_):
        self.left -= 1
        return self.fault if self.left >= 0 else None


@pytest.mark.parametrize("fault", [408, 425, 429, 500, 502, 503, 504, DROP])
def test_the_gateway_is_asked_again_after_what_may_pass(yard, client, fault):
    yard.gateway.fault = Times(fault, 3)
    assert client().grants({"op": "put", "files": []}) == {"files": []}
    assert yard.gateway.fault.left == -1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413])
def test_a_final_answer_is_raised_at_once_with_its_words(yard, client, status):
    error = {"reason": "InputNotFound", "message": "nothing is at 'x'", "field": "spec.inputs[0].datastore.path"}
    yard.gateway.refusals["run"] = (status, error)
    with pytest.raises(GatewayRefused) as caught:
        client().run()
    refusal = caught.value
    assert {"reason": refusal.reason, "message": refusal.message, "field": refusal.field} == error
    assert refusal.status == status


def test_a_refusal_that_nobody_explains_is_still_a_refusal(yard, client):
    yard.gateway.fault = lambda *_: 404
    with pytest.raises(GatewayRefused, match="something in between") as caught:
        client().run()
    assert caught.value.reason == "Unexplained"
    assert caught.value.field is None


def test_patience_has_an_end(yard, client):
    yard.gateway.fault = lambda *_: 503
    troubles = []
    began = time.monotonic()
    with pytest.raises(Unavailable, match="503"):
        client(retry=SHORT, on_trouble=troubles.append).run()
    assert time.monotonic() - began < 60
    assert troubles


def test_a_server_that_never_answers_is_given_up_in_time(yard, client):
    yard.gateway.fault = Times(HANG, 1)
    assert client(timeout=0.3).grants({"op": "put", "files": []}) == {"files": []}


def test_nobody_at_home_is_an_outage(client):
    with pytest.raises(Unavailable):
        client(url="https://127.0.0.1:1", retry=SHORT).run()


def test_a_gateway_with_another_authority_is_not_talked_to(yard, tmp_path):
    from tests.support.fake_yard import fake_yard

    other = tmp_path / "other"
    other.mkdir()
    with fake_yard(other) as stranger:
        client = GatewayClient(stranger.gateway.url, ca_pem=yard.gateway.ca_pem, token=lambda: TOKEN, retry=SHORT)
        with pytest.raises(Unavailable, match="certificate verify failed"):
            client.run()
        assert stranger.gateway.grants == []


def test_the_token_is_read_for_every_try(yard, client):
    tokens = iter([TOKEN, TOKEN, "newer"])
    yard.gateway.fault = Times(503, 2)
    yard.gateway.token = "newer"
    assert client(token=lambda: next(tokens)).grants({"op": "put", "files": []}) == {"files": []}


def test_through_a_port_forward_certificate_and_signed_host_stay_those_of_the_url(yard, client, store):
    gateway_port, store_port = (int(url.rpartition(":")[2]) for url in (yard.gateway.url, yard.store.url))
    answer = client(url="https://gateway.test:8443", connect_to=("127.0.0.1", gateway_port)).grants(
        {"op": "put", "files": [{"path": "a", "bytes": 1}]}
    )
    url = answer["files"][0]["url"].replace(f"127.0.0.1:{store_port}", "store.test:7070")
    store(connect_to=("127.0.0.1", store_port)).upload(url, headers={}, size=1, opener=lambda: io.BytesIO(b"x"))
    assert yard.store.objects == {"a": b"x"}
    assert yard.store.hosts == {"store.test:7070"}


def test_reports_are_told_once(yard, client):
    yard.gateway.fault = Times(503, 1)
    with pytest.raises(Unavailable):
        client().report({"state": "Running", "metrics": {}})
    client().report({"state": "Running", "metrics": {"a": 1}})
    assert [report for _, report in yard.gateway.reports] == [{"state": "Running", "metrics": {"a": 1}}]


def test_pages_are_asked_for_one_after_the_other(yard, client):
    yard.gateway.inputs["data"] = [[{"path": f"p{n}", "key": f"p{n}", "bytes": 0}] for n in range(3)]
    pages = client().pages({"op": "input", "name": "data"})
    assert [[file["path"] for file in page] for page in pages] == [["p0"], ["p1"], ["p2"]]


def test_many_wishes_are_asked_in_several_requests(yard, client):
    wishes = [{"path": f"outputs/{n}", "bytes": 1} for n in range(1201)]
    assert [grant["path"] for grant in client().put_grants(wishes)] == [wish["path"] for wish in wishes]
    assert [len(request["files"]) for request in yard.gateway.grants] == [500, 500, 201]


@pytest.mark.parametrize("fault", [408, 429, 500, 503, DROP])
def test_the_store_is_asked_again_after_what_may_pass(yard, store, tmp_path, fault):
    content = b"x" * 1_000_000
    yard.store.fault = Times(fault, 2)
    store().upload(yard.store.sign("a"), headers={}, size=len(content), opener=lambda: io.BytesIO(content))
    assert yard.store.objects["a"] == content
    yard.store.fault = Times(fault, 2)
    store().download(yard.store.sign("a"), tmp_path / "a", size=len(content))
    assert (tmp_path / "a").read_bytes() == content


def test_a_store_that_never_answers_is_given_up_in_time(yard, store, tmp_path):
    yard.store.objects["a"] = b"x"
    yard.store.fault = Times(HANG, 1)
    store(timeout=0.3).download(yard.store.sign("a"), tmp_path / "a", size=1)
    yard.store.fault = Times(HANG, 1)
    store(timeout=0.3).upload(yard.store.sign("b"), headers={}, size=1, opener=lambda: io.BytesIO(b"y"))
    assert yard.store.objects["b"] == b"y"


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_a_refused_address_is_told_at_once_and_leaves_nothing_behind(yard, store, tmp_path, size):
    with pytest.raises(StoreRefused, match="403: Fault: as the test wishes") as caught:
        store().upload(f"{yard.store.url}/a", headers={}, size=size, opener=lambda: io.BytesIO(b"x" * size))
    assert caught.value.status == 403
    with pytest.raises(StoreRefused):
        store().download(f"{yard.store.url}/a", tmp_path / "a", size=1)
    assert [path for path in tmp_path.iterdir() if path.name.startswith("a")] == []


def test_an_address_that_is_none_is_not_tried_for_hours(yard, store):
    with pytest.raises(TransferError, match="cannot be used"):
        store().upload(f"{yard.store.url}/a b", headers={}, size=0, opener=io.BytesIO)


def test_content_that_is_not_what_was_signed_is_refused(yard, client, store):
    (grant,) = client().put_grants([{"path": "a", "bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}])
    with pytest.raises(StoreRefused, match="BadDigest"):
        store().upload(grant["url"], headers=grant["headers"], size=1, opener=lambda: io.BytesIO(b"y"))
    assert yard.store.objects == {}


@pytest.mark.parametrize("size", [3, 300_001])
def test_a_file_that_shrinks_while_it_is_saved_is_told(yard, store, size):
    with pytest.raises(FileChanged, match="shorter"):
        store().upload(yard.store.sign("a"), headers={}, size=size, opener=lambda: io.BytesIO(b"x" * (size - 1)))
    assert yard.store.objects == {}


def test_a_disk_that_fails_is_no_outage(yard, store, tmp_path):
    def broken():
        raise PermissionError(13, "Permission denied", "the-file")

    troubles = []
    with pytest.raises(PermissionError):
        store(on_trouble=troubles.append).upload(yard.store.sign("a"), headers={}, size=1, opener=broken)
    yard.store.objects["a"] = b"x"
    with pytest.raises(FileNotFoundError):
        store(on_trouble=troubles.append).download(yard.store.sign("a"), tmp_path / "no-folder" / "a", size=1)
    assert troubles == []


@pytest.mark.parametrize("size", [1, 3])
def test_an_object_of_another_length_is_not_taken(yard, store, tmp_path, size):
    yard.store.objects["a"] = b"xx"
    with pytest.raises(FileChanged):
        store().download(yard.store.sign("a"), tmp_path / "a", size=size)
    assert not (tmp_path / "a").exists()


def test_a_broken_download_goes_on_and_a_replaced_object_begins_anew(yard, store, tmp_path):
    old, new = b"o" * 900_000, b"n" * 900_000
    yard.store.objects["a"] = old
    yard.store.cut_after = 600_000
    store().download(yard.store.sign("a"), tmp_path / "a", size=len(old))
    assert (tmp_path / "a").read_bytes() == old
    assert ("GET", "a", 206) in yard.store.requests

    def replaced(*_):
        if yard.store.cut_after is None:
            yard.store.objects["a"] = new

    yard.store.cut_after = 600_000
    yard.store.fault = replaced
    store().download(yard.store.sign("a"), tmp_path / "a", size=len(new))
    assert (tmp_path / "a").read_bytes() == new


def test_a_connection_that_was_closed_meanwhile_costs_no_waiting(yard, client):
    asking = client(retry=Retry(limit=0))
    asking.grants({"op": "put", "files": []})
    yard.gateway.fault = Times(DROP, 1)
    # The kept connection is dropped at the next request; a fresh one is opened without counting as a failure.
    assert asking.grants({"op": "put", "files": []}) == {"files": []}


def test_connections_are_kept(yard, client, store):
    uploads = [Upload.of_bytes(f"outputs/{n}", b"x") for n in range(200)]
    put_files(uploads, gateway=client(), store=store())
    assert len(yard.store.objects) == 200
    assert len(yard.store.connections) <= 8


def test_bytes_are_counted_as_they_are_saved(yard, client, store):
    counted = []
    uploads = [Upload.of_bytes(f"f{n}", b"x" * n) for n in range(10)]
    put_files(uploads, gateway=client(), store=store(), op="data-put", on_bytes=counted.append)
    assert sum(counted) == 45
    assert yard.gateway.grants[0]["op"] == "data-put"


def test_a_long_outage_is_waited_out_with_fresh_grants(yard, client, store):
    yard.store.fault = lambda *_: 503 if len(yard.gateway.grants) < 3 else None
    put_file(Upload.of_bytes("a", b"x"), gateway=client(), store=store(retry=SHORT))
    assert yard.store.objects == {"a": b"x"}
    assert len(yard.gateway.grants) == 3


def test_a_refusal_is_believed_after_a_few_fresh_grants(yard, client, store):
    yard.store.fault = lambda *_: 403
    with pytest.raises(StoreRefused):
        put_file(Upload.of_bytes("a", b"x"), gateway=client(), store=store())
    assert len(yard.gateway.grants) == 3


def test_the_first_failure_ends_a_parallel_piece_of_work():
    done = []

    def work(number):
        if number == 3:
            raise ValueError("three")
        time.sleep(0.01)
        done.append(number)

    with pytest.raises(ValueError, match="three"):
        in_parallel(work, range(10_000), threads=4)
    assert len(done) < 1000
    assert in_parallel(lambda number: number * 2, range(100)) == [number * 2 for number in range(100)]


@pytest.mark.parametrize("attempt", [0, 1, 5, 1000])
def test_waits_grow_and_stay_below_their_bound(attempt):
    retry = Retry(first=0.25, most=15)
    waits = [retry.wait(attempt) for _ in range(200)]
    bound = min(15, 0.25 * 2 ** min(attempt, 30))
    assert 0 <= min(waits) < bound / 2 < max(waits) <= bound


def test_only_plain_files_are_opened(tmp_path):
    (tmp_path / "good").write_bytes(b"x")
    (tmp_path / "link").symlink_to("good")
    with open_regular(tmp_path / "good") as file:
        assert file.read() == b"x"
    for name in ("link", ".", "none"):
        with pytest.raises(OSError):
            open_regular(tmp_path / name)
