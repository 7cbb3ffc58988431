"""Runs without a cluster, each in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainyard.local import LocalRun, run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that stands for a cluster."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TRAINYARD_HOME", str(folder))
    return folder


@pytest.fixture
def said() -> list[str]:
    """What a run has printed."""
    return []


@pytest.fixture
def train(home: Path, said: list[str]) -> Callable[..., LocalRun]:
    """Carry out a run of a script that is in the spec."""

    def carry_out(script: str = "print('hello')", name: str = "mnist", **spec: Any) -> LocalRun:
        whole = {"source": {"inline": {"train.py": script}}, **spec}
        document = {"kind": "TrainingJob", "metadata": {"name": name}, "spec": whole}
        return run(document, home=home, write=said.append)

    return carry_out
