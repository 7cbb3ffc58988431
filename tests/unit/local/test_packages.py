"""Packages of a run without a cluster: built once, from an index of this test's own."""

from __future__ import annotations

import http.server
import os
import shutil
import threading
import zipfile
from functools import partial
from pathlib import Path

import pytest

UV = os.environ.get("UV") or shutil.which("uv") or str(Path("~/.cache/trainyard/uv/bin/uv").expanduser())


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Keep the test's output free."""


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index with one package, `tiny` 1.0, which Python knows as `tiny_words`."""
    if not Path(UV).exists():
        pytest.skip("there is no uv to install with")
    folder = tmp_path / "index" / "tiny"
    folder.mkdir(parents=True)
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr("tiny_words.py", "WORDS = 'from the index'\n")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    (folder / "index.html").write_text(f'<a href="{name}">{name}</a>')
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path / "index")))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("UV", UV)
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


SCRIPT = """
import numpy, sys, tiny_words
print(tiny_words.WORDS, sys.prefix != sys.base_prefix, numpy.__name__)
"""


def test_packages_are_installed_once_beside_those_that_are_here(train, index, home, said):
    source = {"inline": {"train.py": SCRIPT, "needs.txt": "tiny>=1  # words\n"}}
    done = train(source=source, environment={"pip": ["numpy"], "requirements": "needs.txt"})
    assert (done.status, "from the index True numpy" in said) == ("Completed", True)
    assert any(line.startswith("Preparing: preparing the environment: ") for line in said)
    index.shutdown()  # what is there needs no index any more
    assert train(environment={"pip": ["numpy", "tiny>=1"]}, source=source).status == "Completed"
    assert len([path for path in (home / "environments").iterdir() if path.is_dir()]) == 1
    assert "tiny" in (next((home / "envs/local").glob("*/logs/*.log"))).read_text()


def test_packages_that_are_nowhere_end_the_run_in_the_resolvers_words(train, index):
    failed = train(environment={"pip": ["no-such-package"]})
    assert failed.status == "Failed"
    assert failed.reason.startswith("EnvironmentBuildFailed: the environment could not be built: ")
    assert "no-such-package was not found in the package registry" in failed.reason
