"""Applying the example under a name that is free."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml

from demo.submit import free_name, read_training_job, renaming


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        pytest.param([], "mnist", id="first"),
        pytest.param(["other", "mnist-x", "mnist-0", "mnist-2b", "xmnist"], "mnist", id="others-do-not-count"),
        pytest.param(["mnist"], "mnist-2", id="second"),
        pytest.param(["mnist", "mnist-2", "mnist-10"], "mnist-11", id="after-the-last"),
        pytest.param(["mnist-7"], "mnist-8", id="the-first-was-deleted"),
    ],
)
def test_a_run_gets_the_name_after_those_that_are_taken(taken, expected):
    assert free_name("mnist", taken=taken) == expected


def test_the_second_run_differs_from_the_first_in_its_name_only(repository, program, tmp_path):
    example = repository / "examples" / "mnist"

    def rendered(folder):
        command = [str(program("kubectl")), "kustomize", str(folder)]
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
        return {document["kind"]: document for document in yaml.safe_load_all(output)}

    base = os.path.relpath(example, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(renaming(base=base, old="mnist", new="mnist-2"))
    first, second = rendered(example), rendered(tmp_path)
    assert second["TrainingJob"]["metadata"].pop("name") == "mnist-2"
    assert first["TrainingJob"]["metadata"].pop("name") == "mnist" == read_training_job(example)["metadata"]["name"]
    assert first == second
