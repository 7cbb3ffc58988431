"""From Azure ML's words to the spec of a TrainingJob."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from trainyard.errors import ConfigError
from trainyard.remote.environment import Environment
from trainyard.remote.estimator import Estimator, ScriptRunConfig
from trainyard.remote.reference import DataReference

SOURCE = {"archive": {"path": "snapshots/x.tar.gz", "sha256": "x"}}
BARE = {"experiment": "digits", "source": SOURCE, "entryScript": "train.py"}
MNIST = DataReference(None, "mnist", "mnist")


def spec(config):
    return config.definition.spec(experiment="digits", source=SOURCE)


class Target:
    name = "traincluster"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"entry_script": "src/fit.py"}, {"entryScript": "src/fit.py"}, id="script"),
        pytest.param({"compute_target": Target()}, {"computeClusterRef": {"name": "traincluster"}}, id="target"),
        pytest.param({"compute_target": "pool"}, {"computeClusterRef": {"name": "pool"}}, id="target by name"),
        pytest.param(
            {"script_params": {"--data-folder": MNIST.as_mount(), "--regularization": 0.8}},
            {
                "parameters": {"regularization": 0.8},
                "arguments": ["--data-folder", "$(inputs.mnist)"],
                "inputs": [{"name": "mnist", "datastore": {"path": "mnist"}}],
            },
            id="the tutorial's parameters",
        ),
        pytest.param(
            {"script_params": {"--n": np.int64(3), "--r": np.float64(0.5), "--s": Fraction(1, 2), "--t": "a b"}},
            {"parameters": {"n": 3, "r": 0.5, "s": 0.5, "t": "a b"}},
            id="numbers of any library",
        ),
        pytest.param(
            {"script_params": {"-v": "", "--flag": None, "--yes": True, "-C": 1}},
            {"arguments": ["-v", "--flag", "--yes", "True", "-C", "1"]},
            id="what is no named number or text keeps its order",
        ),
        pytest.param({"inputs": [MNIST, MNIST]}, {"inputs": [MNIST.to_input()]}, id="an input twice is one"),
        pytest.param(
            {
                "pip_packages": ["pandas==2.3", "azureml-defaults"],
                "conda_packages": ["scikit-learn"],
                "custom_docker_image": "registry/image:1",
                "environment_variables": {"A": 1},
                "pip_requirements_file": "requirements.txt",
            },
            {
                "environment": {
                    "image": "registry/image:1",
                    "pip": ["pandas==2.3"],
                    "conda": {"channels": ["conda-forge"], "packages": ["scikit-learn"]},
                    "requirements": "requirements.txt",
                    "variables": [{"name": "A", "value": "1"}],
                }
            },
            id="environment",
        ),
        pytest.param(
            {"environment_definition": Environment(pip_packages=["x"])},
            {"environment": {"pip": ["x"]}},
            id="made before",
        ),
        pytest.param({"max_run_duration_seconds": 60}, {"runTimeoutSeconds": 60}, id="limit"),
        pytest.param({"node_count": 1, "shm_size": None}, {}, id="what goes without saying"),
        pytest.param(
            {"resources": {"requests": {"cpu": "1"}}, "models": [{"name": "m", "path": "outputs/m"}]},
            {"resources": {"requests": {"cpu": "1"}}, "models": [{"name": "m", "path": "outputs/m"}]},
            id="beyond Azure ML",
        ),
    ],
)
def test_an_estimator_becomes_a_spec(given, expected):
    assert spec(Estimator("code", **given)) == {**BARE, **expected}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param({"node_count": 2}, "one process on one node", id="nodes"),
        pytest.param({"distributed_backend": "mpi"}, "one process on one node", id="MPI"),
        pytest.param({"use_gpu": True}, "CPUs alone", id="GPU"),
        pytest.param({"use_docker": False}, "runs are containers", id="no container"),
        pytest.param({"vm_size": "STANDARD_D2_V2"}, "vm_size: Trainyard has no such argument", id="unknown"),
        pytest.param({"script_params": {"--x": [1, 2]}}, r"--x is of type list .*give a text, a number", id="a list"),
        pytest.param({"script_params": {3: 1}}, "give a flag", id="no flag"),
        pytest.param(
            {"inputs": [MNIST, DataReference(None, "mnist", "other")]},
            "two inputs are called mnist",
            id="one name twice",
        ),
        pytest.param({"inputs": ["mnist"]}, r"give ds\.path", id="no reference"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_sent(given, said):
    with pytest.raises(ConfigError, match=said):
        Estimator("code", **given)


def test_a_script_run_config_keeps_the_order_of_its_arguments():
    config = ScriptRunConfig(
        "code", "fit.py", ["--data-folder", MNIST, "--regularization", 0.5, True], environment=Environment(image="i")
    )
    assert spec(config) == {
        **BARE,
        "entryScript": "fit.py",
        "arguments": ["--data-folder", "$(inputs.mnist)", "--regularization", "0.5", "True"],
        "inputs": [{"name": "mnist", "datastore": {"path": "mnist"}}],
        "environment": {"image": "i"},
    }


@pytest.mark.parametrize(
    ("path", "below", "expected"),
    [
        pytest.param(None, None, "", id="all of it"),
        pytest.param("mnist", None, "mnist", id="a folder"),
        pytest.param("./mnist/", "a/b", "mnist/a/b", id="below"),
        pytest.param(".", "a", "a", id="a dot is all of it"),
    ],
)
def test_references_name_a_place_in_the_datastore(path, below, expected):
    reference = DataReference(None, "x", path).path(below, "y")
    assert (reference.path_on_datastore, str(reference)) == (expected, "$(inputs.y)")
    assert reference.as_download().as_mount().to_input() == {"name": "y", "datastore": {"path": expected}}


@pytest.mark.parametrize("path", ["../x", "/x", "a//b"])
def test_references_do_not_leave_the_datastore(path):
    with pytest.raises(ConfigError, match="the path in the datastore"):
        DataReference(None, "x", path)


def test_environments_are_read_from_files(tmp_path):
    (tmp_path / "conda.yml").write_text(
        "channels: [defaults, anaconda]\ndependencies: [python=3.12, numpy, {pip: [pandas, azureml-sdk]}]\n"
    )
    conda = Environment.from_conda_specification("e", tmp_path / "conda.yml")
    assert conda.to_spec() == {
        "pip": ["pandas"],
        "conda": {"channels": ["anaconda"], "packages": ["python=3.12", "numpy"]},
    }
    (tmp_path / "requirements.txt").write_text("# what it needs\npandas==2.3  # tables\n\nscipy\n")
    assert Environment.from_pip_requirements("e", tmp_path / "requirements.txt").to_spec() == {
        "pip": ["pandas==2.3", "scipy"]
    }
    with pytest.raises(ConfigError, match="cannot be read"):
        Environment.from_pip_requirements("e", tmp_path / "nothing")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        pytest.param("mnist", "mnist", id="a name already"),
        pytest.param("mnist/", "mnist", id="a folder with its slash"),
        pytest.param(None, "datastore", id="all of it"),
        pytest.param("a/b c", "a-b-c-0af99a60", id="no name"),
        pytest.param("ü", "data-", id="nothing of it can be in a name"),
        pytest.param("x" * 200, f"{'x' * 54}-", id="too long"),
    ],
)
def test_an_input_is_called_after_its_path(path, name):
    found = DataReference(None, None, path).data_reference_name
    assert found.startswith(name)
    assert len(found) <= 63
    assert DataReference(None, None, path).data_reference_name == found
