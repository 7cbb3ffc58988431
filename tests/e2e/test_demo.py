"""The tutorial from data to registered model, as `make demo` runs it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from devcluster.layout import REPOSITORY
from tests.e2e.yard import Yard

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Demo:
    """What a demo printed."""

    output: str

    @property
    def metrics(self) -> dict[str, float]:
        return ast.literal_eval(next(line for line in self.output.splitlines() if line.startswith("{")))

    @property
    def model(self) -> list[str]:
        return next(line for line in self.output.splitlines() if line.startswith("sklearn_mnist\t")).split("\t")


def run_demo(yard: Yard) -> Demo:
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=REPOSITORY,
        env={**os.environ, "KUBECONFIG": str(yard.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Demo(output=done.stdout)


def versions(yard: Yard) -> list[dict]:
    models = [m for m in yard.items("registeredmodels") if m["spec"]["modelName"] == "sklearn_mnist"]
    return models[0]["status"]["versions"] if models else []


def test_the_demo_trains_measures_saves_and_registers_and_again_with_the_next_version(yard: Yard):
    before = len(versions(yard))
    for number in (before + 1, before + 2):
        demo = run_demo(yard)
        assert list(demo.metrics) == ["regularization rate", "accuracy"]
        assert demo.metrics["regularization rate"] == 0.8
        assert 0.918 <= demo.metrics["accuracy"] <= 0.930
        assert "outputs/sklearn_mnist_model.pkl" in demo.output.splitlines()
        assert demo.model == ["sklearn_mnist", f"sklearn_mnist:{number}", str(number)]
    assert [v["state"] for v in versions(yard)] == ["Ready"] * (before + 2)
