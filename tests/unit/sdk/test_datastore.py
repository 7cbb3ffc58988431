"""Bringing files into the datastore: where they go, and how their bytes are counted."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from trainyard.errors import ConfigError, Conflict
from trainyard.remote.datastore import CountingReader, Datastore, located, placed, progress


def test_a_file_s_bytes_are_counted_as_they_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    counted = []
    with CountingReader(tmp_path / "file", advance=counted.append) as file:
        assert (file.read(6), file.read(6)) == (b"012345", b"6789")
    assert counted == [6, 4]


def test_a_try_that_was_broken_off_is_not_counted(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    counted = []
    with CountingReader(tmp_path / "file", advance=counted.append) as file:
        file.read(6)
    assert sum(counted) == 0


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        pytest.param(SimpleNamespace(kernel=object()), ["100%", "2.00k/2.00k"], id="a notebook"),
        pytest.param(SimpleNamespace(), [], id="IPython in a pipe"),
        pytest.param(None, [], id="Python in a pipe"),
    ],
)
def test_a_bar_is_drawn_where_somebody_sees_it(shell, expected, monkeypatch, capsys):
    ipython = SimpleNamespace(get_ipython=lambda: shell) if shell else None
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    with progress(2000, show=True) as advance:
        advance(2000)
    printed = capsys.readouterr()
    assert [piece for piece in ("100%", "2.00k/2.00k") if piece in printed.out] == expected
    assert printed.err == ""


@pytest.mark.parametrize(("total", "show"), [(0, True), (10, False)])
def test_no_bar_is_drawn_for_nothing_or_for_nobody(total, show, monkeypatch, capsys):
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    with progress(total, show=show) as advance:
        advance(1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("files", "root", "where", "expected"),
    [
        pytest.param(["/a/b/c", "/a/d"], "/a", "", {"b/c": "/a/b/c", "d": "/a/d"}, id="to the top"),
        pytest.param(["/a/b/c"], "/a/b", "mnist", {"mnist/c": "/a/b/c"}, id="to a folder"),
    ],
)
def test_files_keep_their_path_below_their_root(files, root, where, expected):
    found = placed(list(map(Path, files)), Path(root), where)
    assert {file.target: str(file.source) for file in found} == expected


@pytest.mark.parametrize(
    ("files", "root", "error", "said"),
    [
        pytest.param(["/a/b"], "/c", ConfigError, "/a/b is not below /c", id="not below its root"),
        pytest.param(["/a/b", "/a/b"], "/a", Conflict, "would both be b", id="twice"),
    ],
)
def test_files_that_cannot_be_placed_are_named(files, root, error, said):
    with pytest.raises(error, match=said):
        placed(list(map(Path, files)), Path(root), "")


@pytest.mark.parametrize(
    ("prefix", "path", "key", "expected"),
    [
        pytest.param("", "a/b", "a/b", "a/b", id="all"),
        pytest.param("a", "b", "a/b", "a/b", id="a folder"),
        pytest.param("a/", "b", "a/b", "a/b", id="a folder with its slash"),
        pytest.param("a/b", "b", "a/b", "a/b", id="a file"),
        pytest.param("a", "a", "a/a", "a/a", id="a folder with a file of its name"),
        pytest.param("a b", "a b", "a%20b", "a b", id="a file with a space"),
    ],
)
def test_listed_files_are_known_by_their_whole_path(prefix, path, key, expected):
    grant = {"path": path, "bytes": 1, "url": f"http://s3/bucket/data/team/{key}?X-Amz-Signature=1"}
    assert located(grant, prefix, container="data/team") == expected


def test_there_is_one_datastore():
    workspace = SimpleNamespace(name="team", resource_group="yard")
    assert Datastore.get(workspace, "workspaceblobstore").container_name == "data/team"
    with pytest.raises(ConfigError, match="a workspace has one"):
        Datastore(workspace, "other")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        pytest.param(lambda store, _: store.upload("no-folder"), "is no folder", id="folder"),
        pytest.param(lambda store, _: store.upload_files([]), "files is empty", id="no files"),
        pytest.param(lambda store, here: store.upload_files([here / "x"]), "no such file", id="file"),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_asked(call, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        call(Datastore(SimpleNamespace(name="team", resource_group="yard")), tmp_path)


@pytest.mark.parametrize(
    ("there", "overwrite", "sent"),
    [
        pytest.param(None, False, ["f"], id="not there"),
        pytest.param({"bytes": 5, "etag": '"5d41402abc4b2a76b9719d911017c592"'}, True, [], id="the same"),
        pytest.param({"bytes": 5, "etag": '"of-parts-2"'}, True, ["f"], id="may be the same"),
        pytest.param({"bytes": 6}, True, ["f"], id="another size"),
        pytest.param({"bytes": 6}, False, [], id="another one is kept"),
    ],
)
def test_what_is_there_with_the_same_content_is_not_sent_again(tmp_path, capsys, there, overwrite, sent):
    (tmp_path / "f").write_bytes(b"hello")
    uploads = []
    gateway = SimpleNamespace(
        files=lambda **_: [{"path": "f", "url": "u", **there}] if there else [],
        put=lambda files, **_: uploads.extend(file.path for file in files),
    )
    Datastore(SimpleNamespace(name="team", gateway=gateway)).upload(tmp_path, overwrite=overwrite)
    assert uploads == sent
    assert ("Skipping upload for f" in capsys.readouterr().out) is (sent == [])
