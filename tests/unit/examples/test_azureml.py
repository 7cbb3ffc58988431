"""Code for Azure ML: what of it changes, and its scripts as they run."""

from __future__ import annotations

import gzip
import struct
import subprocess

import numpy as np
import pytest

from tests.support import azureml
from trainyard.remote.estimator import Estimator
from trainyard.remote.experiment import Experiment
from trainyard.remote.workspace import Workspace

PAGE = (azureml.FOLDER / "README.md").read_text()
CODE = [pytest.param(path, id=path.name) for path in [*azureml.PROGRAMS, *azureml.SCRIPTS]]
DIGITS = 10


@pytest.mark.parametrize("path", CODE)
def test_nothing_but_import_lines_changes(path):
    text = path.read_text()
    before, after = text.splitlines(), azureml.substituted(text).splitlines()
    changed = [old for old, new in zip(before, after, strict=True) if old != new]
    assert all(line.startswith(("import azureml", "from azureml")) for line in changed)
    assert not [line for line in after if line.startswith(("import azureml", "from azureml"))]


def test_the_page_says_what_is_replaced_and_lists_the_programs(tmp_path):
    copy = azureml.FOLDER / "batch_ai_2018_09.py"
    (tmp_path / "program.py").write_text(copy.read_text())
    (line,) = [line for line in PAGE.splitlines() if line.startswith("sed ")]
    command = line.replace("*.py scripts/*.py", "program.py")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    assert (tmp_path / "program.py").read_text() == azureml.substituted(copy.read_text())
    assert [path.name for path in azureml.PROGRAMS if f"]({path.name})" not in PAGE] == []


@pytest.fixture
def digits(tmp_path):
    """Write 200 + 50 images, each of one grey that tells its label, in the files of MNIST."""
    folder = tmp_path / "data"
    folder.mkdir()
    for part, count in (("train", 200), ("test", 50)):
        labels = np.arange(count, dtype=np.uint8) % DIGITS
        images = np.zeros((count, 784), dtype=np.uint8)
        images[np.arange(count), labels] = 255
        with gzip.open(folder / f"{part}-labels.gz", "wb") as file:
            file.write(struct.pack(">II", 2049, count) + labels.tobytes())
        with gzip.open(folder / f"{part}-images.gz", "wb") as file:
            file.write(struct.pack(">IIII", 2051, count, 28, 28) + images.tobytes())
    return folder


@pytest.mark.parametrize(
    ("script", "reference"),
    [
        pytest.param("train_2018_09.py", lambda ds: ds.as_mount(), id="September 2018: the whole datastore"),
        pytest.param("train.py", lambda ds: ds.path("mnist").as_mount(), id="later: the folder of the digits"),
    ],
)
def test_the_scripts_run_with_their_imports_replaced(script, reference, digits, tmp_path):
    folder = azureml.bring(tmp_path)
    workspace = Workspace.local(tmp_path / "home")
    datastore = workspace.get_default_datastore()
    datastore.upload(digits, "mnist", show_progress=False)
    params = {"--data-folder": reference(datastore), "--regularization": 0.5}
    estimator = Estimator(folder / "scripts", entry_script=script, script_params=params)
    run = Experiment(workspace, "sklearn-mnist").submit(estimator)
    run.wait_for_completion(timeout_seconds=300)
    assert run.get_metrics() == {"regularization rate": 0.5, "accuracy": 1.0}
    assert "outputs/sklearn_mnist_model.pkl" in run.get_file_names()
    workspace.close()
