import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.gateway.builders import UID
from trainyard_operator.gateway.errors import Refusal
from trainyard_operator.gateway.requests import (
    DataPutRequest,
    DeleteRequest,
    InputRequest,
    ListRequest,
    PutFile,
    PutRequest,
    RanRequest,
    RequirementsPutRequest,
    RunRequest,
    SnapshotPutRequest,
    SourcePutRequest,
    parse_grant,
    parse_report,
)

SHA = "ab" * 32


def put(path, **over):
    return {"op": "put", "files": [{"path": path, "bytes": 1, **over}]}


def encode(document):
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("document", "request_"),
    [
        pytest.param({"op": "run"}, RunRequest(), id="run"),
        pytest.param({"op": "ran"}, RanRequest(), id="ran"),
        pytest.param({"op": "requirements-put", "text": "a\n"}, RequirementsPutRequest(text="a\n"), id="requirements"),
        pytest.param({"op": "input", "name": "data"}, InputRequest(name="data", after=""), id="input"),
        pytest.param({"op": "input", "name": "d", "after": "a/b"}, InputRequest(name="d", after="a/b"), id="next-page"),
        pytest.param(put("outputs/a"), PutRequest(files=(PutFile(path="outputs/a", sha256=None),)), id="put"),
        pytest.param(
            put("logs/0001.txt", sha256=SHA), PutRequest(files=(PutFile(path="logs/0001.txt", sha256=SHA),)), id="log"
        ),
        pytest.param(put("manifest.json"), PutRequest(files=(PutFile(path="manifest.json", sha256=None),)), id="last"),
        pytest.param(put("metrics.jsonl"), PutRequest(files=(PutFile(path="metrics.jsonl", sha256=None),)), id="hist"),
        pytest.param(
            {"op": "delete", "paths": ["logs/train/000001.log"]},
            DeleteRequest(paths=("logs/train/000001.log",)),
            id="delete",
        ),
        pytest.param(
            {**put("mnist/a.gz"), "op": "data-put"},
            DataPutRequest(files=(PutFile(path="mnist/a.gz", sha256=None),)),
            id="data-put",
        ),
        pytest.param(
            {"op": "snapshot-put", "files": [{"path": f"{SHA}.tar.gz", "bytes": 1, "sha256": SHA}]},
            SnapshotPutRequest(files=(PutFile(path=f"{SHA}.tar.gz", sha256=SHA),)),
            id="snapshot-put",
        ),
        pytest.param(
            {"op": "source-put", "sha256": SHA, "commit": "c" * 40},
            SourcePutRequest(sha256=SHA, commit="c" * 40),
            id="source-put",
        ),
        pytest.param(
            {"op": "list", "area": "snapshots", "prefix": ""},
            ListRequest(area="snapshots", prefix="", after=""),
            id="list-snapshots",
        ),
        pytest.param(
            {"op": "list", "area": "data", "prefix": ""}, ListRequest(area="data", prefix="", after=""), id="list"
        ),
        pytest.param(
            {"op": "list", "area": "runs", "prefix": f"{UID}/outputs/"},
            ListRequest(area="runs", prefix=f"{UID}/outputs/", after=""),
            id="list-a-run",
        ),
    ],
)
def test_a_request_is_read(document, request_):
    assert parse_grant(encode(document)) == request_


@pytest.mark.parametrize(
    ("document", "status", "field"),
    [
        pytest.param({}, 400, "op", id="no-op"),
        pytest.param({"op": "remove"}, 400, "op", id="unknown-op"),
        pytest.param({"op": ["run"]}, 400, "op", id="op-no-text"),
        pytest.param({"op": "requirements-put"}, 400, "text", id="requirements-without-text"),
        pytest.param({"op": "requirements-put", "text": "é" * 32769}, 413, "text", id="requirements-too-long"),
        pytest.param({"op": "input"}, 400, "name", id="input-without-name"),
        pytest.param({"op": "input", "name": "d", "after": 1}, 400, "after", id="after-no-text"),
        pytest.param({"op": "input", "name": "d", "after": "../x"}, 400, "after", id="after-climbs"),
        pytest.param({"op": "put"}, 400, "files", id="no-files"),
        pytest.param({"op": "put", "files": []}, 400, "files", id="empty-files"),
        pytest.param({"op": "put", "files": [{}] * 501}, 400, "files", id="501-files"),
        pytest.param({"op": "put", "files": ["outputs/a"]}, 400, "files[0]", id="file-no-object"),
        pytest.param(put(1), 400, "files[0].path", id="path-no-text"),
        pytest.param(put(""), 400, "files[0].path", id="empty-path"),
        pytest.param(put("/outputs/a"), 400, "files[0].path", id="absolute"),
        pytest.param(put("outputs/../x"), 400, "files[0].path", id="climbs"),
        pytest.param(put("outputs/.."), 400, "files[0].path", id="climbs-at-the-end"),
        pytest.param(put("outputs/./x"), 400, "files[0].path", id="dot"),
        pytest.param(put("outputs//x"), 400, "files[0].path", id="empty-part"),
        pytest.param(put("outputs/a/"), 400, "files[0].path", id="folder"),
        pytest.param(put("outputs/"), 400, "files[0].path", id="outputs-itself"),
        pytest.param(put("outputs\\..\\x"), 400, "files[0].path", id="backslash"),
        pytest.param(put("outputs/a\n"), 400, "files[0].path", id="newline"),
        pytest.param(put("outputs/\x00"), 400, "files[0].path", id="nul"),
        pytest.param(put("outputs/\ud800"), 400, "files[0].path", id="half-a-character"),
        pytest.param(put("outputs/" + "a" * 1024), 400, "files[0].path", id="too-long"),
        pytest.param(put("outputs"), 403, "files[0].path", id="no-folder"),
        pytest.param(put("outputsx/a"), 403, "files[0].path", id="neighbour-of-outputs"),
        pytest.param(put("Outputs/a"), 403, "files[0].path", id="other-case"),
        pytest.param(put("%6futputs/a"), 403, "files[0].path", id="percent-encoded-outputs"),
        pytest.param(put("models/a/1/x"), 403, "files[0].path", id="models"),
        pytest.param(put("source.tar.gz"), 403, "files[0].path", id="its-own-source"),
        pytest.param(put("manifest.json/x"), 403, "files[0].path", id="below-the-manifest"),
        pytest.param(put("manifest.json."), 403, "files[0].path", id="trailing-dot"),
        pytest.param(put("outputs/a", bytes=-1), 400, "files[0].bytes", id="negative-size"),
        pytest.param(put("outputs/a", bytes="1"), 400, "files[0].bytes", id="size-as-text"),
        pytest.param(put("outputs/a", bytes=True), 400, "files[0].bytes", id="size-as-boolean"),
        pytest.param(put("outputs/a", bytes=5 * 2**30 + 1), 413, "files[0].bytes", id="too-large"),
        pytest.param(put("outputs/a", sha256="AB" * 32), 400, "files[0].sha256", id="digest-in-capitals"),
        pytest.param(put("outputs/a", sha256=1), 400, "files[0].sha256", id="digest-no-text"),
        pytest.param({"op": "delete", "paths": []}, 400, "paths", id="deletes-nothing"),
        pytest.param({"op": "delete", "paths": [1]}, 400, "paths[0]", id="deletes-no-text"),
        pytest.param({"op": "delete", "paths": ["logs/train/../../x"]}, 400, "paths[0]", id="deletes-elsewhere"),
        pytest.param({"op": "delete", "paths": ["outputs/a"]}, 403, "paths[0]", id="deletes-outputs"),
        pytest.param({"op": "delete", "paths": ["logs/train.log"]}, 403, "paths[0]", id="deletes-the-log"),
        pytest.param({"op": "delete", "paths": ["manifest.json"]}, 403, "paths[0]", id="deletes-the-manifest"),
        pytest.param({"op": "data-put", "files": [{"path": "../b/x", "bytes": 1}]}, 400, "files[0].path", id="data"),
        pytest.param(
            {"op": "snapshot-put", "files": [{"path": f"{SHA}.tar.gz", "bytes": 1}]}, 400, "files", id="no-digest"
        ),
        pytest.param(
            {"op": "snapshot-put", "files": [{"path": "a.tar.gz", "bytes": 1, "sha256": SHA}]},
            400,
            "files",
            id="another-name",
        ),
        pytest.param(
            {"op": "snapshot-put", "files": [{"path": f"x/{SHA}.zip", "bytes": 1, "sha256": SHA}]},
            400,
            "files",
            id="in-a-folder",
        ),
        pytest.param({"op": "source-put", "sha256": "a", "commit": "c" * 40}, 400, "sha256", id="source-digest"),
        pytest.param({"op": "source-put", "sha256": SHA, "commit": "main"}, 400, "commit", id="no-commit"),
        pytest.param({"op": "source-put", "sha256": SHA}, 400, "commit", id="commit-missing"),
        pytest.param({"op": "list", "area": "envs", "prefix": ""}, 400, "area", id="unknown-area"),
        pytest.param({"op": "list", "area": "data"}, 400, "prefix", id="no-prefix"),
        pytest.param({"op": "list", "area": "data", "prefix": "../b"}, 400, "prefix", id="prefix-climbs"),
        pytest.param({"op": "list", "area": "runs", "prefix": ""}, 400, "prefix", id="all-runs"),
        pytest.param({"op": "list", "area": "runs", "prefix": UID[:8]}, 400, "prefix", id="part-of-a-uid"),
    ],
)
def test_a_wrong_request_is_refused_and_the_field_named(document, status, field):
    with pytest.raises(Refusal) as refusal:
        parse_grant(encode(document))
    assert (refusal.value.status, refusal.value.field) == (status, field)
    assert refusal.value.message
    assert refusal.value.document()["error"]["reason"] == refusal.value.reason


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"op": NaN}', b'{"op":"run"} x']
)
@pytest.mark.parametrize("parse", [parse_grant, parse_report])
def test_what_is_no_json_object_is_refused(parse, body):
    with pytest.raises(Refusal) as refusal:
        parse(body)
    assert refusal.value.status == 400


def report(**over):
    return {"state": "Running", "metrics": {}, **over}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        pytest.param({"metrics": {}}, "state", id="no-state"),
        pytest.param(report(state="Completed"), "state", id="unknown-state"),
        pytest.param(report(metrics=[]), "metrics", id="metrics-no-object"),
        pytest.param(report(progress=50), "progress", id="progress-no-object"),
        pytest.param(report(progress={"percent": "50"}), "progress.percent", id="percent-as-text"),
        pytest.param(report(progress={"percent": True}), "progress.percent", id="percent-as-boolean"),
        pytest.param(report(progress={"etaSeconds": 10**400}), "progress.etaSeconds", id="endless"),
        pytest.param(report(progress={"message": 1}), "progress.message", id="message-no-text"),
        pytest.param(report(tags=["a"]), "tags", id="tags-no-object"),
        pytest.param(report(tags={"a": "x" * 257}), "tags", id="tag-too-long"),
        pytest.param(report(message=[]), "message", id="report-message-no-text"),
    ],
)
def test_a_wrong_report_is_refused_and_the_field_named(document, field):
    with pytest.raises(Refusal) as refusal:
        parse_report(encode(document))
    assert (refusal.value.status, refusal.value.field) == (400, field)


def test_a_report_is_cut_to_what_a_status_has_room_for():
    metrics = {f"m{n}": n for n in range(100)}
    metrics = {"x" * 300: 1.5, "bad": "text", "nan": "NaN", "list": [1], "flag": True, **metrics}
    progress = {"percent": 130, "etaSeconds": -1, "message": "p" * 5000}
    got = parse_report(encode(report(metrics=metrics, progress=progress, message="half \ud800" + "m" * 5000)))
    assert len(got["metrics"]) == 64
    assert all(len(name.encode()) <= 256 for name in got["metrics"])
    assert got["metrics"]["nan"] == "NaN"
    assert not {"bad", "list", "flag"} & set(got["metrics"])
    assert (got["progress"]["percent"], got["progress"]["etaSeconds"]) == (100.0, 0.0)
    assert len(got["progress"]["message"]) == len(got["message"]) == 1024
    assert got["message"].startswith("half ?")


def test_a_report_keeps_what_is_right():
    document = report(metrics={"accuracy": 0.9255}, progress={"percent": 40, "message": "epoch 2"}, message="hi")
    assert parse_report(encode(document)) == document


def test_absent_parts_of_a_report_stay_absent():
    assert parse_report(encode(report(progress=None, message=None))) == report()


pieces = ["a", ".", "/", "\\", "%2e", "%2F", "é", "\u2024", "\u202e", "\x00", "\ud800", " "]
paths = st.lists(st.sampled_from(pieces), max_size=10).map("".join)


@given(folder=st.sampled_from(["outputs/", "logs/", "", "models/", "outputs"]), path=paths)
def test_no_path_leaves_the_folders_that_a_run_may_write(folder, path):
    try:
        parsed = parse_grant(encode(put(folder + path)))
    except Refusal:
        return
    assert isinstance(parsed, PutRequest)
    parts = parsed.files[0].path.split("/")
    assert parts[0] in {"outputs", "logs"} and len(parts) > 1  # noqa: PT018
    assert not {"", ".", ".."} & set(parts)


def outcome(parse, document):
    try:
        parse(encode(document))
    except Refusal as refusal:
        return refusal.status
    return None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)


@given(
    op=st.sampled_from(["run", "ran", "input", "put", "data-put", "list"]) | json_values,
    rest=st.dictionaries(st.sampled_from(["files", "name", "after", "area", "prefix"]), json_values),
)
def test_whatever_is_sent_is_read_or_refused(op, rest):
    assert outcome(parse_grant, {"op": op, **rest}) in {None, 400, 403, 413}


@given(st.dictionaries(st.sampled_from(["state", "metrics", "progress", "message"]), json_values))
def test_whatever_is_reported_is_read_or_refused(document):
    assert outcome(parse_report, report() | document) in {None, 400}
