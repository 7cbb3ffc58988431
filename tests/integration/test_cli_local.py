"""The command line without a cluster: the commands of one, in a folder of this machine."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
JOB = {
    "apiVersion": "trainyard.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "here"},
    "spec": {
        "experiment": "on-a-train",
        "source": {"configMapRef": {"name": "code"}},
        "parameters": {"rate": 0.5},
        "models": [{"name": "digits", "path": "outputs/model.txt"}],
    },
}
SCRIPT = """
import sys
from pathlib import Path
from trainyard import Run

print(*sys.argv[1:])
Run.get_context().log("accuracy", 0.9)
Path("outputs").mkdir(exist_ok=True)
Path("outputs/model.txt").write_text("a model")
"""


@pytest.fixture
def shell(tmp_path):
    """Calls the command line in a folder with a job and its code."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(SCRIPT)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB))
    environment = {**os.environ, "TRAINYARD_HOME": str(tmp_path / "home"), "KUBECONFIG": str(tmp_path / "none")}

    async def call(*words, code=0):
        command = [sys.executable, "-m", "trainyard", *words]
        about = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 120}
        done = await asyncio.to_thread(subprocess.run, command, check=False, **about)
        assert done.returncode == code, done
        return done.stdout, done.stderr

    return call


def typed():
    """Return the commands that the page shows for a folder, each as its words."""
    (block,) = [block for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL) if "--local" in block]
    return [line.split()[1:] for line in block.splitlines()]


async def test_a_folder_takes_the_place_of_a_cluster(shell, tmp_path):
    first, second = typed()
    out, err = await shell(*first)
    assert "--rate 0.5\n" in out
    assert "run here is Completed: accuracy=0.9, saved 1 output file, registered digits:1\n" in err
    assert re.search(r"^here +on-a-train +Completed +accuracy=0.9 +digits:1", (await shell(*second))[0], re.MULTILINE)
    assert (await shell("logs", "here", "--local"))[0] == "--rate 0.5\n"
    assert (await shell("metrics", "here", "--local", "-o", "csv"))[0] == "name,value\naccuracy,0.9\n"
    assert "outputs/model.txt" in (await shell("files", "here", "--local"))[0]
    assert (await shell("models", "promote", "digits:1", "--local"))[0] == "digits@champion is digits:1\n"
    await shell("models", "download", "digits@champion", "--to", "models", "--local")
    assert (tmp_path / "models" / "model.txt").read_text() == "a model"
    out, err = await shell("rerun", "here", "--param", "rate=2", "--no-models", "--follow", "--local")
    assert out == "run on-a-train-1 submitted\n--rate 2\n"
    assert "run on-a-train-1 Completed" in err
    _, err = await shell("list", code=2)
    assert err.startswith("trainyard: there is no kubeconfig")


async def test_a_run_that_fails_here_is_told_by_the_exit_code(shell, tmp_path):
    (tmp_path / "code" / "train.py").write_text("raise SystemExit(3)")
    _, err = await shell("run", "--local", "-f", "job.yaml", "--source", "code", code=1)
    assert "run here is Failed: " in err
    _, err = await shell("models", "verify", "digits", "--local", code=2)
    assert "nobody verifies models of a folder" in err
