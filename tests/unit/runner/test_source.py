"""Unpacking and packing of sources: what a hostile archive can try, and what an honest one must be able to do."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainyard.contract import MAX_SOURCE_FILES
from trainyard_runner import source
from trainyard_runner.packing import pack
from trainyard_runner.source import SourceError, unpack


def member(name, content=b"", *, kind=tarfile.REGTYPE, **more):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def link(name, to, *, kind=tarfile.SYMTYPE):
    return member(name, kind=kind, linkname=to)


def archive(path, *members, form=tarfile.PAX_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    path.write_bytes(gzip.compress(buffer.getvalue()))
    return path


@pytest.fixture
def place(tmp_path):
    """A folder to unpack into, beside a file that no archive may touch."""
    folder = tmp_path / "work"
    folder.mkdir()
    (tmp_path / "outside").write_text("untouched")
    return folder


HOSTILE = [
    pytest.param([member("../outside", b"x")], "'..'", id="up"),
    pytest.param([member("/outside", b"x")], "absolute", id="absolute"),
    pytest.param([member("a/../../outside", b"x")], "'..'", id="up from within"),
    pytest.param([member("./../outside", b"x")], "'..'", id="up after a dot"),
    pytest.param([link("l", "../outside")], "leads out", id="link up"),
    pytest.param([link("l", "/etc/passwd")], "must be relative", id="absolute link"),
    pytest.param([link("l", "")], "must be relative", id="empty link"),
    pytest.param([link("l", ".."), member("l/outside", b"x")], "two members in one place|leads out", id="file through a link"),
    pytest.param([member("d/x"), link("a", "d"), link("a/l", "x")], "below a link", id="link through a link"),
    pytest.param([link("a", ".."), link("a/new/l", "x")], "below a link", id="folder through a link"),
    pytest.param([member("x/y/z/f"), member("top/f"), link("x/y/z/l", "../../../top"), link("m", "x/y/z/l/../../outside")], "leads out", id="chain that leads up"),
    pytest.param([link("h", "../outside", kind=tarfile.LNKTYPE)], "'..'", id="hard link up"),
    pytest.param([link("h", "later", kind=tarfile.LNKTYPE), member("later")], "no file that came before", id="hard link to nothing"),
    pytest.param([link("l", "f"), link("h", "l", kind=tarfile.LNKTYPE)], "no file that came before", id="hard link to a link"),
    pytest.param([member("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3)], "no file, folder or link", id="device"),
    pytest.param([member("sda", kind=tarfile.BLKTYPE)], "no file, folder or link", id="block device"),
    pytest.param([member("pipe", kind=tarfile.FIFOTYPE)], "no file, folder or link", id="pipe"),
    pytest.param([member("f"), member("f/g")], "two members", id="file below a file"),
    pytest.param([member("outputs/f")], "for what the script saves", id="among the outputs"),
    pytest.param([member("a\\b")], "backslashes", id="backslash"),
    pytest.param([member("a\nb")], "control characters", id="newline"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "words"), HOSTILE)
def test_a_hostile_archive_is_refused_and_touches_nothing_outside(place, members, words):
    packed = archive(place.parent / "a.tar.gz", *members)
    with pytest.raises(SourceError, match=words):
        unpack(packed, place)
    assert (place.parent / "outside").read_text() == "untouched"
    assert sorted(p.name for p in place.parent.iterdir()) == ["a.tar.gz", "outside", "work"]


def test_modes_are_reduced_to_who_may_execute(place):
    packed = archive(place.parent / "a.tar.gz", member("tool", b"#!", mode=0o6777), member("data", b"", mode=0o2666))
    unpack(packed, place)
    assert [(place / name).stat().st_mode & 0o7777 for name in ("tool", "data")] == [0o755, 0o644]


def test_links_that_stay_inside_work(place):
    members = [member("./"), member("./pkg/a.py", b"A"), link("./b.py", "pkg/a.py"), link("./again", "pkg")]
    members += [link("./pkg/hard.py", "./pkg/a.py", kind=tarfile.LNKTYPE), link("./gone", "nowhere")]
    members[0][0].type = tarfile.DIRTYPE
    unpack(archive(place.parent / "a.tar.gz", *members), place)
    assert (
        (place / "b.py").read_text() == (place / "again/a.py").read_text() == (place / "pkg/hard.py").read_text() == "A"
    )
    assert not (place / "gone").exists()


@pytest.mark.parametrize(
    ("members", "words"),
    [
        pytest.param([member("zeros", b"\0" * 2_000_000)], "larger than 1 MB", id="too many bytes"),
        pytest.param(
            [member(str(n), os.urandom(600_000)) for n in range(2)], "larger than 1 MB", id="too many together"
        ),
        pytest.param([member("zeros", b"\0" * 900_000)], "200 times its size", id="packed too well"),
        pytest.param([member(str(n)) for n in range(6)], "more than 5 files", id="too many files"),
        pytest.param([member("n" * 2_000_000)], "unreasonably long name", id="a name that fills the memory"),
        pytest.param([member("f"), link("h", "f", kind=tarfile.LNKTYPE)] * 3, "more than 5 files", id="links count"),
    ],
)
def test_a_bomb_is_refused_while_it_is_read(place, monkeypatch, members, words):
    monkeypatch.setattr(source, "MAX_SOURCE_BYTES", 1_000_000)
    monkeypatch.setattr(source, "RATIO_FLOOR_BYTES", 100_000)
    monkeypatch.setattr(source, "MAX_SOURCE_FILES", 5)
    with pytest.raises(SourceError, match=words):
        unpack(archive(place.parent / "a.tar.gz", *members), place)
    assert sum(p.stat().st_size for p in place.rglob("*") if p.is_file()) <= 1_000_000 + 256 * 1024


def test_a_sparse_file_cannot_claim_more_than_is_allowed(place):
    info, _ = member("sparse", kind=tarfile.GNUTYPE_SPARSE, size=0)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"77777777777\0"  # the size that the file would have
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    packed = place.parent / "a.tar.gz"
    packed.write_bytes(gzip.compress(bytes(header) + b"\0" * 1024))
    with pytest.raises(SourceError, match="larger than"):
        unpack(packed, place)


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as target:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(info, content)
    return path


def test_a_zip_is_unpacked_like_a_tar(place):
    members = [
        ("pkg/", b"", 0o40755),
        ("pkg/a.py", b"A", 0o100644),
        ("run", b"#!", 0o104755),
        ("l", b"pkg/a.py", 0o120777),
    ]
    unpack(zipped(place.parent / "a.zip", members), place)
    assert (place / "l").read_text() == "A"
    assert (place / "run").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize(
    ("members", "words"),
    [
        pytest.param([("../outside", b"x", 0)], "'..'", id="up"),
        pytest.param([("/outside", b"x", 0)], "absolute", id="absolute"),
        pytest.param([("l", b"../outside", 0o120777)], "leads out", id="link up"),
        pytest.param([("pipe", b"", 0o010644)], "no file, folder or link", id="pipe"),
        pytest.param([("zeros", b"\0" * 100_000_000, 0o100644)], "200 times", id="bomb"),
    ],
)
def test_a_hostile_zip_is_refused(place, members, words):
    with pytest.raises(SourceError, match=words):
        unpack(zipped(place.parent / "a.zip", members), place)
    assert (place.parent / "outside").read_text() == "untouched"


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\3\4damaged", b"text", gzip.compress(b"x" * 600)], ids=repr)
def test_what_is_no_archive_says_so(place, content):
    packed = place.parent / "a"
    packed.write_bytes(content)
    with pytest.raises(SourceError, match="cannot be unpacked"):
        unpack(packed, place)


NAMES = st.text(st.sampled_from("ab./\\\0"), min_size=1, max_size=8)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])


@settings(deadline=None, max_examples=150)
@given(members=st.lists(st.tuples(NAMES, KINDS, NAMES), max_size=6))
def test_whatever_an_archive_holds_it_stays_in_its_folder(members, tmp_path_factory):
    root = tmp_path_factory.mktemp("any")
    folder = root / "work"
    folder.mkdir()
    made = [member(name.replace("\0", "b"), kind=kind, linkname=to.replace("\0", "a")) for name, kind, to in members]
    try:
        unpack(archive(root / "a.tar.gz", *made), folder)
    except SourceError:
        pass
    else:
        leads = [os.path.realpath(p) for p in folder.rglob("*")]
        assert all(os.path.commonpath([path, folder]) == str(folder) for path in leads)
    assert sorted(p.name for p in root.iterdir()) == ["a.tar.gz", "work"]


def tree(folder):
    for path, content in {"train.py": "x", "pkg/b.py": "y", ".git/config": "z"}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    (folder / "train.py").chmod(0o775)
    (folder / "link").symlink_to("pkg/b.py")
    (folder / "folder-link").symlink_to("pkg")


def test_the_same_files_are_packed_to_the_same_bytes_without_git(tmp_path, place):
    packed = []
    for name in ("one", "two"):
        tree(tmp_path / name)
        os.utime(tmp_path / name / "train.py", (len(packed), len(packed)))
        pack(tmp_path / name, tmp_path / f"{name}.tar.gz")
        packed.append((tmp_path / f"{name}.tar.gz").read_bytes())
    assert packed[0] == packed[1]
    unpack(tmp_path / "one.tar.gz", place)
    assert {p.name for p in place.iterdir()} == {"pkg", "train.py", "link", "folder-link"}
    assert (place / "folder-link" / "b.py").read_text() == "y"
    assert (place / "train.py").stat().st_mode & 0o777 == 0o755


def test_a_folder_with_too_many_files_is_not_packed(tmp_path, monkeypatch):
    tree(tmp_path / "one")
    monkeypatch.setattr("trainyard_runner.packing.MAX_SOURCE_FILES", 3)
    with pytest.raises(SourceError, match=f"more than {MAX_SOURCE_FILES} files"):
        pack(tmp_path / "one", tmp_path / "one.tar.gz")
