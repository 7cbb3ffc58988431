"""Which files below outputs/ are saved, and what is said of those that are not."""

from __future__ import annotations

import hashlib

import pytest

PRELUDE = "import os, socket\nos.makedirs('outputs', exist_ok=True)\nopen('outputs/good', 'w').write('good')\n"

ODD = [
    pytest.param("os.symlink('/etc/passwd', 'outputs/passwd')", "symbolic link", id="link to a file outside"),
    pytest.param("os.symlink('/etc', 'outputs/etc')", "symbolic link", id="link to a folder outside"),
    pytest.param("os.symlink('good', 'outputs/alias')", "symbolic link", id="link to a file inside"),
    pytest.param("os.symlink('nothing', 'outputs/broken')", "symbolic link", id="broken link"),
    pytest.param("os.mkfifo('outputs/pipe')", "neither a file nor a folder", id="named pipe"),
    pytest.param(
        "s = socket.socket(socket.AF_UNIX); os.chdir('outputs'); s.bind('sock')", "neither a file", id="socket"
    ),
    pytest.param("open('outputs/back\\\\slash', 'w').close()", "backslashes", id="backslash in the name"),
    pytest.param("open('outputs/..\\\\up', 'w').close()", "backslashes", id="a Windows way up"),
    pytest.param("open('outputs/new\\nline', 'w').close()", "control characters", id="line end in the name"),
    pytest.param("open(b'outputs/\\xff\\xfe', 'w').close()", "control characters", id="name that is not UTF-8"),
    pytest.param(
        "d = 'outputs' + ('/' + 'd' * 250) * 5; os.makedirs(d); open(d + '/f', 'w').close()", "longer than", id="deep"
    ),
]


@pytest.mark.parametrize(("statement", "words"), ODD)
def test_what_is_no_plain_file_inside_is_left_out_with_a_warning(pod, statement, words):
    assert pod.prepared(PRELUDE + statement).execute() == 0
    assert pod.saved_outputs() == ["outputs/good"]
    assert [o["path"] for o in pod.manifest()["outputs"]] == ["outputs/good"]
    (warning,) = pod.manifest()["warnings"]
    assert words in warning
    assert pod.termination()["warnings"] == [warning]
    assert not any(b"root:" in content for content in pod.yard.store.objects.values())


@pytest.mark.parametrize(
    ("script", "warned"),
    [
        pytest.param("pass", False, id="absent"),
        pytest.param("import os; os.mkdir('outputs')", False, id="empty"),
        pytest.param("import os; os.makedirs('outputs/a/b')", False, id="only folders"),
        pytest.param("import os; os.symlink('/etc', 'outputs')", True, id="a link itself"),
        pytest.param("open('outputs', 'w').write('x')", True, id="a file itself"),
    ],
)
def test_a_run_may_leave_nothing(pod, script, warned):
    assert pod.prepared(script).execute() == 0
    assert pod.manifest()["outputs"] == []
    assert pod.saved_outputs() == []
    assert bool(pod.manifest()["warnings"]) == warned


def test_good_names_of_all_kinds_are_saved_byte_for_byte(pod):
    names = ["a b", "ü€😀", "$(x);'\"", "x" * 255, ".hidden", "deep/er/file", "-flag", "100%", "a..b", "..."]
    script = (
        PRELUDE
        + f"""
for name in {names!r}:
    path = 'outputs/' + name
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, 'w').write(name)
open('outputs/empty', 'w').close()
"""
    )
    assert pod.prepared(script).execute() == 0
    expected = {f"outputs/{name}": name.encode() for name in names}
    expected |= {"outputs/empty": b"", "outputs/good": b"good"}
    listed = {o["path"]: (o["bytes"], o["sha256"]) for o in pod.manifest()["outputs"]}
    assert listed == {path: (len(c), hashlib.sha256(c).hexdigest()) for path, c in expected.items()}
    saved = {key: content for key, content in pod.yard.store.objects.items() if key.startswith("outputs/")}
    assert saved == expected
    assert pod.manifest()["warnings"] == []


def test_two_thousand_small_files_are_saved_over_a_few_connections(pod):
    script = PRELUDE + "for n in range(1999): open(f'outputs/{n:04d}', 'w').write(str(n))"
    assert pod.prepared(script).execute(seconds=200) == 0
    assert len(pod.saved_outputs()) == 2000
    assert len(pod.manifest()["outputs"]) == 2000
    assert pod.termination()["outputs"] == {"files": 2000, "bytes": 4 + sum(len(str(n)) for n in range(1999))}
    assert len(pod.yard.store.connections) < 40
    puts = [grant for grant in pod.yard.gateway.grants if grant["op"] == "put"]
    assert len([put for put in puts if put["files"][0]["path"].startswith("outputs/")]) == 4


def test_too_many_files_are_refused_before_any_is_saved(pod):
    script = PRELUDE + "for n in range(20_000): open(f'outputs/{n:05d}', 'w').close()"
    assert pod.prepared(script).execute() == 1
    termination = pod.termination()
    assert termination["reason"] == "OutputsNotSaved"
    assert "20000" in termination["message"]
    assert "archive" in termination["message"]
    assert pod.saved_outputs() == []
    assert "manifest.json" not in pod.yard.store.objects


def test_a_large_file_passes_through_without_being_held_in_memory(pod):
    script = PRELUDE + "f = open('outputs/large', 'wb')\nfor n in range(200): f.write(bytes([n]) * (1 << 20))"
    assert pod.prepared(script).execute() == 0
    assert len(pod.yard.store.objects["outputs/large"]) == 200 << 20
    assert pod.max_rss_mb < 100


def test_warnings_are_counted_once_there_are_too_many(pod):
    script = PRELUDE + "for n in range(100): os.symlink('/etc/passwd', f'outputs/link{n:03d}')"
    assert pod.prepared(script).execute() == 0
    warnings = pod.manifest()["warnings"]
    assert len(warnings) == 20
    assert warnings[-1] == "and 81 more warnings like these"
