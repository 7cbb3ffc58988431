import asyncio
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.storage.builders import NAMESPACE, UID, entry, saved_run
from tests.unit.storage.memory import MemoryStore
from trainyard.contract import MODEL_MANIFEST_SCHEMA, OutputFile
from trainyard_operator.storage.errors import CopyRefused, ManifestInvalid, StoreUnavailable
from trainyard_operator.storage.model_origins import select_files
from trainyard_operator.storage.models import copy_version, read_model_manifest

MODEL = "sklearn_mnist"
ROOT = f"models/{NAMESPACE}/{MODEL}/"
OUTPUTS = {"outputs/model.pkl": b"model", "outputs/model/a": b"a", "outputs/model/deep/b": b"b", "outputs/modelx": b"x"}


async def copy(store, path="outputs/model", **over):
    await copy_version(store, NAMESPACE, MODEL, 1, entry(path, **over))


def copied(store):
    return {key.removeprefix(ROOT): body for key, body in store.objects.items() if key.startswith(ROOT)}


def output(path):
    return OutputFile(path=path, bytes=1, sha256="0" * 64)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        pytest.param("outputs/model.pkl", {"model.pkl"}, id="a-file-keeps-its-own-name"),
        pytest.param("outputs/model", {"a", "deep/b"}, id="a-folder-without-its-neighbours"),
        pytest.param("outputs/model/", {"a", "deep/b"}, id="a-folder-with-a-slash"),
        pytest.param("outputs/model/deep", {"b"}, id="a-deep-folder"),
        pytest.param("outputs", {"model.pkl", "model/a", "model/deep/b", "modelx"}, id="everything"),
    ],
)
def test_a_models_files_are_named_below_its_path(path, names):
    assert set(select_files([output(p) for p in OUTPUTS], path)) == names


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        pytest.param(["outputs/a.txt", "outputs/b.txt"], "outputs/a.txt, outputs/b.txt", id="lists-what-there-is"),
        pytest.param([f"outputs/{n:02}" for n in range(15)], "and 5 more", id="lists-ten"),
        pytest.param([], "no file at all", id="nothing-saved"),
    ],
)
def test_a_path_with_nothing_at_it_is_refused_with_what_there_is(outputs, said):
    with pytest.raises(CopyRefused) as refusal:
        select_files([output(p) for p in outputs], "outputs/model.pkl")
    assert said in str(refusal.value)
    assert "outputs/model.pkl" in str(refusal.value)


async def test_a_version_has_its_files_and_a_manifest_that_says_where_they_are_from():
    store = MemoryStore(saved_run(OUTPUTS))
    await copy(store)
    manifest, sha256 = await read_model_manifest(store, NAMESPACE, MODEL, 1)
    raw = store.objects[f"{ROOT}1.manifest.json"]
    assert copied(store) == {"1/a": b"a", "1/deep/b": b"b", "1.manifest.json": raw}
    assert sha256 == hashlib.sha256(raw).hexdigest()
    assert manifest == {
        "schema": MODEL_MANIFEST_SCHEMA,
        "namespace": NAMESPACE,
        "model": MODEL,
        "version": 1,
        "id": "sklearn_mnist:1",
        "key": f"{UID}/sklearn_mnist/outputs/model",
        "path": "outputs/model",
        "run": {"name": "mnist", "uid": UID, "attempt": 1, "manifestSha256": None},
        "sourceSha256": "ab" * 32,
        "imageDigest": "sha256:" + "cd" * 32,
        "metrics": {"accuracy": 0.9255},
        "tags": {"data": "mnist"},
        "createdTime": "2026-11-23T10:02:00Z",
        "software": {"python": "3.11.2"},
        "files": [
            {"path": "a", "bytes": 1, "sha256": hashlib.sha256(b"a").hexdigest()},
            {"path": "deep/b", "bytes": 1, "sha256": hashlib.sha256(b"b").hexdigest()},
        ],
    }


async def test_a_manifest_says_which_framework_environment_and_data_made_the_model():
    said = {
        "environment": {"python": "3.11.2", "scikit-learn": "1.9.1"},
        "environmentHash": "e" * 64,
        "inputs": [{"name": "data", "uri": "s3://b/data/", "files": 1, "bytes": 7, "sha256": "a" * 64}],
    }
    store = MemoryStore(saved_run(OUTPUTS, **said))
    await copy(store, "outputs/model.pkl")
    manifest, _ = await read_model_manifest(store, NAMESPACE, MODEL, 1)
    assert manifest["framework"] == {"name": "scikit-learn", "version": "1.9.1"}
    assert manifest["software"] == said["environment"]
    assert manifest["environmentHash"] == said["environmentHash"]
    assert manifest["inputs"] == said["inputs"]


async def test_copying_twice_changes_nothing_and_copies_nothing():
    store = MemoryStore(saved_run(OUTPUTS))
    await copy(store)
    before, store.calls = dict(store.objects), []
    await copy(store)
    assert store.objects == before
    assert not [call for call, _ in store.calls if call in {"copy", "put"}]


@pytest.mark.parametrize("checksums", [True, False], ids=["with-checksums", "without-checksums"])
@pytest.mark.parametrize("step", range(12))
async def test_a_copy_cut_short_at_any_step_is_finished_by_the_next(step, checksums):
    whole = MemoryStore(saved_run(OUTPUTS), keeps_checksums=checksums)
    await copy(whole)
    store = MemoryStore(saved_run(OUTPUTS), keeps_checksums=checksums)
    store.breaks_at = lambda *_: len(store.calls) >= step
    try:
        await copy(store)
    except StoreUnavailable:
        assert f"{ROOT}1.manifest.json" not in store.objects
    store.breaks_at = lambda *_: False
    await copy(store)
    assert store.objects == whole.objects


async def test_ten_operators_at_once_make_one_version():
    store = MemoryStore(saved_run(OUTPUTS))
    await asyncio.gather(*(copy(store) for _ in range(10)))
    assert [key for call, key in store.calls if call == "put"].count(f"{ROOT}1.manifest.json") == 10
    manifest, _ = await read_model_manifest(store, NAMESPACE, MODEL, 1)
    assert [file["path"] for file in manifest["files"]] == ["a", "deep/b"]


async def test_a_number_written_as_a_float_gives_the_same_manifest_as_the_one_that_the_api_server_gives_back():
    one, other = MemoryStore(saved_run(OUTPUTS)), MemoryStore(saved_run(OUTPUTS))
    await copy(one, metrics={"epochs": 10.0, "loss": "NaN"})
    await copy(other, metrics={"epochs": 10, "loss": "NaN"})
    assert one.objects == other.objects


def tampered() -> dict[str, bytes]:
    return saved_run(OUTPUTS) | {f"runs/{NAMESPACE}/{UID}/attempts/1/outputs/model/a": b"A"}


def without_a_file() -> dict[str, bytes]:
    objects = saved_run(OUTPUTS)
    del objects[f"runs/{NAMESPACE}/{UID}/attempts/1/outputs/model/a"]
    return objects


@pytest.mark.parametrize(
    ("objects", "over", "said"),
    [
        pytest.param({}, {}, "not in the object store", id="no-run-manifest"),
        pytest.param(
            {f"runs/{NAMESPACE}/{UID}/attempts/1/manifest.json": b"{"}, {}, "not JSON", id="broken-run-manifest"
        ),
        pytest.param(saved_run(OUTPUTS), {"runManifestSha256": "0" * 64}, "not the one", id="another-run-manifest"),
        pytest.param(tampered(), {}, "changed after the run", id="changed-bytes"),
        pytest.param(without_a_file(), {}, "not in the object store any more", id="missing-file"),
    ],
)
async def test_what_can_never_become_a_version_is_refused(objects, over, said):
    store = MemoryStore(objects)
    with pytest.raises(CopyRefused) as refusal:
        await copy(store, **over)
    assert said in str(refusal.value)
    assert f"{ROOT}1.manifest.json" not in store.objects


async def test_a_version_that_another_registration_sealed_is_refused():
    store = MemoryStore(saved_run(OUTPUTS))
    await copy(store, key="of-an-older-registration")
    with pytest.raises(CopyRefused, match="made from something else"):
        await copy(store)


async def test_a_version_without_a_manifest_is_not_whole():
    assert await read_model_manifest(MemoryStore({f"{ROOT}1/a": b"a"}), NAMESPACE, MODEL, 1) is None


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"schema": "other"}'])
async def test_what_is_no_model_manifest_is_refused(body):
    with pytest.raises(ManifestInvalid):
        await read_model_manifest(MemoryStore({f"{ROOT}1.manifest.json": body}), NAMESPACE, MODEL, 1)


@given(names=st.lists(st.sampled_from(["a", "a/b", "ab", "a.b", "b/a", "b"]), unique=True), path=st.sampled_from("ab"))
async def test_every_selected_file_is_the_path_or_below_it(names, path):
    outputs = [output(f"outputs/{name}") for name in names]
    try:
        selected = select_files(outputs, f"outputs/{path}")
    except CopyRefused:
        assert not [n for n in names if n == path or n.startswith(f"{path}/")]
        return
    assert selected
    assert all(f["path"] == f"outputs/{path}" or f["path"].startswith(f"outputs/{path}/") for f in selected.values())


async def test_the_manifest_is_canonical_json():
    store = MemoryStore(saved_run(OUTPUTS))
    await copy(store)
    raw = store.objects[f"{ROOT}1.manifest.json"]
    assert raw == json.dumps(json.loads(raw), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
