"""What the path of an import means, and how it becomes a version."""

from __future__ import annotations

import hashlib

import pytest

from tests.unit.storage.builders import NAMESPACE, entry
from tests.unit.storage.memory import MemoryStore
from trainyard_operator.storage import model_imports
from trainyard_operator.storage.errors import CopyRefused, NothingThere, StoreUnavailable
from trainyard_operator.storage.model_imports import survey_import
from trainyard_operator.storage.models import copy_version, read_model_manifest
from trainyard_operator.storage.store import MAX_OBJECT_BYTES, ObjectInfo, Page

DATA, ROOT, MODEL = f"data/{NAMESPACE}/", f"models/{NAMESPACE}/iris/", "iris"
OBJECTS = {
    f"{DATA}model/": b"",
    f"{DATA}model/a": b"a",
    f"{DATA}model/deep/b": b"b",
    f"{DATA}model-b/secret": b"s",
    f"{DATA}model.pkl": b"pkl",
    "data/team-ab/model/other": b"o",
}
SHA256 = hashlib.sha256(b"pkl").hexdigest()


async def copy(store, path="model", **over):
    made = {**entry(path, key="import/k"), "import": {"key": "k", "datastorePath": path, **over}}
    del made["run"]
    await copy_version(store, NAMESPACE, MODEL, 1, made)


def copied(store):
    return {key.removeprefix(ROOT): body for key, body in store.objects.items() if key.startswith(f"{ROOT}1/")}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        pytest.param("model", {"a", "deep/b"}, id="a folder without its neighbours"),
        pytest.param("model/", {"a", "deep/b"}, id="a folder with a slash"),
        pytest.param("model/deep", {"b"}, id="a deep folder"),
        pytest.param("model.pkl", {"model.pkl"}, id="a file keeps its own name"),
    ],
)
async def test_a_path_means_the_file_or_the_folder_of_that_name(path, names):
    assert set(await survey_import(MemoryStore(OBJECTS), NAMESPACE, path)) == names


@pytest.mark.parametrize(
    ("path", "words"),
    [
        pytest.param("mod", "at its top level there is model-b/, model.pkl, model/", id="at the top"),
        pytest.param("model/c", "in model/ there is a, deep/", id="in a folder that is there"),
        pytest.param("new/c/d", "at its top level there is model-b/", id="in a folder that is not"),
        pytest.param("model.pkl/", "at its top level", id="a file is no folder"),
    ],
)
async def test_a_path_with_nothing_at_it_lists_what_is_at_that_level(path, words):
    with pytest.raises(NothingThere) as refused:
        await survey_import(MemoryStore(OBJECTS), NAMESPACE, path)
    assert words in str(refused.value)
    assert f"s3://bucket/data/{NAMESPACE}/{path}" in str(refused.value)


async def test_an_empty_datastore_is_called_empty():
    with pytest.raises(NothingThere, match="it is empty"):
        await survey_import(MemoryStore(), NAMESPACE, "model")


async def test_a_folder_is_read_over_all_pages_of_its_listing():
    store = MemoryStore({f"{DATA}many/{number:05}": b"" for number in range(2500)})
    assert len(await survey_import(store, NAMESPACE, "many")) == 2500
    assert [call for call, _ in store.calls].count("list") == 3


async def test_more_files_than_an_import_may_have_are_refused_with_the_limit(monkeypatch):
    monkeypatch.setattr(model_imports, "MAX_FILES", 1)
    with pytest.raises(CopyRefused, match="more than 1 files"):
        await survey_import(MemoryStore(OBJECTS), NAMESPACE, "model")


async def test_a_file_that_the_store_cannot_copy_at_once_is_refused_before_it_is_tried():
    store = MemoryStore(OBJECTS)

    async def huge(prefix, **_):
        return Page(objects=(ObjectInfo(key=f"{prefix}big", bytes=MAX_OBJECT_BYTES + 1),))

    store.list = huge
    with pytest.raises(CopyRefused, match="can be copied at most"):
        await survey_import(store, NAMESPACE, "model")


async def test_a_name_that_could_not_be_a_file_is_refused():
    with pytest.raises(CopyRefused, match="cannot be a file"):
        await survey_import(MemoryStore({f"{DATA}model/../x": b""}), NAMESPACE, "model")


async def test_a_digest_is_for_one_file():
    with pytest.raises(CopyRefused, match="is a folder, which has no SHA-256"):
        await survey_import(MemoryStore(OBJECTS), NAMESPACE, "model", sha256=SHA256)


@pytest.mark.parametrize("checksums", [True, False], ids=["with-checksums", "without-checksums"])
async def test_a_version_has_the_files_and_a_manifest_that_names_the_import(checksums):
    store = MemoryStore(OBJECTS, keeps_checksums=checksums)
    await copy(store)
    assert copied(store) == {"1/a": b"a", "1/deep/b": b"b"}
    manifest, _ = await read_model_manifest(store, NAMESPACE, MODEL, 1)
    assert manifest["import"] == {"key": "k", "datastorePath": "model"}
    assert "run" not in manifest
    assert manifest["files"][0] == {"path": "a", "bytes": 1, "sha256": hashlib.sha256(b"a").hexdigest()}


async def test_a_file_with_another_digest_is_refused_with_both():
    store = MemoryStore(OBJECTS)
    with pytest.raises(CopyRefused) as refused:
        await copy(store, "model.pkl", sha256="0" * 64)
    assert SHA256 in str(refused.value)
    assert "0" * 64 in str(refused.value)
    assert copied(store) == {}
    await copy(store, "model.pkl", sha256=SHA256)
    assert copied(store) == {"1/model.pkl": b"pkl"}


async def test_a_file_that_changes_while_it_is_copied_is_refused():
    store = MemoryStore(OBJECTS)
    copy_object = store.copy

    async def changing(source, target):
        store.objects[source] = b"A"
        await copy_object(source, target)

    store.copy = changing
    with pytest.raises(CopyRefused, match="changed while it was imported"):
        await copy(store)
    assert f"{ROOT}1.manifest.json" not in store.objects


async def test_a_file_that_goes_while_it_is_read_is_refused():
    store = MemoryStore(OBJECTS)
    digest = store.digest

    async def going(key):
        store.objects.pop(f"{DATA}model/a", None)
        return await digest(key)

    store.digest = going
    with pytest.raises(CopyRefused, match="changed while it was imported"):
        await copy(store)


@pytest.mark.parametrize("step", range(16))
async def test_an_import_cut_short_at_any_step_is_finished_by_the_next_and_keeps_nothing_of_what_went(step):
    store = MemoryStore({**OBJECTS, f"{DATA}model/gone": b"g"})
    store.breaks_at = lambda *_: len(store.calls) >= step
    try:
        await copy(store)
    except StoreUnavailable:
        assert f"{ROOT}1.manifest.json" not in store.objects
        del store.objects[f"{DATA}model/gone"]
        store.breaks_at = lambda *_: False
        await copy(store)
        assert copied(store) == {"1/a": b"a", "1/deep/b": b"b"}
    manifest, _ = await read_model_manifest(store, NAMESPACE, MODEL, 1)
    assert {f"1/{file['path']}" for file in manifest["files"]} == set(copied(store))
