"""The tutorial from data to registered model, as `make demo` runs it."""

from __future__ import annotations

import ast
import base64
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from devcluster.chart import SIGNING_SECRET
from devcluster.layout import REPOSITORY
from tests.e2e.bucket import BUCKET, Bucket
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
        for ending in ("pkl", "skops"):
            assert f"outputs/sklearn_mnist_model.{ending}" in demo.output.splitlines()
        assert demo.model == ["sklearn_mnist", f"sklearn_mnist:{number}", str(number)]
    assert [v["state"] for v in versions(yard)] == ["Ready"] * (before + 2)


def test_the_demos_model_is_signed_with_the_clusters_key(yard: Yard, files: Bucket, tmp_path: Path):
    if not versions(yard):
        run_demo(yard)
    version = versions(yard)[-1]
    folder, model = version["uri"].removeprefix(f"s3://{BUCKET}/"), tmp_path / "model"
    for key in files.keys(folder):
        path = model / key.removeprefix(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files.bytes(key))
    (tmp_path / "sig").write_bytes(files.bytes(version["signature"]["uri"].removeprefix(f"s3://{BUCKET}/")))
    secret = base64.b64decode(yard.get("secret", SIGNING_SECRET, "-n", "trainyard-system")["data"]["key.pem"])
    public = serialization.load_pem_private_key(secret, None).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "models.pub").write_bytes(pem)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(model), "--no-ignore-git-paths"]
    command += ["--signature", str(tmp_path / "sig"), "--public_key", str(tmp_path / "models.pub")]

    assert "succeeded" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (model / ".github").mkdir()
    (model / ".github" / "smuggled").write_text("x")
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert ".github/smuggled" in refused.stdout + refused.stderr
