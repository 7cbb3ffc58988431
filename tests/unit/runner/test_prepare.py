"""The init container: what the gateway says is there arrives whole, or the run ends with a reason."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile

import pytest

from tests.support.fake_yard import DROP
from trainyard import contract

SOURCE = {"train.py": "print('hello')\n", "lib/utils.py": "X = 1\n"}


def test_source_inputs_and_runner_are_there_for_the_training_container(pod):
    pod.serve_source(SOURCE, arguments=["--n", "1"])
    pod.serve_input("data", [{"a.bin": b"a" * 300_000, "sub/b": b""}, {"c": b"c"}])
    pod.serve_input("more", [{"only": b"x"}])
    assert pod.prepare() == 0
    layout = pod.layout
    assert (layout.work / "train.py").read_text() == SOURCE["train.py"]
    assert (layout.work / "lib" / "utils.py").read_text() == SOURCE["lib/utils.py"]
    found = {str(p.relative_to(layout.inputs)): p.stat().st_size for p in layout.inputs.rglob("*") if p.is_file()}
    assert found == {"data/a.bin": 300_000, "data/sub/b": 0, "data/c": 1, "more/only": 1}
    assert sorted(p.name for p in layout.inputs.iterdir()) == ["data", "more"]
    document = json.loads(layout.run_file.read_text())
    assert document["arguments"] == ["--n", "1"]
    assert document["source"]["url"] == ""
    assert pod.termination()["reason"] is None
    assert pod.yard.gateway.states() == ["Preparing"]
    # What was left is a working pair: the package for scripts, the runner for `execute`.
    code = "from trainyard import Run; print(Run.get_context().name)"
    env = {**os.environ, "PYTHONPATH": str(layout.library)}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True).stdout == b"-c\n"
    assert subprocess.run([sys.executable, "-I", "-S", layout.archive], check=False).returncode == 1


def test_what_prepare_leaves_is_what_execute_runs(pod):
    pod.serve_source({"train.py": "import lib.utils\nprint('works', lib.utils.X)\n", "lib/utils.py": "X = 1\n"})
    assert pod.prepare() == 0
    assert pod.execute() == 0
    assert pod.saved_log() == "works 1\n"


def test_the_manifest_says_what_the_run_was_given_as_input(pod):
    pod.serve_source(SOURCE)
    pod.serve_input("data", [{"a.bin": b"a" * 300, "sub/b": b""}, {"ü": b"c"}])
    etag = hashlib.md5(b"a" * 300).hexdigest()
    pod.yard.gateway.inputs["data"][0][0]["etag"] = etag
    assert pod.prepare() == 0
    assert pod.execute() == 0
    listing = f'["a.bin",300,"{etag}"]\n["sub/b",0,""]\n["\\u00fc",1,""]\n'
    assert pod.manifest()["inputs"] == [
        {
            "name": "data",
            "uri": "s3://trainyard/data/team-a/data/",
            "files": 3,
            "bytes": 301,
            "sha256": hashlib.sha256(listing.encode()).hexdigest(),
        }
    ]


def test_the_manifest_of_a_run_without_inputs_speaks_of_none(pod):
    pod.serve_source(SOURCE)
    assert pod.prepare() == 0
    assert pod.execute() == 0
    assert "inputs" not in pod.manifest()


def test_the_log_of_prepare_is_saved_beside_that_of_the_script(pod):
    pod.serve_source(SOURCE)
    pod.serve_input("data", [{"a.bin": b"a"}])
    assert pod.prepare() == 0
    assert contract.PREPARE_LOG not in pod.yard.store.objects
    assert pod.execute() == 0
    saved = pod.yard.store.objects[contract.PREPARE_LOG].decode()
    assert saved == pod.container_log("prepare")
    assert "fetched the source" in saved
    assert "input 'data': 1 of 1 files" in saved
    assert pod.saved_log() == "hello\n"


@pytest.mark.parametrize("fault", [None, 403, DROP])
def test_the_log_of_a_prepare_that_fails_is_saved_where_that_is_possible(pod, fault):
    pod.serve_source({"other.py": ""})
    pod.yard.store.fault = lambda method, path: fault if path == contract.PREPARE_LOG else None
    assert pod.prepare(seconds=200) == 1
    assert pod.termination()["reason"] == "SourceInvalid"
    saved = pod.yard.store.objects.get(contract.PREPARE_LOG, b"").decode()
    assert ("SourceInvalid" in saved) == (fault is None)


def member(name, kind=tarfile.REGTYPE, **more):
    """Return a member of an archive that nobody good would make."""
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in more.items():
        setattr(info, key, value)
    return info


BAD_SOURCES = [
    pytest.param([member("../up.py")], "'..'", id="up"),
    pytest.param([member("/etc/x")], "absolute path", id="absolute"),
    pytest.param([member("a/../../up")], "'..'", id="up from within"),
    pytest.param([member("link", tarfile.SYMTYPE, linkname="/etc/passwd")], "link", id="symbolic link"),
    pytest.param([member("link", tarfile.LNKTYPE, linkname="train.py")], "link", id="hard link"),
    pytest.param([member("null", tarfile.CHRTYPE, devmajor=1, devminor=3)], "null", id="device"),
    pytest.param([member("pipe", tarfile.FIFOTYPE)], "pipe", id="named pipe"),
    pytest.param([("train.py", "x"), ("train.py/y", "y")], "two members in one place", id="file below a file"),
    pytest.param([("utils.py", "x"), ("model/net.py", "y")], "it has model/net.py, utils.py", id="no entry script"),
    pytest.param([], "it is empty", id="nothing at all"),
]


@pytest.mark.parametrize(("members", "words"), BAD_SOURCES)
def test_a_source_that_cannot_be_used_says_why(pod, targz, members, words):
    pod.serve_source(targz(members))
    assert pod.prepare() == 1
    assert pod.termination()["reason"] == "SourceInvalid"
    assert words in pod.termination()["message"]
    assert pod.termination()["container"] == "prepare"
    assert not (pod.root / "up.py").exists()
    assert not pod.layout.run_file.exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\0\0\0\0\0\0\0"])
def test_a_damaged_source_says_so(pod, content):
    pod.serve_source(content)
    assert pod.prepare() == 1
    assert pod.termination()["reason"] == "SourceInvalid"
    assert "cannot be unpacked" in pod.termination()["message"]


def test_a_source_with_another_digest_is_refused(pod):
    pod.serve_source(SOURCE)
    pod.yard.gateway.run["source"]["sha256"] = hashlib.sha256(b"other").hexdigest()
    assert pod.prepare() == 1
    assert pod.termination()["reason"] == "SourceInvalid"
    assert "digest" in pod.termination()["message"]


def test_a_source_that_grows_without_end_is_refused_before_it_fills_the_disk(pod):
    pod.serve_source(gzip.compress(member("zeros", size=2 << 30).tobuf() + b"\0" * 1024))
    assert pod.prepare() == 1
    assert pod.termination()["reason"] == "SourceInvalid"
    assert "larger than" in pod.termination()["message"]


REFUSALS = [
    pytest.param("run", 400, "SourceInvalid", "SourceInvalid", id="a source that cannot be packed"),
    pytest.param("run", 404, "SourceInvalid", "SourceInvalid", id="a source that was deleted"),
    pytest.param("run", 400, "InvalidSpec", "RunFailed", id="a spec that cannot be read"),
    pytest.param("run", 403, "Forbidden", "RunFailed", id="a pod that is not of a run"),
    pytest.param("run", 401, "Unauthorized", "RunFailed", id="a token that is not known"),
    pytest.param("input", 404, "InputNotFound", "InputNotFound", id="an input that is not there"),
    pytest.param("input", 400, "InputFailed", "InputFailed", id="an input with names that are no files"),
]


@pytest.mark.parametrize(("op", "status", "reason", "expected"), REFUSALS)
def test_a_refusal_of_the_gateway_ends_the_run_with_its_words(pod, op, status, reason, expected):
    pod.serve_source(SOURCE).serve_input("data", [{"a": b"a"}])
    pod.yard.gateway.refusals[op] = (status, {"reason": reason, "message": "the words of the gateway"})
    assert pod.prepare() == 1
    assert pod.termination()["reason"] == expected
    assert pod.termination()["message"] == "the words of the gateway"


def test_an_outage_is_waited_out(pod):
    pod.serve_source(SOURCE).serve_input("data", [{f"f{n}": b"x" * n for n in range(30)}])
    failures = {"gateway": 3, "store": 5}

    def fail(who, fault):
        failures[who] -= 1
        return fault if failures[who] >= 0 else None

    pod.yard.gateway.fault = lambda *_: fail("gateway", 503)
    pod.yard.store.fault = lambda *_: fail("store", DROP)
    assert pod.prepare() == 0
    assert len(list((pod.layout.inputs / "data").iterdir())) == 30


def test_a_download_goes_on_where_it_broke_off(pod):
    content = bytes(range(256)) * 4096
    pod.serve_source(SOURCE).serve_input("data", [{"big": content}])
    pod.yard.store.fault = lambda method, path: cut(pod) if path == "data/big" else None
    pod.cuts = 1

    def cut(pod):
        if pod.cuts:
            pod.cuts -= 1
            pod.yard.store.cut_after = 700_000

    assert pod.prepare() == 0
    assert (pod.layout.inputs / "data" / "big").read_bytes() == content
    assert ("GET", "data/big", 206) in pod.yard.store.requests


def test_expired_addresses_are_replaced_by_fresh_ones(pod):
    pod.yard.gateway.expire_first = True
    pod.serve_source(SOURCE).serve_input("data", [{"a": b"a", "b": b"b"}, {"c": b"c"}])
    assert pod.prepare() == 0
    assert sorted(p.name for p in (pod.layout.inputs / "data").iterdir()) == ["a", "b", "c"]


def test_an_object_that_is_not_as_long_as_it_was_listed_is_not_taken(pod):
    pod.serve_source(SOURCE).serve_input("data", [{"a": b"aaaa"}])
    pod.yard.store.objects["data/a"] = b"aa"
    assert pod.prepare() == 1
    assert pod.termination()["reason"] == "InputFailed"
    assert list((pod.layout.inputs / "data").iterdir()) == []


def test_an_object_that_is_gone_by_now_ends_the_run(pod):
    pod.serve_source(SOURCE).serve_input("data", [{"a": b"aaaa"}])
    del pod.yard.store.objects["data/a"]
    assert pod.prepare() == 1
    assert pod.termination()["reason"] == "InputFailed"
    assert "'a'" in pod.termination()["message"]


@pytest.mark.parametrize("path", ["../up", "/abs", "a/../../b", "a//b", "new\nline"])
def test_a_name_that_leaves_its_folder_is_not_written(pod, path):
    pod.serve_source(SOURCE).serve_input("data", [{"good": b"x"}])
    pod.yard.gateway.inputs["data"][0][0]["path"] = path
    assert pod.prepare() == 1
    assert pod.termination()["reason"] == "InputFailed"
    assert [p for p in pod.root.rglob("*") if p.name in {"up", "b", "abs"}] == []


def test_placeholders_of_folders_become_folders_and_a_file_in_their_way_is_told(pod):
    pod.serve_source(SOURCE).serve_input("data", [{"empty/": b"", "a": b"a"}])
    assert pod.prepare() == 0
    assert (pod.layout.inputs / "data" / "empty").is_dir()
    pod.serve_input("data", [{"x": b"x"}, {"x/y": b"y"}])
    assert pod.prepare() == 1
    assert "could not be written" in pod.termination()["message"]


def test_a_thousand_files_come_in_parallel_over_a_few_connections(pod):
    pod.serve_source(SOURCE)
    pod.serve_input("data", [{f"{p}/{n:03d}": str(n).encode() for n in range(500)} for p in range(2)])
    assert pod.prepare() == 0
    assert sum(1 for p in (pod.layout.inputs / "data").rglob("*") if p.is_file()) == 1000
    assert len(pod.yard.store.connections) < 20


def test_a_stop_while_the_gateway_is_away_ends_it_at_once(pod, wait_until):
    pod.yard.gateway.fault = lambda *_: DROP
    pod.serve_source(SOURCE).start("prepare")
    wait_until(lambda: "trying again" in pod.container_log("prepare"))
    pod.process.send_signal(signal.SIGTERM)
    assert pod.wait(seconds=60) == 143
    assert pod.termination()["reason"] == "RunFailed"
    assert "stopped from outside" in pod.termination()["message"]


def test_a_variable_that_is_missing_is_named(pod):
    del pod.env["TRAINYARD_GATEWAY"]
    assert pod.prepare() == 1
    assert "TRAINYARD_GATEWAY" in pod.termination()["message"]


@pytest.mark.parametrize("arguments", [[], ["save"], ["prepare", "more"]])
def test_another_command_is_answered_with_the_usage(runner_pyz, arguments):
    done = subprocess.run(
        [sys.executable, "-I", "-S", runner_pyz, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("usage: runner.pyz read|prepare|execute|tools|build|pack")
