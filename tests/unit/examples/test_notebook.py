"""The notebook in the repository: what it shows came out of the cells that it has, and it explains each step."""

from __future__ import annotations

import json
import tomllib

import pytest

from tools.run_notebook import BESIDE, NOTEBOOK, digest

MOST_BYTES = 500_000


@pytest.fixture(scope="module")
def notebook():
    return json.loads(NOTEBOOK.read_text())


@pytest.fixture(scope="module")
def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


def test_what_is_shown_came_out_of_the_cells_that_are_there(notebook, code):
    again = f"python tools/run_notebook.py --namespace default --output {NOTEBOOK.name} runs them anew"
    assert notebook["metadata"]["trainyard"]["executed"] == digest(notebook), again
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert [cell["id"] for cell in code for output in cell["outputs"] if output["output_type"] == "error"] == []


def test_another_cell_would_have_to_be_run(notebook):
    changed = json.loads(json.dumps(notebook))
    changed["cells"][-1]["source"] += ["\n# more"]
    assert digest(changed) != digest(notebook)


def test_it_stays_small_enough_to_be_read_where_it_is_kept():
    assert NOTEBOOK.stat().st_size < MOST_BYTES


def test_every_step_says_what_happens_in_the_cluster(notebook):
    steps = [source(cell) for cell in notebook["cells"] if source(cell).startswith("## ")]
    assert len(steps) >= 15
    assert [step.splitlines()[0] for step in steps if "> **In the cluster:**" not in step] == []


def test_the_quick_start_installs_the_scikit_learn_that_runs_have(repository):
    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (wanted,) = [requirement for requirement in extras["runner"] if requirement.startswith("scikit-learn")]
    assert f" {wanted}\n" in (repository / "docs" / "quickstart-notebook.md").read_text()


def test_the_script_of_the_runs_is_the_examples_and_no_copy_of_it(code):
    assert [cell["id"] for cell in code if "LogisticRegression(C=" in source(cell)] == []
    (copying,) = [source(cell) for cell in code if cell["id"] == "copy-script"]
    assert [name for name in BESIDE if name.endswith(".py") and f'"{name}"' not in copying] == []
