"""How a script is called: its command line and its environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainyard.contract import ENV_CHECKPOINT_DIR, ENV_METRICS_FILE, ENV_OUTPUTS
from trainyard_runner.cgroup import thread_variables
from trainyard_runner.environment import environment_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainyard.contract import RunDocument
    from trainyard_runner.layout import Layout


def command_of(document: RunDocument) -> list[str]:
    """Return the argv of the script, with the Python of the training image."""
    return ["python3", document["entryScript"], *document["arguments"]]


def environment_of(*, environ: Mapping[str, str], layout: Layout) -> dict[str, str]:
    """Return the script's environment: the container's, and what makes `trainyard` importable and prints visible."""
    path = environ.get("PYTHONPATH")
    return {
        **environ,
        **environment_variables(environ, layout=layout),
        **thread_variables(environ, root=layout.cgroup),
        "PYTHONPATH": f"{layout.library}:{path}" if path else str(layout.library),
        "PYTHONUNBUFFERED": "1",
        ENV_METRICS_FILE: str(layout.metrics_file),
        ENV_OUTPUTS: str(layout.outputs),
        ENV_CHECKPOINT_DIR: str(layout.checkpoint),
    }
