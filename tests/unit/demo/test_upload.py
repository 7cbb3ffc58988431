"""Uploading: files arrive whole, those that are there already are left alone, those that changed are not."""

from __future__ import annotations

import io

import pytest

from demo.console import Console
from demo.upload import CountingReader, upload_folder


@pytest.fixture
def folder(tmp_path):
    for name, content in (("a.gz", b"first"), ("b.gz", b"second"), ("empty.gz", b"")):
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def upload(storage, folder):
    def run(prefix):
        stream = io.StringIO()
        upload_folder(storage, sorted(folder.glob("*.gz")), prefix=prefix, console=Console(stream=stream))
        return [line.split("] ", 1)[1] for line in stream.getvalue().splitlines()]

    return run


def test_files_arrive_in_the_namespace_s_datastore(upload, bucket, loop):
    lines = upload("arrive/")
    stored = {name: loop(bucket.get(f"data/team/arrive/{name}", limit=100)) for name in ("a.gz", "b.gz", "empty.gz")}
    assert stored == {"a.gz": b"first", "b.gz": b"second", "empty.gz": b""}
    assert lines[0] == "Uploading 3 files, 0.0 MB, to arrive/"
    assert lines[-1] == "Uploaded arrive/empty.gz, 0.0 MB"


def test_what_is_there_already_is_not_sent_again(upload):
    upload("again/")
    assert upload("again/")[:2] == [
        "again/a.gz is in the datastore already",
        "again/b.gz is in the datastore already",
    ]


def test_a_file_that_changed_but_not_in_size_is_sent_again(upload, folder, bucket, loop):
    upload("changed/")
    (folder / "a.gz").write_bytes(b"FIRST")
    assert "Uploaded changed/a.gz, 0.0 MB" in upload("changed/")
    assert loop(bucket.get("data/team/changed/a.gz", limit=100)) == b"FIRST"


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
