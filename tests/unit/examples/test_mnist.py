"""The MNIST example: its data is what it says, its script runs as written, its manifests fit together."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
import struct
import subprocess
import sys

import joblib
import jsonschema
import numpy as np
import pytest
import skops.io
import yaml

from tests.support import schemas

DIGITS = 10


@pytest.fixture(scope="module")
def example(repository):
    return repository / "examples" / "mnist"


@pytest.fixture(scope="module")
def utils(example):
    spec = importlib.util.spec_from_file_location("mnist_utils", example / "utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def small_data(tmp_path_factory):
    """Write 200 + 50 images, each of one grey that tells its label, in the files of MNIST."""
    folder = tmp_path_factory.mktemp("data")
    for part, count in (("train", 200), ("test", 50)):
        labels = np.arange(count, dtype=np.uint8) % DIGITS
        images = np.zeros((count, 784), dtype=np.uint8)
        images[np.arange(count), labels] = 255
        with gzip.open(folder / f"{part}-labels.gz", "wb") as file:
            file.write(struct.pack(">II", 2049, count) + labels.tobytes())
        with gzip.open(folder / f"{part}-images.gz", "wb") as file:
            file.write(struct.pack(">IIII", 2051, count, 28, 28) + images.tobytes())
    return folder


def run_script(script, *arguments, cwd, **variables):
    command = [sys.executable, "-W", "error", str(script), *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, check=True, timeout=300
    ).stdout.splitlines()


def test_the_data_is_what_its_checksums_say(example):
    lines = (example / "data" / "SHA256SUMS").read_text().splitlines()
    expected = dict(reversed(line.split("  ", 1)) for line in lines)
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (example / "data").glob("*.gz")}
    assert found == expected
    assert sorted(found) == ["test-images.gz", "test-labels.gz", "train-images.gz", "train-labels.gz"]


@pytest.mark.parametrize(
    ("part", "shape", "most"),
    [
        pytest.param("images", (10_000, 784), 255, id="images"),
        pytest.param("labels", (10_000,), 9, id="labels"),
    ],
)
def test_load_data_reads_the_files_of_mnist(utils, example, part, shape, most):
    data = utils.load_data(example / "data" / f"test-{part}.gz", is_label=part == "labels")
    assert data.shape == shape
    assert (data.min(), data.max()) == (0, most)


def test_load_data_refuses_labels_where_images_are_expected(utils, small_data):
    with pytest.raises(ValueError, match=r"test-labels\.gz begins with 2049 instead of 2051"):
        utils.load_data(small_data / "test-labels.gz", is_label=False)


def test_train_logs_the_rate_before_the_accuracy_and_saves_a_model_that_predicts(example, small_data, tmp_path):
    history = tmp_path / "metrics.jsonl"
    lines = run_script(
        example / "train.py",
        *("--data-folder", small_data, "--regularization", "0.8"),
        cwd=tmp_path,
        TRAINYARD_METRICS_FILE=str(history),
    )
    logged = [json.loads(line) for line in history.read_text().splitlines()]
    assert [(entry["metric"], entry["value"]) for entry in logged] == [("regularization rate", 0.8), ("accuracy", 1.0)]
    assert lines[1:7] == [
        *("(200, 784)", "(200,)", "(50, 784)", "(50,)"),
        "Train a logistic regression model with regularization rate of 0.8",
        "Predict the test set",
    ]
    outputs = tmp_path / "outputs"
    assert skops.io.get_untrusted_types(file=outputs / "sklearn_mnist_model.skops") == []
    for model in (
        joblib.load(outputs / "sklearn_mnist_model.pkl"),
        skops.io.load(outputs / "sklearn_mnist_model.skops"),
    ):
        assert model.C == 1 / 0.8
        assert model.random_state == 42
        assert model.predict(np.eye(DIGITS, 784)).tolist() == list(range(DIGITS))


def test_train_works_outside_a_cluster_with_the_default_rate(example, small_data, tmp_path):
    lines = run_script(example / "train.py", "--data-folder", small_data, cwd=tmp_path)
    assert "regularization rate: 0.01" in lines
    assert "accuracy: 1.0" in lines


def test_local_draws_a_picture_and_trains_a_baseline(example, small_data, tmp_path):
    lines = run_script(example / "local.py", "--data-folder", small_data, cwd=tmp_path, MPLCONFIGDIR=str(tmp_path))
    assert (tmp_path / "outputs" / "digits.png").read_bytes().startswith(b"\x89PNG")
    assert lines[-1] == "Accuracy of the local baseline: 1.0"


@pytest.fixture(scope="module")
def rendered(example, program):
    """What kustomize makes of the example, by kind."""
    command = [str(program("kubectl")), "kustomize", str(example)]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    return {document["kind"]: document for document in yaml.safe_load_all(output)}


def test_the_example_on_karpenters_nodes_differs_in_its_cluster_only(rendered, example, program):
    command = [str(program("kubectl")), "kustomize", str(example.parent / "mnist-karpenter")]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    other = {document["kind"]: document for document in yaml.safe_load_all(output)}
    assert {kind for kind in rendered if rendered[kind] != other[kind]} == {"ComputeCluster"}
    assert other["ComputeCluster"]["metadata"] == rendered["ComputeCluster"]["metadata"]
    assert set(other["ComputeCluster"]["spec"]["provider"]) == {"type", "karpenter"}
    jsonschema.validate(other["ComputeCluster"], schemas.schema("computeclusters"))


def test_the_training_job_follows_the_hash_in_the_name_of_the_code(rendered):
    name = rendered["ConfigMap"]["metadata"]["name"]
    assert name.startswith("mnist-code-")
    assert rendered["TrainingJob"]["spec"]["source"]["configMapRef"]["name"] == name


def test_the_code_that_is_applied_is_the_code_that_is_here(rendered, example):
    expected = {name: (example / name).read_text() for name in ("train.py", "utils.py")}
    assert rendered["ConfigMap"]["data"] == expected


def test_the_training_job_names_things_that_the_example_has(rendered, example):
    spec = rendered["TrainingJob"]["spec"]
    assert spec["computeClusterRef"]["name"] == rendered["ComputeCluster"]["metadata"]["name"]
    assert spec["entryScript"] in rendered["ConfigMap"]["data"]
    assert [f"$(inputs.{wanted['name']})" for wanted in spec["inputs"]] == spec["arguments"][1:]
    for model in spec["models"]:
        assert model["path"] in (example / spec["entryScript"]).read_text()
