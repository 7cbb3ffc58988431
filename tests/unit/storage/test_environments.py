"""Environments in the object store: recorded once, used, and removed when nobody needs them."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime

import pytest

from tests.unit.storage.memory import MemoryStore
from trainyard.contract import pack_path
from trainyard_operator.domain.environment import EnvironmentRecord, Pack
from trainyard_operator.storage.environments import collect, read_record, seal, touch
from trainyard_operator.storage.errors import ManifestInvalid

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HASH = "a" * 64
PACK = b"packages"
SHA256 = hashlib.sha256(PACK).hexdigest()
FOLDER = f"envs/team-a/{HASH}/"


def manifest(**over):
    pack = {"path": pack_path(SHA256), "sha256": SHA256, "bytes": len(PACK)}
    document = {"schema": "trainyard.dev/environment-manifest/v1", "hash": HASH, "pack": pack, "packages": ["a==1"]}
    return json.dumps({**document, **over}).encode()


def left(body=None, pack=PACK):
    """Return a store with what a build left."""
    objects = {FOLDER + "manifest.json": body or manifest()}
    return MemoryStore(objects | ({FOLDER + pack_path(SHA256): pack} if pack is not None else {}))


async def test_what_a_build_left_is_written_down_once_and_read_back():
    store = left()
    record = await seal(store, "team-a", HASH, now=NOW)
    assert record == EnvironmentRecord(hash=HASH, pack=Pack(path=pack_path(SHA256), sha256=SHA256, bytes=len(PACK)))
    assert await read_record(store, "team-a", HASH) == record
    assert await read_record(store, "team-b", HASH) is None
    store.objects[FOLDER + "manifest.json"] = manifest(pack=None)
    assert await seal(store, "team-a", HASH, now=NOW) == record


async def test_an_image_that_has_everything_is_written_down_without_a_pack():
    store = left(manifest(pack=None, packages=[]), pack=None)
    assert await seal(store, "team-a", HASH, now=NOW) == EnvironmentRecord(hash=HASH, pack=None)
    assert await read_record(store, "team-a", HASH) == EnvironmentRecord(hash=HASH, pack=None)


@pytest.mark.parametrize(
    ("store", "words"),
    [
        pytest.param(MemoryStore(), "left no manifest", id="nothing"),
        pytest.param(left(b"["), "not JSON", id="no JSON"),
        pytest.param(left(b"[]"), "schema", id="no object"),
        pytest.param(left(manifest(hash="b" * 64)), "speaks of the environment", id="another environment"),
        pytest.param(left(manifest(pack={"path": "../x", "sha256": SHA256, "bytes": 1})), "what pack", id="path"),
        pytest.param(left(manifest(pack={"path": pack_path(SHA256)})), "what pack", id="half a pack"),
        pytest.param(left(manifest(pack=1)), "what pack", id="no pack"),
        pytest.param(left(pack=None), "left no pack-", id="pack missing"),
        pytest.param(left(pack=b"others"), "not the one", id="another pack"),
        pytest.param(left(b" " * (1 << 20) + b" "), "too large", id="large"),
    ],
)
async def test_what_cannot_be_used_is_not_written_down(store, words):
    with pytest.raises(ManifestInvalid, match=words):
        await seal(store, "team-a", HASH, now=NOW)
    assert await read_record(store, "team-a", HASH) is None


async def test_only_what_nobody_used_or_needs_is_removed():
    store = left()
    await seal(store, "team-a", HASH, now=NOW)
    for name, day in (("b", date(2026, 10, 1)), ("c", date(2026, 10, 1)), ("d", date(2026, 11, 1))):
        await touch(store, "team-b", name * 64, day)
        store.objects[f"envs/team-b/{name * 64}.json"] = b"{}"
        store.objects[f"envs/team-b/{name * 64}/logs/x.log"] = b"log"
    asked, pardoned = [], []

    def condemn(namespace, digest):
        asked.append((namespace, digest))
        return digest != "c" * 64

    removed = await collect(
        store, today=NOW.date(), unused_days=30, condemn=condemn, pardon=lambda *key: pardoned.append(key)
    )
    assert removed == 1
    assert asked == [("team-b", "b" * 64), ("team-b", "c" * 64)]
    assert pardoned == [("team-b", "b" * 64)]
    assert not [key for key in store.objects if "b" * 64 in key]
    assert len([key for key in store.objects if "c" * 64 in key or "d" * 64 in key]) == 6
    assert await read_record(store, "team-a", HASH) is not None


async def test_a_removal_that_breaks_leaves_nothing_that_could_be_found_and_goes_on_next_time():
    store = left()
    await seal(store, "team-a", HASH, now=NOW)
    await touch(store, "team-a", HASH, date(2026, 10, 1))
    store.breaks_at = lambda call, key: call == "delete" and key.startswith(FOLDER)
    options = {"today": NOW.date(), "unused_days": 30, "condemn": lambda *_: True, "pardon": lambda *_: None}
    with pytest.raises(Exception, match="the store broke"):
        await collect(store, **options)
    assert await read_record(store, "team-a", HASH) is None
    store.breaks_at = lambda _call, _key: False
    assert await collect(store, **options) == 1
    assert store.objects == {}
