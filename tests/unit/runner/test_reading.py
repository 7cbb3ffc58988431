"""What a run's packages are read from, before there is a run: a file of its source, handed to the gateway as text."""

from __future__ import annotations

import io
import tarfile

import pytest

NEEDS = "\ufeffnumpy\n# é\n"


def read(pod):
    return pod.start("read").wait()


def said(pod):
    return [grant["text"] for grant in pod.yard.gateway.grants if grant["op"] == "requirements-put"]


@pytest.fixture(autouse=True)
def takes(pod, monkeypatch):
    """Let the gateway take the text, whose answer is empty."""
    answer = pod.yard.gateway.answer
    monkeypatch.setattr(
        pod.yard.gateway,
        "answer",
        lambda op, request: {} if op == "requirements-put" else answer(op, request),
    )


def test_the_text_of_the_file_is_handed_over_without_its_mark(pod):
    pod.serve_source({"train.py": "", "sub/r.txt": NEEDS}, requirements="sub/r.txt")
    assert read(pod) == 0
    assert said(pod) == ["numpy\n# é\n"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        pytest.param(
            {"train.py": "", "a/b.txt": ""},
            "spec.environment.requirements is 'r.txt', but the source has no such file: it has a/b.txt, train.py",
            id="no such file",
        ),
        pytest.param({"train.py": "", "r.txt/a": ""}, "has no such file: it has r.txt/a", id="a folder"),
        pytest.param({"train.py": "", "r.txt": "#" * 65537}, "has more than 65536 bytes: shorten it", id="too long"),
        pytest.param({"a.py": "", "r.txt": ""}, "entryScript is 'train.py'", id="no entry script"),
    ],
)
def test_a_file_that_cannot_be_read_ends_it_in_words(pod, files, words):
    pod.serve_source(files, requirements="r.txt")
    assert read(pod) == 1
    termination = pod.termination()
    assert (termination["container"], termination["reason"]) == ("read", "SourceInvalid")
    assert words in termination["message"]
    assert said(pod) == []


def test_a_file_that_is_no_text_is_told_apart(pod):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in {"train.py": b"", "r.txt": b"\xff\xfe"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    pod.serve_source(buffer.getvalue(), requirements="r.txt")
    assert read(pod) == 1
    assert "which is no text in UTF-8: save it as such" in pod.termination()["message"]


def test_a_refusal_of_the_gateway_is_passed_on(pod):
    pod.serve_source({"train.py": ""}, requirements="r.txt")
    error = {"reason": "SourceInvalid", "message": "spec.source.archive.sha256: other bytes"}
    pod.yard.gateway.refusals["run"] = (400, error)
    assert read(pod) == 1
    assert pod.termination()["message"] == error["message"]
