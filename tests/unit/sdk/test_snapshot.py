"""Which files of a folder are code, and how they become one archive."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from trainyard.errors import SnapshotError
from trainyard.remote import snapshot
from trainyard.remote.ignore import Ignore


def make(root, files):
    for path in files:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


@pytest.mark.parametrize(
    ("lines", "path", "folder", "out"),
    [
        pytest.param(["*.pkl"], "model.pkl", False, True, id="a star in the top folder"),
        pytest.param(["*.pkl"], "a/b/model.pkl", False, True, id="a pattern without a slash counts everywhere"),
        pytest.param(["a/*.pkl"], "b/a/model.pkl", False, False, id="one with a slash is tied to the top"),
        pytest.param(["/data"], "a/data", True, False, id="a slash in front ties it too"),
        pytest.param(["/data"], "data", True, True, id="and then it counts there"),
        pytest.param(["data/"], "data", False, False, id="a slash at the end means folders alone"),
        pytest.param(["data/"], "a/data", True, True, id="folders of that name everywhere"),
        pytest.param(["**/logs"], "a/b/logs", True, True, id="two stars in front"),
        pytest.param(["**/logs"], "logs", True, True, id="two stars may be nothing"),
        pytest.param(["a/**/z"], "a/b/c/z", False, True, id="two stars in the middle"),
        pytest.param(["a/**"], "a/b/c", False, True, id="two stars at the end"),
        pytest.param(["a/**"], "a", True, False, id="two stars at the end leave the folder itself"),
        pytest.param(["*"], "a/b", False, True, id="one star does not cross a slash but counts everywhere"),
        pytest.param(["a/*"], "a/b/c", False, False, id="one star is one name"),
        pytest.param(["?.py"], "ab.py", False, False, id="a question mark is one character"),
        pytest.param(["[ab].py"], "a.py", False, True, id="a set"),
        pytest.param(["[!ab].py"], "a.py", False, False, id="a set turned round"),
        pytest.param(["*.py", "!train.py"], "train.py", False, False, id="taken back"),
        pytest.param(["!train.py", "*.py"], "train.py", False, True, id="the later line wins"),
        pytest.param(["# data", "", "   "], "data", True, False, id="comments and empty lines"),
        pytest.param([r"\#odd"], "#odd", False, True, id="an escaped hash"),
        pytest.param([r"\!odd"], "!odd", False, True, id="an escaped exclamation mark"),
        pytest.param(["data  "], "data", True, True, id="spaces at the end do not count"),
        pytest.param(["a.b"], "axb", False, False, id="a dot is a dot"),
        pytest.param([], "pkg/__pycache__", True, True, id="compiled files never"),
        pytest.param([], ".git", True, True, id="history never"),
        pytest.param(["!*"], ".git", True, True, id="and no star brings it back"),
    ],
)
def test_lines_mean_what_they_mean_to_git(lines, path, folder, out):
    assert Ignore(lines).leaves_out(path, folder=folder) is out


def test_amlignore_wins_over_gitignore(tmp_path):
    make(tmp_path, ["a.py", "b.txt", "c.md", "venv/big.bin"])
    (tmp_path / ".gitignore").write_text("*.txt\nvenv/\n")
    names = lambda: [file.path for file in snapshot.collect(tmp_path)]  # noqa: E731
    assert names() == [".gitignore", "a.py", "c.md"]
    (tmp_path / ".amlignore").write_text("*.md\nvenv/\n")
    assert names() == [".amlignore", ".gitignore", "a.py", "b.txt"]


def test_the_same_files_make_the_same_bytes_whenever_and_wherever(tmp_path):
    digests = set()
    for name in ("one", "two"):
        make(tmp_path / name, ["train.py", "pkg/a.py"])
        os.utime(tmp_path / name / "train.py", (len(digests), len(digests)))
        digests.add(snapshot.take(tmp_path / name).sha256)
    assert len(digests) == 1
    taken = snapshot.take(tmp_path / "one")
    assert taken.source() == {"archive": {"path": f"snapshots/{taken.sha256}.tar.gz", "sha256": taken.sha256}}
    with tarfile.open(fileobj=io.BytesIO(taken.content)) as archive:
        assert {m.name: (m.mode, m.mtime, m.uid) for m in archive} == {
            "pkg/a.py": (0o644, 0, 0), "train.py": (0o644, 0, 0),
        }  # fmt: skip


def test_a_folder_that_is_too_large_names_its_largest_files(tmp_path):
    make(tmp_path, ["train.py", "a/small.csv"])
    (tmp_path / "a" / "big.csv").write_bytes(bytes(2_000_000))
    with pytest.raises(SnapshotError) as caught:
        snapshot.take(tmp_path, max_bytes=1_000_000)
    said = str(caught.value)
    assert f"While attempting to take snapshot of {tmp_path}: your total snapshot size exceeds" in said
    assert "limit of 1.0 MB; the largest files: a/big.csv (2.0 MB), " in said
    assert ".amlignore" in said
    with pytest.raises(
        SnapshotError, match=r"it has 3 files, more than 2; most of them are in: a/ \(2\), train.py \(1\)"
    ):
        snapshot.take(tmp_path, max_files=2)


def test_a_link_to_a_folder_is_refused_and_one_to_a_file_is_its_content(tmp_path):
    make(tmp_path, ["code/train.py", "shared/utils.py"])
    (tmp_path / "code/utils.py").symlink_to(tmp_path / "shared/utils.py")
    assert [file.path for file in snapshot.collect(tmp_path / "code")] == ["train.py", "utils.py"]
    (tmp_path / "code/shared").symlink_to(tmp_path / "shared")
    with pytest.raises(SnapshotError, match=r"shared in .* is a link to a folder"):
        snapshot.collect(tmp_path / "code")
    (tmp_path / "code/.amlignore").write_text("shared\n")
    assert [file.path for file in snapshot.collect(tmp_path / "code")] == [".amlignore", "train.py", "utils.py"]


def test_no_folder_is_said(tmp_path):
    with pytest.raises(SnapshotError, match="is no folder"):
        snapshot.take(tmp_path / "nothing")


class Shelf:
    def __init__(self, *there):
        self.there, self.put_names = there, []

    def files(self, *, area, prefix):
        assert area == "snapshots"
        return [{"path": prefix}] if prefix in self.there else []

    def put(self, uploads, *, op):
        assert op == "snapshot-put"
        self.put_names += [upload.path for upload in uploads]


def test_what_is_there_is_not_sent_again(tmp_path):
    make(tmp_path, ["train.py"])
    taken = snapshot.take(tmp_path)
    shelf = Shelf()
    assert snapshot.keep(taken, shelf)
    assert shelf.put_names == [taken.name]
    assert not snapshot.keep(taken, Shelf(taken.name))
