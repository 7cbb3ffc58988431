"""What a model's manifest says of its framework and of its origin; what is not known it does not say."""

from __future__ import annotations

import pytest

from tests.unit.domain.builders import saved
from trainyard_operator.domain.provenance import MAX_SOFTWARE, framework_of, provenance

SKLEARN = {"python": "3.11.2", "scikit-learn": "1.9.1", "numpy": "2.4.6"}
ALL = {**SKLEARN, "torch": "2.9.0", "xgboost": "3.1.0", "lightgbm": "4.6.0", "tensorflow": "2.20.0", "onnx": "1.19"}


@pytest.mark.parametrize(
    ("software", "names", "expected"),
    [
        pytest.param(SKLEARN, ["model.pkl"], "scikit-learn 1.9.1", id="a-pickle-of-the-only-framework"),
        pytest.param(SKLEARN, ["deep/model.JOBLIB", "notes.txt"], "scikit-learn 1.9.1", id="whatever-lies-beside-it"),
        pytest.param(ALL, ["model.pkl"], None, id="a-pickle-of-one-of-many"),
        pytest.param({"numpy": "2"}, ["model.pkl"], None, id="a-pickle-of-no-framework"),
        pytest.param(ALL, ["model.skops"], "scikit-learn 1.9.1", id="skops"),
        pytest.param(ALL, ["model.pt", "labels.json"], "torch 2.9.0", id="torch"),
        pytest.param(ALL, ["model.ubj"], "xgboost 3.1.0", id="xgboost"),
        pytest.param(ALL, ["model.json"], "xgboost 3.1.0", id="xgboost-in-json"),
        pytest.param(ALL, ["model.txt"], "lightgbm 4.6.0", id="lightgbm"),
        pytest.param(ALL, ["model.keras"], "tensorflow 2.20.0", id="tensorflow"),
        pytest.param(ALL, ["model.onnx"], "onnx 1.19", id="onnx"),
        pytest.param(SKLEARN, ["model.pt"], None, id="a-framework-that-is-not-installed"),
        pytest.param(ALL, ["model.pt", "model.ubj"], None, id="two-at-once"),
        pytest.param(ALL, ["config.json", "notes.txt"], None, id="common-names-beside-each-other"),
        pytest.param(SKLEARN, ["weights", "v1.d/weights"], None, id="no-suffix"),
        pytest.param({}, ["model.pkl"], None, id="nothing-known-of-the-run"),
    ],
)
def test_the_framework_is_named_where_files_and_packages_leave_no_doubt(software, names, expected):
    name, _, version = (expected or "").partition(" ")
    assert framework_of(software, names) == ({"name": name, "version": version} if expected else None)


def test_what_the_run_says_of_its_origin_goes_on():
    said = {
        "environment": SKLEARN,
        "environmentHash": "e" * 64,
        "image": "r.example/i@sha256:1",
        "sourceCommit": "c" * 40,
        "inputs": [{"name": "data", "uri": "s3://b/data/", "files": 2, "bytes": 7, "sha256": "a" * 64}],
    }
    run = saved("outputs/m.pkl", **said).manifest
    framework = {"name": "scikit-learn", "version": "1.9.1"}
    said["software"] = said.pop("environment")
    assert provenance(run, ["m.pkl"]) == {**said, "framework": framework}


def test_what_a_run_does_not_say_is_left_out():
    assert provenance(saved("outputs/m.pkl").manifest, ["m.pkl"]) == {}


def test_a_run_that_says_too_much_is_cut_short():
    run = saved("outputs/m.pkl", environment={f"p{n:03}": "1" for n in range(500)}).manifest
    assert len(provenance(run, ["m.pkl"])["software"]) == MAX_SOFTWARE
