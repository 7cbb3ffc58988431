from __future__ import annotations

import io
import multiprocessing
import re
import socket
from pathlib import Path

import pytest

from devcluster import ports
from devcluster.children import Child
from devcluster.components import Component
from devcluster.errors import DevclusterError
from devcluster.layout import Cache, read_json, write_atomically
from devcluster.locks import locked
from devcluster.progress import Progress
from devcluster.waiting import wait_for


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path):
    path = tmp_path / "state.json"
    path.write_text("old")
    write_atomically(path, '{"octet": 77}', mode=0o600)
    assert read_json(path) == {"octet": 77}
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="absent"),
        pytest.param("", id="empty"),
        pytest.param('{"octet": ', id="torn"),
        pytest.param("[1]", id="not an object"),
    ],
)
def test_a_damaged_state_is_no_state(tmp_path: Path, text: str | None):
    path = tmp_path / "state.json"
    if text is not None:
        path.write_text(text)
    assert read_json(path) == {}


def test_the_cache_is_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Cache.default().root == tmp_path / "trainyard"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Cache.default().root == Path("/home/somebody/.cache/trainyard")


def hold(path: Path, held, release) -> None:
    with locked(path):
        held.set()
        release.wait(30)


def test_a_lock_is_waited_for_and_falls_to_the_next_when_its_holder_is_killed(tmp_path: Path):
    path = tmp_path / "lock"
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(path, held, release))
    holder.start()
    assert held.wait(30)
    said = []

    def waiting() -> None:
        said.append("waiting")
        holder.kill()

    with locked(path, waiting=waiting):
        assert said == ["waiting"]
    holder.join()


def test_free_ports_differ_and_are_given_to_nobody_by_chance():
    found = ports.free(20)
    assert len(set(found)) == 20
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert first < 30_000 or max(found) < first


def test_a_port_that_somebody_has_is_not_free(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        taken = listener.getsockname()[1]
        (other,) = ports.free(1)
        monkeypatch.setattr(ports, "CHOICE", [taken, other])
        assert ports.free(1) == [other]


def test_a_condition_that_never_holds_is_named_with_a_hint():
    with pytest.raises(DevclusterError, match=r"waited 0 s for the moon in vain\nlook up"):
        wait_for(lambda: False, what="the moon", timeout=0, hint=lambda: "look up")


def test_long_steps_are_told_before_and_after_and_short_ones_not_at_all():
    stream = io.StringIO()
    progress = Progress(stream=stream)
    with progress.step("looking", "looked"):
        pass
    with progress.step("building etcd", "etcd built", slow=True):
        pass
    lines = stream.getvalue().splitlines()
    assert [re.sub(r"\d+\.\d", "N", line) for line in lines] == [
        "[   Ns] building etcd ...",
        "[   Ns] etcd built in N s",
    ]


def test_a_child_that_ends_is_reported_with_its_last_words(tmp_path: Path):
    child = Child(Component(name="p", argv=("sh", "-c", "echo farewell; exit 3")), log=tmp_path / "log" / "p.log")
    with pytest.raises(DevclusterError, match=r"(?s)p ended with status 3.*farewell"):
        wait_for(lambda: bool(child.check()), what="its end", timeout=60)


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_a_child_is_ended(tmp_path: Path, way: str):
    child = Child(Component(name="p", argv=("sleep", "60")), log=tmp_path / "p.log")
    child.check()
    getattr(child, way)()
    with pytest.raises(DevclusterError, match="p ended with status -"):
        child.check()
