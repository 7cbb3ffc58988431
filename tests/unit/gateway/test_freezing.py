"""Freezing what a run's code is, wherever it comes from: once, and never with bytes that were not meant."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from tests.unit.gateway.builders import NAMESPACE, OTHER_UID, UID, Sources, run_ref
from tests.unit.storage.memory import MemoryStore
from trainyard.contract import MAX_SOURCE_BYTES
from trainyard_operator.domain.rerun import Repeated
from trainyard_operator.gateway.errors import Refusal
from trainyard_operator.gateway.freezing import Freezer

CODE = b"an archive"
SHA = hashlib.sha256(CODE).hexdigest()
KEY = f"runs/{NAMESPACE}/{UID}/source.tar.gz"
ORIGIN = f"runs/{NAMESPACE}/{OTHER_UID}/source.tar.gz"


def archive_run(path="code/a.zip", sha256=SHA):
    return run_ref(source={"archive": {"path": path, "sha256": sha256}})


def freezer(store):
    return Freezer(store=store, sources=Sources(Refusal(500, "Unused", "nobody asks for files")))


@pytest.mark.parametrize(
    ("path", "key"),
    [
        pytest.param("code/a.zip", f"data/{NAMESPACE}/code/a.zip", id="datastore"),
        pytest.param(f"snapshots/{SHA}.tar.gz", f"snapshots/{NAMESPACE}/{SHA}.tar.gz", id="snapshot"),
        pytest.param("snapshotsx/a.zip", f"data/{NAMESPACE}/snapshotsx/a.zip", id="a folder of a similar name"),
    ],
)
@pytest.mark.parametrize("keeps_checksums", [True, False])
async def test_an_archive_is_copied_inside_the_store(path, key, keeps_checksums):
    store = MemoryStore({key: CODE}, keeps_checksums=keeps_checksums)
    frozen = await freezer(store).source(archive_run(path))
    assert (frozen.key, frozen.sha256, frozen.bytes, frozen.commit) == (KEY, SHA, len(CODE), None)
    assert store.objects[KEY] == CODE
    assert not [call for call in store.calls if call[0] in {"get", "put"}]


async def test_an_archive_that_was_changed_since_is_not_looked_at_again():
    store = MemoryStore({f"data/{NAMESPACE}/code/a.zip": CODE})
    first = await freezer(store).source(archive_run())
    store.objects[f"data/{NAMESPACE}/code/a.zip"] = b"changed"
    assert await freezer(store).source(archive_run()) == first


async def test_a_copy_that_a_change_of_the_archive_overtook_is_made_again():
    store = MemoryStore({f"data/{NAMESPACE}/code/a.zip": CODE, KEY: b"overtaken"})
    assert (await freezer(store).source(archive_run())).sha256 == SHA
    assert store.objects[KEY] == CODE


@pytest.mark.parametrize(
    ("objects", "run", "words"),
    [
        pytest.param({}, archive_run(), ["spec.source.archive.path", "was deleted"], id="gone"),
        pytest.param({f"data/{NAMESPACE}/code/a.zip": b"x"}, archive_run(), [SHA, hashlib.sha256(b"x").hexdigest()], id="other bytes"),
        pytest.param({"data/team-b/code/a.zip": CODE}, archive_run(), ["team-a", "was deleted"], id="a neighbour's"),
    ],
)  # fmt: skip
async def test_an_archive_that_is_not_the_one_that_is_meant_is_refused(objects, run, words):
    with pytest.raises(Refusal) as refusal:
        await freezer(MemoryStore(objects)).source(run)
    assert refusal.value.reason == "SourceInvalid"
    assert all(word in refusal.value.message for word in words), refusal.value.message


async def test_an_archive_that_is_too_large_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr("trainyard_operator.gateway.freezing.MAX_SOURCE_BYTES", 3)
    store = MemoryStore({f"data/{NAMESPACE}/code/a.zip": CODE})
    with pytest.raises(Refusal, match=f"more than the {MAX_SOURCE_BYTES} of a source"):
        await freezer(store).source(archive_run())
    assert "copy" not in {call for call, _ in store.calls}


async def test_git_is_nobodys_until_a_pod_has_frozen_it_with_its_commit():
    store, run = MemoryStore(), run_ref(source={"git": {"url": "https://example.com/a.git"}})
    assert await freezer(store).source(run) is None
    store.objects[KEY], store.metadata[KEY] = CODE, {"commit": "c" * 40}
    frozen = await freezer(store).source(run)
    assert (frozen.sha256, frozen.commit) == (SHA, "c" * 40)


def rerun(sha256=SHA):
    repeated = Repeated(name="first", uid=OTHER_UID, sha256=sha256, spec={})
    made = run_ref(source=None, rerunOf="first")
    return replace(made, repeated=repeated)


async def test_a_rerun_gets_a_copy_of_the_code_and_its_commit():
    store = MemoryStore({ORIGIN: CODE})
    store.metadata[ORIGIN] = {"commit": "c" * 40}
    frozen = await freezer(store).source(rerun())
    assert (frozen.key, frozen.sha256, frozen.commit) == (KEY, SHA, "c" * 40)
    del store.objects[ORIGIN]
    assert await freezer(store).source(rerun()) == frozen


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        pytest.param({}, f"the code of first is not in the object store any more (s3://bucket/{ORIGIN})", id="gone"),
        pytest.param({ORIGIN: b"changed"}, "somebody changed it", id="changed"),
    ],
)
async def test_code_that_is_not_there_any_more_cannot_be_repeated(objects, words):
    with pytest.raises(Refusal) as refusal:
        await freezer(MemoryStore(objects)).source(rerun())
    assert words in refusal.value.message
