"""Copying one version of a model into another namespace, by its digest."""

from __future__ import annotations

import contextlib

import pytest

from tests.unit.storage.builders import NAMESPACE, UID, entry, saved_run
from tests.unit.storage.memory import MemoryStore
from trainyard_operator.storage.errors import CopyRefused, StoreUnavailable
from trainyard_operator.storage.models import copy_version, read_model_manifest

SOURCE, TARGET = f"models/{NAMESPACE}/sklearn_mnist/", "models/prod/digits/"
OUTPUTS = {"outputs/model/a": b"a", "outputs/model/deep/b": b"b"}


class Yard:
    """A store with version 1 of a model in one namespace."""

    def __init__(self, **over):
        self.store = MemoryStore(saved_run(OUTPUTS), **over)

    async def register(self):
        await copy_version(self.store, NAMESPACE, "sklearn_mnist", 1, entry("outputs/model"))
        _, self.sha256 = await read_model_manifest(self.store, NAMESPACE, "sklearn_mnist", 1)
        return self

    async def promote(self):
        source = {"namespace": NAMESPACE, "model": "sklearn_mnist", "version": 1, "manifestSha256": self.sha256}
        made = {**entry("outputs/model", key="promoted/x"), "version": 4, "promotedFrom": source}
        del made["run"], made["metrics"], made["tags"]
        await copy_version(self.store, "prod", "digits", 4, made)
        return await read_model_manifest(self.store, "prod", "digits", 4)


@pytest.fixture
async def yard():
    return await Yard().register()


async def test_a_copy_has_the_same_files_and_says_whose_they_are(yard):
    before = dict(yard.store.objects)
    manifest, _ = await yard.promote()
    source, _ = await read_model_manifest(yard.store, NAMESPACE, "sklearn_mnist", 1)
    assert yard.store.objects.items() >= before.items()
    assert {key for key in yard.store.objects if key.startswith(TARGET)} == {
        f"{TARGET}4.manifest.json", f"{TARGET}4/a", f"{TARGET}4/deep/b",
    }  # fmt: skip
    assert (manifest["namespace"], manifest["id"], manifest["key"]) == ("prod", "digits:4", "promoted/x")
    assert manifest["promotedFrom"] == {
        "namespace": NAMESPACE,
        "model": "sklearn_mnist",
        "version": 1,
        "manifestSha256": yard.sha256,
        "run": {"name": "mnist", "uid": UID, "attempt": 1, "manifestSha256": None, "namespace": NAMESPACE},
    }
    assert "run" not in manifest
    for name in ("files", "metrics", "tags", "sourceSha256", "imageDigest"):
        assert manifest[name] == source[name]


async def test_a_copy_of_a_copy_still_names_the_run(yard):
    _, sha256 = await yard.promote()
    source = {"namespace": "prod", "model": "digits", "version": 4, "manifestSha256": sha256}
    made = {**entry("outputs/model", key="promoted/y"), "version": 1, "promotedFrom": source}
    del made["run"]
    await copy_version(yard.store, "eu", "m", 1, made)
    manifest, _ = await read_model_manifest(yard.store, "eu", "m", 1)
    assert manifest["promotedFrom"].items() >= source.items()
    assert manifest["promotedFrom"]["run"]["namespace"] == NAMESPACE


@pytest.mark.parametrize("checksums", [True, False], ids=["with-checksums", "without-checksums"])
async def test_a_source_file_with_other_bytes_is_refused(checksums):
    yard = await Yard(keeps_checksums=checksums).register()
    yard.store.objects[f"{SOURCE}1/a"] = b"A"
    with pytest.raises(CopyRefused, match="a has other bytes than the manifest of team-a/sklearn_mnist:1 says"):
        await yard.promote()
    assert f"{TARGET}4.manifest.json" not in yard.store.objects


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda o: o.pop(f"{SOURCE}1.manifest.json"), "is not in the object store", id="no manifest"),
        pytest.param(lambda o: o.pop(f"{SOURCE}1/a"), "not in the object store any more", id="no file"),
        pytest.param(lambda o: o.update({f"{SOURCE}1.manifest.json": b"{"}), "no model manifest", id="no json"),
        pytest.param(
            lambda o: o.update({f"{SOURCE}1.manifest.json": o[f"{SOURCE}1.manifest.json"] + b" "}), "has the SHA-256",
            id="another manifest",
        ),
    ],
)  # fmt: skip
async def test_a_source_that_is_not_whole_is_refused(yard, spoil, words):
    spoil(yard.store.objects)
    with pytest.raises(CopyRefused, match=words):
        await yard.promote()


@pytest.mark.parametrize("step", range(12))
async def test_a_promotion_cut_short_at_any_step_is_finished_by_the_next(yard, step):
    start = len(yard.store.calls)
    yard.store.breaks_at = lambda *_: len(yard.store.calls) >= start + step
    with contextlib.suppress(StoreUnavailable):
        await yard.promote()
    yard.store.breaks_at = lambda *_: False
    manifest, _ = await yard.promote()
    assert [file["path"] for file in manifest["files"]] == ["a", "deep/b"]


async def test_an_entry_that_names_no_origin_is_refused(yard):
    made = entry("outputs/model")
    del made["run"]
    with pytest.raises(CopyRefused, match="does not say what it is made from"):
        await copy_version(yard.store, "prod", "digits", 4, made)
