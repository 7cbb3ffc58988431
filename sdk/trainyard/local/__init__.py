"""Runs without a cluster: the same TrainingJob with the same runner, in a process of this machine.

A folder stands for the cluster. It has the objects as the API server would keep them, and everything else where the
bucket would have it, so that what works with a cluster works with the folder.

`run` carries out one TrainingJob; `trainyard.Workspace.local` is a workspace of such a folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainyard.local.running import LocalRun, run

__all__ = ["LocalRun", "run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from trainyard.local import running
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        raise ImportError(
            f"runs without a cluster need a package that is not installed here: {missing}. pip install 'trainyard[sdk]'"
        ) from error
    return getattr(running, name)
