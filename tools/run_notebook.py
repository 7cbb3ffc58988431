"""Run the tutorial's notebook from the first cell to the last, in a copy of its folder, against a real workspace.

What came out of it is written where `--output` says. The notebook in the repository is such an output: a digest of the
cells that were run is in its metadata, and a test holds that digest against the cells that are there now.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "mnist" / "01-train-models.ipynb"
# What a first run needs, and nothing that an earlier one has left.
BESIDE = ("data", "train.py", "utils.py")
CELL_SECONDS = 600


def digest(notebook: Any) -> str:
    """Return the digest of what the code cells of a notebook say."""
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def execute(notebook: Any, *, folder: Path, namespace: str) -> None:
    """Run all cells in `folder`, in the workspace of `namespace`; outputs go into `notebook`.

    Raises
    ------
    CellExecutionError
        If a cell fails; the outputs up to there are in `notebook`.
    """
    for name in BESIDE:
        source, target = NOTEBOOK.parent / name, folder / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    (folder / "config.json").write_text(json.dumps({"workspace_name": namespace}))
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        # What is printed bit by bit is one text, and a bar is shown as it was left.
        coalesce_streams=True,
        record_timing=False,
    )
    notebook["metadata"].pop("trainyard", None)
    client.execute()
    notebook["metadata"]["trainyard"] = {"executed": digest(notebook)}


def main() -> int:
    """Run the notebook, and say which cell failed where one did."""
    parser = argparse.ArgumentParser(description="Run the tutorial's notebook in a namespace of the current cluster.")
    parser.add_argument("--namespace", required=True, help="the workspace")
    parser.add_argument("--output", type=Path, required=True, help="where the executed notebook goes")
    options = parser.parse_args()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory(prefix="mnist-") as folder:
        try:
            execute(notebook, folder=Path(folder), namespace=options.namespace)
        except CellExecutionError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            nbformat.write(notebook, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
