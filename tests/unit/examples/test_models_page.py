"""What docs/models.md tells consumers to run finds every change."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "models.md"
FILES = {"model.pkl": b"model", "deep/labels.json": b"{}"}


@pytest.fixture
def script(tmp_path):
    (found,) = [
        body for body in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "def verify" in body
    ]
    path = tmp_path / "verify.py"
    path.write_text(found)
    return path


@pytest.fixture
def version(tmp_path):
    folder = tmp_path / "files"
    for name, body in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    files = [{"path": name, "sha256": hashlib.sha256(body).hexdigest()} for name, body in FILES.items()]
    (tmp_path / "manifest.json").write_text(json.dumps({"files": files}))
    return tmp_path


CHANGES = [
    pytest.param(lambda v: None, "", id="untouched"),
    pytest.param(lambda v: (v / "files/model.pkl").write_bytes(b"MODEL"), "changed: model.pkl", id="changed"),
    pytest.param(lambda v: (v / "files/deep/labels.json").unlink(), "deep/labels.json", id="removed"),
    pytest.param(lambda v: (v / "files/.github").write_text(""), ".github", id="added"),
    pytest.param(lambda v: (v / "files/model.pkl").rename(v / "files/m.pkl"), "m.pkl, model.pkl", id="renamed"),
    pytest.param(lambda v: (v / "manifest.json").write_text("{}"), "not the manifest", id="another-manifest"),
]


@pytest.mark.parametrize(("change", "wrong"), CHANGES)
def test_a_version_is_verified_with_python_alone(script, version, change, wrong):
    sha256 = hashlib.sha256((version / "manifest.json").read_bytes()).hexdigest()
    change(version)
    arguments = [version / "manifest.json", version / "files", sha256]
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == (1 if wrong else 0)
    assert wrong in done.stderr


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize(("change", "wrong"), CHANGES)
def test_a_version_is_verified_with_the_tools_of_a_shell(version, change, wrong):
    sha256 = hashlib.sha256((version / "manifest.json").read_bytes()).hexdigest()
    model = {"status": {"versions": [{"version": 2}, {"version": 3, "manifestSha256": sha256}]}}
    (version / "model.json").write_text(json.dumps(model))
    (block,) = [
        body for body in re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL) if "sha256sum" in body
    ]
    lines = [line for line in block.splitlines() if "sha256sum" in line or line.startswith("diff")]
    change(version)
    done = [subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=version, check=False) for line in lines]
    assert len(lines) == 3
    assert any(line.returncode for line in done) == bool(wrong)
