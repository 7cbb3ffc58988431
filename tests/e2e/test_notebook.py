"""The tutorial's notebook, run whole as a reader would, and the examples of the page that leads to it."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devcluster.layout import REPOSITORY
from tests.e2e.yard import Json, Yard
from trainyard import Workspace

pytestmark = pytest.mark.e2e

PAGE = REPOSITORY / "docs" / "quickstart-notebook.md"
SWEPT = 3


@dataclass(frozen=True)
class Executed:
    """A notebook after its last cell, and where it was run."""

    cells: dict[str, Json]
    namespace: str

    def outputs(self, cell: str) -> list[Json]:
        return self.cells[cell]["outputs"]

    def printed(self, cell: str) -> list[str]:
        return "".join(line for output in self.outputs(cell) for line in output.get("text", ())).splitlines()

    def shown(self, cell: str, mime: str) -> str:
        return "".join(next(output["data"][mime] for output in self.outputs(cell) if mime in output.get("data", {})))


@pytest.fixture(scope="module")
def namespace(yard: Yard) -> Iterator[str]:
    """A workspace of the tests' own."""
    name = f"notebook-{uuid.uuid4().hex[:8]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(yard.kubeconfig))
        Workspace.create(name, exist_ok=False, show_output=False)
    yield name
    yard.kubectl("delete", "namespace", name, "--wait=false")


def python(yard: Yard, *arguments: str | Path, cwd: Path) -> str:
    """Run Python as a person with this kubeconfig, and return what it printed."""
    environment = {**os.environ, "KUBECONFIG": str(yard.kubeconfig)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def executed(yard: Yard, namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Executed:
    output = tmp_path_factory.mktemp("notebook") / "executed.ipynb"
    tool = REPOSITORY / "tools" / "run_notebook.py"
    python(yard, tool, "--namespace", namespace, "--output", output, cwd=output.parent)
    cells = json.loads(output.read_text())["cells"]
    return Executed(cells={cell["id"]: cell for cell in cells}, namespace=namespace)


def test_the_run_measures_what_the_tutorial_promises(executed: Executed):
    metrics = ast.literal_eval("".join(executed.printed("get-metrics")))
    assert list(metrics) == ["regularization rate", "accuracy"]
    assert metrics["regularization rate"] == 0.8
    assert 0.918 <= metrics["accuracy"] <= 0.930
    assert f"Accuracy is {metrics['accuracy']}" in executed.printed("wait-for-run")
    small = float(executed.printed("train-baseline")[0].rpartition(" ")[2])
    assert small < metrics["accuracy"]


def test_the_rates_are_tried_on_as_many_machines_of_the_pool(yard: Yard, executed: Executed):
    runs = yard.items("trainingjobs", "-n", executed.namespace)
    swept = [run for run in runs if "trainyard.dev/tags" in run["metadata"].get("annotations", {})]
    assert sorted(run["spec"]["parameters"]["regularization"] for run in swept) == [3, 10, 50]
    assert len({run["status"]["nodeName"] for run in swept}) == SWEPT
    assert len({run["spec"]["source"]["archive"]["sha256"] for run in runs}) == 1


def test_the_best_run_is_registered_fetched_and_as_good_here_as_there(yard: Yard, executed: Executed):
    assert executed.printed("register-model") == ["sklearn_mnist\tsklearn_mnist:1\t1"]
    results = [float(line.rpartition(" ")[2]) for line in executed.printed("wait-for-sweep")]
    best = max(results)
    assert len(results) == SWEPT + 1
    assert f"Accuracy of the model: {best}" in executed.printed("download-model")
    (model,) = yard.items("registeredmodels", "-n", executed.namespace)
    (version,) = model["status"]["versions"]
    assert (version["state"], version["metrics"]["accuracy"]) == ("Ready", best)
    assert version["run"]["name"] in executed.printed("choose-best")[0]
    assert "outputs/sklearn_mnist_model.pkl" in executed.printed("list-files")


def test_pictures_and_tables_are_there_to_be_seen(executed: Executed):
    for cell in ("draw-digits", "choose-best", "draw-confusion", "draw-wrong"):
        assert executed.shown(cell, "image/png")
    assert "sklearn-mnist-1" in executed.shown("submit-run", "text/html")
    assert "100%" in "".join(executed.printed("upload-data"))


def test_the_widget_leaves_the_runs_last_state_to_readers_without_a_kernel(executed: Executed):
    assert "model_id" in executed.shown("show-widget", "application/vnd.jupyter.widget-view+json")
    for mime in ("text/html", "text/plain"):
        for word in ("Completed", "sklearn-mnist-1", "accuracy", "outputs/sklearn_mnist_model.pkl"):
            assert word in executed.shown("show-widget", mime)


def test_nothing_is_left_of_the_pool(yard: Yard, executed: Executed):
    assert executed.printed("delete-compute")[-1] == "Clusters that are left: []"
    assert yard.items("computeclusters", "-n", executed.namespace) == []

    def left(kind: str) -> list[Json]:
        return [found for found in yard.items(kind) if executed.namespace in found["metadata"]["name"]]

    yard.wait("the pool to go with its machines", lambda: not left("nodepools") and not left("nodes"))


def test_the_examples_of_the_quick_start_do_what_it_says(yard: Yard, namespace: str, tmp_path: Path):
    text = PAGE.read_text()
    written, submitted = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (printed,) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    python(yard, "-c", written.replace("team-a", namespace), cwd=tmp_path)
    config = json.loads((tmp_path / ".trainyard" / "config.json").read_text())
    assert config["workspace_name"] == namespace
    assert python(yard, "-c", submitted, cwd=tmp_path).splitlines()[-1] == printed.strip()
