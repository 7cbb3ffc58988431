import gzip
import hashlib
import io
import json
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.storage.builders import NAMESPACE, UID, run_manifest, saved_run
from tests.unit.storage.memory import MemoryStore
from trainyard_operator.domain.source_archive import archive
from trainyard_operator.storage import runs
from trainyard_operator.storage.errors import ManifestInvalid
from trainyard_operator.storage.runs import freeze_source, frozen_source, read_run_manifest

KEY = f"runs/{NAMESPACE}/{UID}/attempts/1/manifest.json"
FILES = {"train.py": b"print(1)\n", "lib/ütils.py": b"", "data.bin": bytes(range(256))}


async def read(body: bytes):
    return await read_run_manifest(MemoryStore({KEY: body}), NAMESPACE, UID, 1)


def test_an_archive_depends_on_names_and_bytes_alone():
    assert archive(FILES) == archive(dict(reversed(FILES.items())))


def test_an_archive_unpacks_to_what_was_put_in():
    with tarfile.open(fileobj=io.BytesIO(archive(FILES)), mode="r:gz") as tar:
        assert {m.name: tar.extractfile(m).read() for m in tar} == FILES
        assert {(m.mode, m.mtime, m.uid) for m in tar} == {(0o644, 0, 0)}


async def test_the_first_source_wins_and_everybody_gets_it():
    store = MemoryStore()
    first = await freeze_source(store, NAMESPACE, UID, {"train.py": b"one"})
    second = await freeze_source(store, NAMESPACE, UID, {"train.py": b"another"})
    assert second == first == await frozen_source(store, NAMESPACE, UID)
    assert hashlib.sha256(store.objects[first.key]).hexdigest() == first.sha256
    assert b"one" in gzip.decompress(store.objects[first.key])


async def test_a_source_that_nobody_froze_is_none():
    assert await frozen_source(MemoryStore(), NAMESPACE, UID) is None


async def test_a_run_without_a_manifest_has_none():
    assert await read_run_manifest(MemoryStore(), NAMESPACE, UID, 1) is None


async def test_a_manifest_is_read_with_the_digest_of_its_bytes():
    store = MemoryStore(saved_run({"outputs/model.pkl": b"model"}))
    manifest, sha256 = await read_run_manifest(store, NAMESPACE, UID, 1)
    assert manifest == run_manifest({"outputs/model.pkl": b"model"})
    assert sha256 == hashlib.sha256(store.objects[KEY]).hexdigest()


GOOD = {"path": "outputs/a", "bytes": 1, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("over", "said"),
    [
        pytest.param({"schema": "trainyard.dev/run-manifest/v2"}, "schema", id="another-schema"),
        pytest.param({"run": {"uid": "another"}}, "another", id="another-run"),
        pytest.param({"run": None}, "run must be a JSON object", id="no-run"),
        pytest.param({"exitCode": "0"}, "exitCode must be a JSON integer", id="exit-code-as-text"),
        pytest.param({"exitCode": True}, "exitCode", id="exit-code-as-boolean"),
        pytest.param({"startTime": None}, "startTime", id="no-start"),
        pytest.param({"outputs": {}}, "outputs must be a JSON array", id="outputs-no-list"),
        pytest.param({"outputs": ["outputs/a"]}, "outputs[0]", id="output-no-object"),
        pytest.param({"outputs": [{**GOOD, "path": "outputs/../../x"}]}, "outputs[0].path", id="climbing-path"),
        pytest.param({"outputs": [{**GOOD, "path": "/outputs/a"}]}, "absolute", id="absolute-path"),
        pytest.param({"outputs": [{**GOOD, "path": "logs/a"}]}, "no file below outputs/", id="other-folder"),
        pytest.param({"outputs": [{**GOOD, "path": "outputs/a/"}]}, "outputs/a/", id="folder"),
        pytest.param({"outputs": [{**GOOD, "path": "outputs/\ud800"}]}, "outputs[0].path", id="half-a-character"),
        pytest.param({"outputs": [GOOD, GOOD]}, "there before", id="twice"),
        pytest.param({"outputs": [{**GOOD, "bytes": -1}]}, "size", id="negative-size"),
        pytest.param({"outputs": [{**GOOD, "sha256": "ABC"}]}, "SHA-256", id="bad-digest"),
        pytest.param({"outputs": [{**GOOD, "path": f"outputs/{n}"} for n in range(20_001)]}, "20001", id="too-many"),
        pytest.param({"warnings": [1]}, "warnings", id="warning-no-text"),
        pytest.param({"environment": {"python": 3}}, "environment.python", id="environment-no-text"),
        pytest.param({"tags": {"a": []}}, "tags have at 'a'", id="tag-no-text"),
        pytest.param({"properties": []}, "properties are of type list", id="properties-no-object"),
        pytest.param({"models": {}}, "models must be a JSON array", id="models-no-list"),
        pytest.param({"models": [{"name": "m", "path": "../x"}]}, "the path of the model m", id="model-that-climbs"),
        pytest.param({"models": [{"name": "m/n", "path": "x"}]}, "the name of the model", id="model-of-another"),
        pytest.param({"models": [{"name": "m", "path": f"{n}"} for n in range(17)]}, "17", id="too-many-models"),
    ],
)
async def test_a_manifest_of_a_wrong_shape_is_refused_and_the_field_named(over, said):
    with pytest.raises(ManifestInvalid) as refusal:
        await read(json.dumps(run_manifest({}) | over).encode())
    assert said in str(refusal.value)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'"text"'])
async def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(ManifestInvalid):
        await read(body)


async def test_a_manifest_that_would_fill_the_memory_is_not_read(monkeypatch):
    monkeypatch.setattr(runs, "MAX_MANIFEST_BYTES", 100)
    with pytest.raises(ManifestInvalid, match="too large"):
        await read(b" " * 101)


async def test_metrics_of_a_manifest_are_bounded():
    body = json.dumps(run_manifest({}, metrics={f"m{n}": n for n in range(100)} | {"x": []})).encode()
    manifest, _ = await read(body)
    assert len(manifest["metrics"]) == 64


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


SAID = {
    "tags": {"data": "mnist"},
    "properties": {"seed": "7"},
    "inputs": [
        {"name": "data", "uri": "s3://b/data/", "files": 2, "bytes": 7, "sha256": "a" * 64},
        {"name": "volume", "uri": "pvc://claim/a"},
    ],
    "models": [{"name": "m", "path": "outputs/m", "description": "best", "tags": {"a": "b"}}],
}


async def test_what_ran_is_read_with_the_manifest():
    ran = {"sourceCommit": "c" * 40, "imageDigest": "sha256:1", "image": "r/i@sha256:1", "environmentHash": "e" * 64}
    manifest, _ = await read(json.dumps(run_manifest({}) | ran).encode())
    assert {name: manifest[name] for name in ran} == ran


@pytest.mark.parametrize("name", ["sourceCommit", "imageDigest", "image", "environmentHash"])
async def test_what_ran_must_be_said_in_words(name):
    with pytest.raises(ManifestInvalid, match=name):
        await read(json.dumps(run_manifest({}) | {name: 1}).encode())


async def test_what_the_script_said_is_read_with_the_manifest():
    manifest, _ = await read(json.dumps(run_manifest({}) | SAID).encode())
    assert {name: manifest[name] for name in SAID} == SAID


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        pytest.param({}, "inputs must be a JSON array", id="no-list"),
        pytest.param([{"name": "a", "uri": "b"}] * 17, "inputs has 17 entries", id="too-many"),
        pytest.param([{"name": "a"}], "inputs[0].uri must be a JSON string", id="no-address"),
        pytest.param([{"name": "a", "uri": "b" * 5000}], "inputs[0].uri has 5000 characters", id="long-address"),
        pytest.param([{"name": "a", "uri": "b", "sha256": "c"}], "inputs[0].files must be", id="half-a-listing"),
    ],
)
async def test_inputs_that_no_runner_writes_are_refused(inputs, said):
    with pytest.raises(ManifestInvalid) as refusal:
        await read(json.dumps(run_manifest({}) | {"inputs": inputs}).encode())
    assert said in str(refusal.value)


@given(field=st.sampled_from(sorted(run_manifest({}) | SAID)), value=json_values)
async def test_whatever_a_pod_writes_into_a_field_is_read_or_refused(field, value):
    try:
        manifest, _ = await read(json.dumps(run_manifest({}) | {field: value}).encode())
    except ManifestInvalid:
        return
    assert manifest["schema"] == run_manifest({})["schema"]
