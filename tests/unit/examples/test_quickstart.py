"""The script of the quick start is good enough for the condition that its run asks for."""

from __future__ import annotations

import re
import subprocess
import sys

import yaml


def test_the_script_trains_what_its_run_registers(repository, tmp_path):
    documents = yaml.safe_load_all((repository / "examples" / "quickstart" / "digits.yaml").read_text())
    spec = next(document for document in documents if document["kind"] == "TrainingJob")["spec"]
    (tmp_path / "train.py").write_text(spec["source"]["inline"]["train.py"])
    arguments = [f"--{name}={value}" for name, value in spec["parameters"].items()]
    done = subprocess.run(
        [sys.executable, "train.py", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (model,) = spec["models"]
    assert float(re.search(r"Accuracy is ([\d.]+)", done.stdout)[1]) >= model["when"]["atLeast"]
    assert (tmp_path / model["path"]).stat().st_size > 0
