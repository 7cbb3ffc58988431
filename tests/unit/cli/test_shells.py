"""Completion in real shells, a start that is quick, and both names of the program."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
import yaml

from trainyard.cli.complete import patience, soon

SCRIPTS = Path(sysconfig.get_path("scripts"))
# What bash's own library does for a Tab: the function that was registered is called, and COMPREPLY has the answer.
TAB = """
source <(trainyard completion bash)
COMP_WORDS=({words}); COMP_CWORD={index}
_trainyard_completion trainyard
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def environment(**over):
    return {**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}", **over}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("trainyard mo", ["models"], id="command"),
        pytest.param("trainyard models ver", ["verify"], id="command of a group"),
        pytest.param("trainyard list --exp", ["--experiment"], id="option"),
        pytest.param("trainyard list --status ca", ["canceled"], id="choice"),
        pytest.param("trainyard --context sta", ["staging"], id="context"),
        pytest.param("trainyard list --context sta", ["staging"], id="context behind the command"),
    ],
)
def test_bash_completes(tmp_path, words, expected):
    context = {"name": "staging", "context": {"cluster": "c", "user": "u"}}
    config = {
        "apiVersion": "v1", "kind": "Config", "contexts": [context], "current-context": "staging",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}], "users": [{"name": "u", "user": {}}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    script = TAB.format(words=words, index=len(words.split()) - 1)
    done = subprocess.run(
        ["bash", "-c", script], env=environment(KUBECONFIG=str(tmp_path / "kubeconfig"), TRAINYARD_COMPLETION_SECONDS="240"), capture_output=True, text=True,
        check=True, timeout=300,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (expected, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_one_for_its_shell(shell):
    script = subprocess.run(
        ["trainyard", "completion", shell], env=environment(), capture_output=True, text=True, check=True, timeout=300
    ).stdout
    assert f"_TRAINYARD_COMPLETE={shell}_complete" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=300)


def test_a_question_that_takes_too_long_has_no_answer():
    assert soon(lambda: ["a"]) == ["a"]
    assert soon(lambda: time.sleep(5) or ["a"], seconds=0.05) == []
    assert soon(lambda: 1 / 0) == []
    name = "TRAINYARD_COMPLETION_SECONDS"
    assert [patience(environ) for environ in ({}, {name: "0.5"}, {name: "soon"})] == [2.0, 0.5, 2.0]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        pytest.param(["trainyard"], "Usage: trainyard ", id="trainyard"),
        pytest.param(["kubectl-trainyard"], "Usage: kubectl trainyard ", id="kubectl trainyard"),
        pytest.param([sys.executable, "-m", "trainyard"], "Usage: trainyard ", id="python -m"),
    ],
)
def test_the_program_has_these_names(command, said):
    done = subprocess.run(
        [*command, "--help"], env=environment(), capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.startswith(said)


def run(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True, timeout=300
    ).stdout.split()


def test_help_imports_nothing_of_what_the_work_needs():
    heavy = run(
        "import sys\nfrom trainyard.cli.root import run\nrun(['trainyard', '--help'])\n"
        "print(*(name for name in ('kubernetes', 'yaml', 'tqdm', 'urllib3', 'trainyard.remote') if name in sys.modules))"
    )
    assert "kubernetes" not in heavy[-3:]
    assert "trainyard.remote" not in heavy[-3:]


def test_the_kubernetes_client_comes_without_its_models_until_they_are_asked_for():
    count, name, after, again = run(
        "import sys\nfrom trainyard.cli import quick\nquick.install()\n"
        "from kubernetes import client, config\nfrom kubernetes.client import ApiClient\n"
        "print(sum(name.startswith('kubernetes.client.models.') for name in sys.modules))\n"
        "print(client.V1Pod.__name__)\n"
        "print(sum(name.startswith('kubernetes.client.models.') for name in sys.modules) > 500)\n"
        "print(client.CoreV1Api().__class__.__name__)"
    )
    assert (count, name, after, again) == ("0", "V1Pod", "True", "CoreV1Api")


def test_without_its_packages_the_program_says_what_to_install():
    code = (
        "import sys, importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'click' else find(name, *rest)\n"
        "import trainyard.cli as cli\nprint(cli.main(), 'click' in sys.modules)"
    )
    assert run(code) == ["2", "False"]
