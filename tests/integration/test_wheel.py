"""The first use of the package as a new user has it: its wheel in a clean environment, a config file, a run."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import textwrap
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from devcluster.layout import Cache

# What is measured is 0.03 s, without what others do at the same time.
IMPORT_SECONDS = 0.3
FIRST_USE = """
    import trainyard
    from trainyard import Estimator, Experiment, Workspace

    ws = Workspace.from_config()
    ds = ws.get_default_datastore()
    ds.upload("data", "mnist", show_progress=False)
    params = {"--data-folder": ds.path("mnist").as_mount(), "--regularization": 0.8}
    run = Experiment(ws, "first").submit(Estimator("code", entry_script="train.py", script_params=params))
    details = run.wait_for_completion(timeout_seconds=120)
    print(trainyard.__file__)
    print([details["status"], run.get_metrics(), run.get_file_names()])
    print(run.register_model("first", "outputs/m.pkl", timeout_seconds=120).id)
"""
IMPORTED = """
    import json, sys, time

    before, start = set(sys.modules), time.process_time()
    import trainyard

    seconds = time.process_time() - start
    modules = set(sys.modules) - before
    foreign = {name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names | {"trainyard"}}
    print(json.dumps([seconds, sorted(modules), sorted(foreign)]))
"""


def uv(*arguments):
    """Run uv, the Makefile's own where the machine has none."""
    program = shutil.which("uv") or shutil.which("uv", path=Cache.default().root / "uv" / "bin")
    # As the Makefile has it: a company's list of authorities is the system's.
    environment = {**os.environ, "UV_NATIVE_TLS": "true"}
    done = subprocess.run(
        [program, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, repository):
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--wheel", "--quiet", "--out-dir", folder, repository)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory, wheel):
    """The interpreter of an environment that has the wheel with its extra, and nothing of this checkout."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    uv("venv", "--quiet", folder)
    uv("pip", "install", "--quiet", "--python", folder / "bin" / "python", f"trainyard[sdk] @ {wheel.as_uri()}")
    return folder / "bin" / "python"


def run_script(python, script, *, folder, **environment):
    """Run a script as a user does, and return what it prints."""
    (folder / "script.py").write_text(textwrap.dedent(script))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TRAINYARD_"))}
    done = subprocess.run(
        [python, "-I", folder / "script.py"], cwd=folder, env={**clean, **environment}, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_what_git_has_of_the_packages_and_nothing_else(wheel, repository):
    packages = {"operator": "trainyard_operator", "trainer-image": "trainyard_runner", "sdk": "trainyard"}
    expected = set()
    for top, package in packages.items():
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", f"{top}/{package}"], cwd=repository,
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
        expected |= {str(Path(path).relative_to(top)) for path in listed if (repository / path).is_file()}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = Parser().parsestr(archive.read(next(n for n in names if n.endswith("/METADATA"))).decode())
    about = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - about == {name for name in expected if not name.endswith("ruff.toml")}
    assert "trainyard/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in about)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {"sdk", "notebook", "operator", "runner"} <= set(metadata.get_all("Provides-Extra"))
    bare = [need for need in metadata.get_all("Requires-Dist") if "extra ==" not in need]
    assert bare == []


def test_importing_it_is_quick_and_brings_nothing_but_the_standard_library(python, tmp_path):
    tries = [json.loads(run_script(python, IMPORTED, folder=tmp_path)) for _ in range(5)]
    _, modules, foreign = tries[0]
    assert foreign == []
    assert "trainyard.run" in modules
    assert [name for name in modules if name.startswith("trainyard.remote")] == []
    assert min(seconds for seconds, *_ in tries) <= IMPORT_SECONDS


async def test_a_new_users_first_script_gets_a_result(python, served, control_plane, lab, tmp_path):
    for path, text in {"code/train.py": "print('hello')", "data/digits.gz": "digits"}.items():
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(text)
    (tmp_path / "config.json").write_text(json.dumps({"workspace_name": lab.namespace}))
    kubeconfig = str(control_plane.kubeconfig)
    script = asyncio.create_task(
        asyncio.to_thread(run_script, python, FIRST_USE, folder=tmp_path, KUBECONFIG=kubeconfig)
    )
    played = asyncio.create_task(lab.play("first-1", metrics={"accuracy": 0.92}))
    # Whichever ends first in an error tells why.
    done, _ = await asyncio.wait({script, played}, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()
    config, origin, details, model = script.result().splitlines()
    assert config == f"Found the config file in: {tmp_path / 'config.json'}"
    assert Path(origin).is_relative_to(python.parent.parent)
    assert details == "['Completed', {'accuracy': 0.92}, ['outputs/m.pkl']]"
    assert model == "first:1"
