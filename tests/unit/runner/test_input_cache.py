"""The cache of inputs that pods share: what is a hit, what is dropped, and that nothing ever depends on it."""

from __future__ import annotations

import errno
import os
import threading
import time

import pytest

from trainyard_runner import cache_files
from trainyard_runner.cache_files import Place, locked
from trainyard_runner.input_cache import InputCache


class Downloads:
    """An object store: what was asked of it, and what it says."""

    def __init__(self):
        self.done = []

    def of(self, file, target):
        def download(alive):
            alive()
            self.done.append(file["path"])
            target.write_bytes(content(file))

        return download


def listed(path="a", *, size=5, etag='"1"', signature="x", host="s3"):
    return {
        "path": path,
        "bytes": size,
        "etag": etag,
        "url": f"https://{host}/bucket/{path}?X-Amz-Signature={signature}",
    }


def content(file):
    return (file["path"] * file["bytes"]).encode()[: file["bytes"]]


class World:
    """One node: its folder, and the store."""

    def __init__(self, root):
        self.root, self.cache_root = root, root / "cache"
        self.cache_root.mkdir()
        self.store, self.warnings, self.numbers = Downloads(), [], iter(range(1000))

    def run(self, *, namespace="team", limit=1000):
        return InputCache(self.cache_root, namespace=namespace, limit=limit, warn=self.warnings.append)

    def bring(self, *files, cache=None, store=None, **how):
        cache, store = cache or self.run(**how), store or self.store
        found = []
        for file in files:
            target = self.root / f"target-{next(self.numbers)}"
            part = target.with_suffix(".part")
            found.append(cache.bring(file, target, part=part, download=store.of(file, target)))
            assert target.read_bytes() == content(file)
            assert not part.exists()
        cache.close()
        return found

    def kept(self, kind="data"):
        return sorted(self.cache_root.glob(f"*/*.{kind}"))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_what_one_run_has_downloaded_the_next_one_finds(world):
    assert world.bring(listed("a"), listed("b")) == [False, False]
    assert world.bring(listed("a", signature="y"), listed("b"), listed("c")) == [True, True, False]
    assert world.store.done == ["a", "b", "c"]
    assert world.warnings == []


@pytest.mark.parametrize(
    ("file", "namespace"),
    [
        pytest.param(listed(etag='"2"'), "team", id="other bytes"),
        pytest.param(listed(size=6), "team", id="another size"),
        pytest.param(listed(host="other"), "team", id="another store"),
        pytest.param(listed(), "guests", id="another namespace"),
        pytest.param({**listed(), "etag": ""}, "team", id="bytes that nothing names"),
    ],
)
def test_another_object_is_no_hit(world, file, namespace):
    world.bring(listed())
    assert world.bring(file, namespace=namespace) == [False]


def test_a_namespace_has_a_folder_that_nobody_else_may_read(world):
    (world.cache_root / "team").mkdir(mode=0o777)
    world.bring(listed())
    assert (world.cache_root / "team").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("found", [b"other", b"short"[:3], b""], ids=["changed", "cut", "emptied"])
def test_bytes_that_have_changed_are_dropped_and_downloaded(world, found):
    world.bring(listed())
    (kept,) = world.kept()
    kept.write_bytes(found)
    assert world.bring(listed()) == [False]
    (warning,) = world.warnings
    assert "damaged" in warning
    assert world.bring(listed()) == [True]


@pytest.mark.parametrize("kind", ["data", "lock"])
def test_what_somebody_removed_by_hand_is_downloaded_again(world, kind):
    world.bring(listed())
    world.kept(kind)[0].unlink()
    assert world.bring(listed()) == [False]
    assert world.bring(listed()) == [True]
    assert world.warnings == []


def age(world, **seconds):
    """Let files, by their size, have been used so long ago."""
    for size, ago in seconds.items():
        (lock,) = [p.with_suffix(".lock") for p in world.kept() if p.stat().st_size == int(size[1:])]
        os.utime(lock, (time.time() - ago,) * 2)


def test_what_was_not_used_for_longest_goes_first_whoevers_it_is(world):
    world.bring(listed("a", size=300), namespace="guests")
    world.bring(listed("b", size=310), listed("c", size=320))
    age(world, _300=10, _310=30, _320=20)
    world.bring(listed("b", size=310))
    world.bring(listed("d", size=330))
    assert sorted(p.stat().st_size for p in world.kept()) == [300, 310, 330]


def test_what_is_in_use_stays_whatever_the_limit(world):
    world.bring(listed("a", size=600))
    (kept,) = world.kept()
    with locked(Place(kept.with_suffix("")), exclusive=False):
        assert world.bring(listed("b", size=600)) == [False]
        assert world.kept() == [kept]
    assert world.bring(listed("b", size=600)) == [False]
    assert [p.stat().st_size for p in world.kept()] == [600]
    assert world.kept() != [kept]


def test_a_file_larger_than_the_cache_is_not_kept(world):
    world.bring(listed("a"))
    assert world.bring(listed("b", size=1001)) == [False]
    assert len(world.kept()) == 1


def test_what_a_killed_run_has_left_counts_and_does_not_disturb(world):
    world.bring(listed(size=500))
    (kept,) = world.kept()
    kept.rename(kept.with_suffix(".part"))
    assert world.bring(listed("b", size=600)) == [False]
    assert world.kept("part") == []
    assert world.bring(listed(size=500)) == [False]


def missing(world):
    world.cache_root.rmdir()


def no_folder(world):
    world.cache_root.rmdir()
    world.cache_root.write_text("")


def a_link(world):
    (world.root / "elsewhere").mkdir()
    (world.cache_root / "team").symlink_to(world.root / "elsewhere")


@pytest.mark.parametrize("spoil", [missing, no_folder, a_link])
def test_a_cache_that_cannot_be_used_is_told_of_once(world, spoil):
    spoil(world)
    assert world.bring(listed("a"), listed("b")) == [False, False]
    (warning,) = world.warnings
    assert "the cache of inputs cannot be used" in warning
    assert "spec.inputCache" in warning
    assert not (world.root / "elsewhere").exists() or not list((world.root / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("code", "words", "kept"),
    [
        pytest.param(errno.ENOSPC, "the disk of the cache is full", True, id="full"),
        pytest.param(errno.EROFS, "cannot be used: Read-only file system", False, id="read-only"),
        pytest.param(errno.EIO, "cannot be used: Input/output error", False, id="broken"),
    ],
)
def test_a_disk_that_takes_nothing_more_fails_no_run(world, monkeypatch, code, words, kept):
    world.bring(listed("a"))

    def refuse(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    # What is there already a full disk still gives.
    assert world.bring(listed("b"), listed("c"), listed("a")) == [False, False, kept]
    (warning,) = world.warnings
    assert words in warning
    assert world.kept("part") == []


def test_a_disk_that_becomes_read_only_under_a_download_fails_no_run(world, monkeypatch):
    def refuse(_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(os, "fsync", refuse)
    assert world.bring(listed()) == [False]
    assert len(world.warnings) == 1


class Slow(Downloads):
    """A store that takes its time."""

    def __init__(self, *, breaks=False):
        super().__init__()
        self.began, self.goes_on, self.breaks = threading.Event(), threading.Event(), breaks

    def of(self, file, target):
        fast = super().of(file, target)

        def download(alive):
            self.began.set()
            assert self.goes_on.wait(60)
            if self.breaks:
                raise ConnectionError("gone")
            fast(alive)

        return download


@pytest.mark.parametrize(
    ("breaks", "hit"), [pytest.param(False, True, id="whole"), pytest.param(True, False, id="broken off")]
)
def test_a_file_that_another_run_is_downloading_is_waited_for(world, breaks, hit):
    slow, results = Slow(breaks=breaks), []

    def first():
        try:
            world.bring(listed(), store=slow)
        except ConnectionError:
            results.append("broke")

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert slow.began.wait(60)
    threads.append(threading.Thread(target=lambda: results.extend(world.bring(listed()))))
    threads[1].start()
    time.sleep(0.3)
    assert results == []
    slow.goes_on.set()
    for thread in threads:
        thread.join(60)
    # Who comes first after the lock is free is not told.
    assert sorted(results, key=str) == [hit] + ([] if hit else ["broke"])
    assert slow.done + world.store.done == ["a"]


def test_a_run_that_holds_a_file_in_silence_is_not_waited_for_for_ever(world, monkeypatch):
    monkeypatch.setattr(cache_files, "PATIENCE_SECONDS", 0.2)
    world.bring(listed())
    (lock,) = world.kept("lock")
    with locked(Place(lock.with_suffix("")), exclusive=True):
        assert world.bring(listed(), listed("b")) == [False, False]
    (warning,) = world.warnings
    assert "without going on" in warning
