"""Inputs from other stores and from volumes, as `prepare` brings them."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from tests.support.certificates import certificate
from trainyard_runner.inputs import _amount, _Progress
from trainyard_runner.mounted import await_secret

SOURCE = {"train.py": ""}


def tag(key):
    return hashlib.md5(key.encode()).hexdigest()


class FakeS3:
    """A bucket whose listings have `page` objects each; who signs with `access` may read it."""

    def __init__(self):
        self.objects, self.page, self.access, self.url = {}, 2, "the-key", ""
        self.requests, self.answers = [], []
        self.changed = set()

    def handler(store):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                """Keep the test's output free."""

            def do_GET(self):
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
                store.requests.append((unquote(parts.path), query, dict(self.headers)))
                if store.answers:
                    status, body, headers = store.answers.pop(0)
                    self.answer(status, body, **headers)
                elif query.get("X-Amz-Credential", "").split("/")[0] != store.access:
                    self.answer(403, b"<Error><Code>AccessDenied</Code><Message>no keys</Message></Error>")
                elif "list-type" in query:
                    self.listing(query)
                else:
                    self.object(unquote(parts.path).removeprefix("/bucket/"))

            def listing(self, query):
                keys = sorted(
                    k for k in store.objects if k.startswith(query["prefix"]) and k > query.get("start-after", "")
                )
                most = min(store.page, int(query["max-keys"]))
                items = "".join(
                    f"<Contents><Key>{escape(k)}</Key><Size>{len(store.objects[k])}</Size><ETag>&quot;{tag(k)}&quot;</ETag></Contents>"
                    for k in keys[:most]
                )
                more = "true" if len(keys) > most else "false"
                namespace = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
                body = f"<ListBucketResult {namespace}>{items}<IsTruncated>{more}</IsTruncated></ListBucketResult>"
                self.answer(200, body.encode())

            def object(self, key):
                if key in store.changed or self.headers["If-Match"] != f'"{tag(key)}"':
                    self.answer(412, b"")
                    return
                self.answer(200, store.objects[key], ETag=f'"{tag(key)}"')

            def answer(self, status, body, **headers):
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

        return Handler


@pytest.fixture
def s3(tmp_path):
    """A store that needs keys, over TLS with an authority of its own."""
    store = FakeS3()
    server = ThreadingHTTPServer(("127.0.0.1", 0), store.handler())
    server.daemon_threads = True
    store.ca_pem, context = certificate(tmp_path)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    store.url = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield store
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fetch(pod, s3):
    """Prepare a run with one input from the store, and return what is in its folder."""

    def prepare(uri="s3://bucket/set/", *, keys=True, expect=0, secret="keys", answers=(), **more):
        s3.answers += answers
        folder = pod.layout.secrets / "inputs" / "data"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca.crt").write_text(s3.ca_pem)
        if keys:
            (folder / "accessKeyId").write_text("the-key\n")
            (folder / "secretAccessKey").write_text("the-secret\n")
        source = {"uri": uri, "region": "us-east-1", "endpoint": s3.url, **({"secret": secret} if secret else {})}
        pod.serve_source(SOURCE).serve_input("data", [], s3=source, **more)
        assert pod.prepare() == expect, pod.container_log("prepare")
        root = pod.layout.inputs / "data"
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    return prepare


def test_a_folder_of_a_bucket_arrives_whole_over_many_pages(fetch, s3):
    s3.objects = {f"set/{n}.bin": bytes([n]) * n for n in range(7)} | {"set/deep/ü +&%41.bin": b"d", "setx/other": b"o"}
    s3.objects |= {"set/": b"", "set/empty/": b""}
    assert fetch() == {f"{n}.bin": bytes([n]) * n for n in range(7)} | {"deep/ü +&%41.bin": b"d"}


def test_what_a_bucket_gave_is_known_by_the_digest_of_its_listing(fetch, s3, pod):
    s3.objects = {f"set/{n}": b"x" * n for n in range(5)}
    fetch()
    (record,) = json.loads(pod.layout.run_file.read_text())["inputRecords"]
    listing = "".join(f'["{n}",{n},"{tag(f"set/{n}")}"]\n' for n in range(5))
    assert record["sha256"] == hashlib.sha256(listing.encode()).hexdigest()
    assert (record["files"], record["bytes"]) == (5, 10)


@pytest.mark.parametrize("uri", ["s3://bucket/set", "s3://bucket/set/"])
def test_a_folder_may_be_written_without_its_slash(fetch, s3, uri):
    s3.objects = {"set/a": b"a", "set/b": b"b", "set-2/c": b"c"}
    assert fetch(uri) == {"a": b"a", "b": b"b"}


def test_one_object_keeps_its_name(fetch, s3):
    s3.objects = {"set/a.bin": b"a", "set/a.bin.bak": b"b"}
    assert fetch("s3://bucket/set/a.bin") == {"a.bin": b"a"}


def test_a_whole_bucket_can_be_an_input(fetch, s3):
    s3.objects = {"a": b"a", "b/c": b"c"}
    assert fetch("s3://bucket") == s3.objects


def test_an_object_that_was_replaced_since_it_was_listed_is_not_taken(fetch, s3, pod):
    s3.objects = {"set/a": b"a", "set/b": b"b"}
    s3.changed = {"set/b"}
    assert "b" not in fetch(expect=1)
    assert "replaced since it was listed" in pod.termination()["message"]


def test_neither_keys_nor_signatures_are_in_the_log_or_the_run_file(fetch, s3, pod):
    s3.objects = {"set/a": b"a"}
    s3.answers = [(503, b"", {}), (500, b"", {})]
    fetch()
    said = pod.container_log("prepare") + pod.layout.run_file.read_text()
    assert not any(word in said for word in ("the-secret", "X-Amz-Signature"))


@pytest.mark.parametrize(
    ("answers", "reason", "words"),
    [
        pytest.param([(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>", {})], "InputFailed", ["SignatureDoesNotMatch", "Secret keys"], id="wrong keys"),
        pytest.param([(404, b"<Error><Code>NoSuchBucket</Code></Error>", {})], "InputNotFound", ["NoSuchBucket", "s3://bucket/set/"], id="no bucket"),
        pytest.param([(301, b"<Error><Code>PermanentRedirect</Code></Error>", {"x_amz_bucket_region": "eu-west-1"})], "InputFailed", ["spec.inputs[0].s3.region", "eu-west-1"], id="another region"),
        pytest.param([(200, b"<html>hello</html>", {})], "InputFailed", ["spec.inputs[0].s3.endpoint"], id="no S3 server"),
        pytest.param([(200, b"hello", {})], "InputFailed", ["spec.inputs[0].s3.endpoint"], id="no XML"),
        pytest.param([(200, b'<!DOCTYPE a [<!ENTITY b "c">]><ListBucketResult>&b;</ListBucketResult>', {})], "InputFailed", ["endpoint"], id="entities"),
        pytest.param([(200, b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", {})], "InputNotFound", ["nothing is at"], id="no end of nothing"),
        pytest.param([], "InputNotFound", ["nothing is at s3://bucket/set/"], id="nothing there"),
    ],
)  # fmt: skip
def test_what_the_store_says_is_passed_on_with_the_field(fetch, pod, answers, reason, words):
    fetch(expect=1, answers=answers)
    assert pod.termination()["reason"] == reason
    message = pod.termination()["message"]
    assert all(word in message for word in ["spec.inputs[0].s3", *words]), message


def test_a_second_run_takes_from_the_cache_what_has_not_changed(fetch, s3, pod):
    pod.layout.input_cache.mkdir()
    pod.env |= {"TRAINYARD_INPUT_CACHE_BYTES": "1000", "TRAINYARD_RUN_NAMESPACE": "team-a"}
    s3.objects = {f"set/{n}": b"x" * 100 for n in range(5)}
    fetch()
    assert "input 'data': 5 of 5 files, 0.0 of 0.0 MB" in pod.container_log("prepare")
    shutil.rmtree(pod.layout.inputs / "data")
    s3.requests.clear()
    s3.objects |= {"set/5": b"y"}
    assert fetch() == {str(n): s3.objects[f"set/{n}"] for n in range(6)}
    assert [path for path, query, _ in s3.requests if "list-type" not in query] == ["/bucket/set/5"]
    assert "input 'data': 6 of 6 files (5 from the cache), 0.0 of 0.0 MB" in pod.container_log("prepare")


def test_whoever_may_not_list_the_objects_gets_none_from_the_cache(fetch, s3, pod):
    pod.layout.input_cache.mkdir()
    pod.env |= {"TRAINYARD_INPUT_CACHE_BYTES": "1000", "TRAINYARD_RUN_NAMESPACE": "team-a"}
    s3.objects = {"set/a": b"a"}
    fetch()
    shutil.rmtree(pod.layout.inputs / "data")
    s3.access = "another-key"
    assert fetch(expect=1) == {}
    assert "AccessDenied" in pod.termination()["message"]


def test_a_bucket_that_is_not_public_wants_keys(fetch, s3, pod):
    folder = pod.layout.secrets / "inputs" / "data"
    fetch(expect=1, keys=False, secret="")
    assert "AccessDenied" in pod.termination()["message"]
    assert "spec.inputs[0].s3.secretRef" in pod.termination()["message"]
    assert folder.exists()


def test_a_secret_without_keys_is_named(fetch, pod):
    fetch(expect=1, keys=False)
    assert "the Secret keys does not exist or has no key accessKeyId" in pod.termination()["message"]


@pytest.mark.parametrize("key", ["set/../up", "set//x", "set/a\\b"])
def test_a_key_that_cannot_be_a_file_is_refused(fetch, s3, pod, key):
    s3.objects = {key: b"x"}
    assert fetch(expect=1) == {}
    assert repr(key) in pod.termination()["message"]


def test_an_input_above_its_limit_is_refused_before_anything_is_downloaded(fetch, s3, pod):
    s3.objects = {f"set/{n}": b"x" * 400 for n in range(5)}
    assert fetch(expect=1, limit=1000) == {}
    assert pod.termination()["reason"] == "InputFailed"
    assert "spec.inputs[0].sizeLimit: the input 'data' has more than" in pod.termination()["message"]
    assert {path for path, _, _ in s3.requests} == {"/bucket"}


def test_the_datastore_has_the_same_limit(pod):
    pod.serve_source(SOURCE).serve_input("data", [{"a": b"x" * 600}, {"b": b"x" * 600}], limit=1000)
    assert pod.prepare() == 1
    assert "spec.inputs[0].sizeLimit" in pod.termination()["message"]
    assert [method for method, key, _ in pod.yard.store.requests if key.startswith("data/")] == []


def test_a_folder_of_a_volume_is_looked_for_and_left_where_it_is(pod):
    (pod.layout.claims / "data" / "set").mkdir(parents=True)
    pod.serve_source(SOURCE).serve_input("data", [], claim="set")
    assert pod.prepare() == 0
    assert list((pod.layout.inputs / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "reason", "words"),
    [
        pytest.param("sets", "InputNotFound", "no folder 'sets' in the volume; at its top there is file, link, set", id="missing"),
        pytest.param("file", "InputFailed", "'file' is a file", id="a file"),
        pytest.param("link", "InputNotFound", "no folder 'link'", id="a link out of the volume"),
    ],
)  # fmt: skip
def test_a_volume_without_the_folder_is_told_with_what_it_has(pod, path, reason, words):
    root = pod.layout.claims / "data"
    (root / "set").mkdir(parents=True)
    (root / "file").write_text("")
    (root / "link").symlink_to("/etc")
    pod.serve_source(SOURCE).serve_input("data", [], claim=path)
    assert pod.prepare() == 1
    assert pod.termination()["reason"] == reason
    assert f"spec.inputs[0].pvc.path: {words}" in pod.termination()["message"] or words in pod.termination()["message"]


def test_progress_is_told_in_files_and_megabytes(pod):
    content = {f"f{n}": b"x" * 1_000_000 for n in range(12)}
    pod.serve_source(SOURCE).serve_input("data", [content])
    assert pod.prepare() == 0
    assert "input 'data': 12 of 12 files, 12 of 12 MB" in pod.container_log("prepare")


def test_little_is_told_with_its_tenths():
    progress = _Progress("a", files=3, bytes=2_500_000)
    progress.files_done, progress.bytes_done = 1, 300_000
    assert str(progress) == "input 'a': 1 of 3 files, 0.3 of 2.5 MB"


def test_a_secret_that_comes_late_is_waited_for(tmp_path):
    said = []

    def say(message):
        said.append(message)
        (tmp_path / "token").write_text("x")

    assert await_secret(tmp_path, name="late", say=say, look=0.001)
    assert said == ["there is no Secret late in the run's namespace yet"]


def test_a_secret_that_never_comes_is_not_waited_for_for_ever(tmp_path):
    (tmp_path / "..data").mkdir()
    assert not await_secret(tmp_path, name="none", say=lambda _: None, patience=0.01, look=0.001)


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 bytes"), (999, "999 bytes"), (3 << 20, "3 MiB"), (200 << 30, "200 GiB")]
)
def test_amounts_are_told_in_units_that_fit_them(size, words):
    assert _amount(size) == words
