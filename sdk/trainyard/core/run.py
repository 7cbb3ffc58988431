"""Azure ML's one name for two things: the run that a script belongs to, and a run that is looked at from outside."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from trainyard.errors import ConfigError
from trainyard.run import Run as ScriptRun

if TYPE_CHECKING:
    from trainyard.remote.experiment import Experiment
    from trainyard.remote.submitted import SubmittedRun
    from trainyard.remote.workspace import Workspace


class _EitherRun(type):
    def __instancecheck__(cls, instance: object) -> bool:
        # Nobody has a submitted run who has not imported what makes them.
        submitted = sys.modules.get("trainyard.remote.submitted")
        return isinstance(instance, ScriptRun) or (
            submitted is not None and isinstance(instance, submitted.SubmittedRun)
        )


class Run(metaclass=_EitherRun):
    """``Run.get_context()`` inside a script, ``Run(experiment, run_id)`` outside: never an object of its own.

    Parameters
    ----------
    experiment
        The experiment.
    run_id
        The name of the TrainingJob.

    Raises
    ------
    NotFound
        If there is no such run.
    """

    def __new__(cls, experiment: Experiment | None = None, run_id: str | None = None) -> Any:
        """Return the run of an experiment that has this id."""
        if experiment is None or run_id is None:
            raise ConfigError(
                "which run? Run.get_context() is the one that a script belongs to, Run(experiment, run_id) one that "
                "was submitted"
            )
        from trainyard import SubmittedRun  # noqa: PLC0415

        return SubmittedRun(experiment, run_id)

    get_context = staticmethod(ScriptRun.get_context)
    get_submitted_run = staticmethod(ScriptRun.get_submitted_run)

    @staticmethod
    def get(workspace: Workspace, run_id: str) -> SubmittedRun:
        """Return the run of a workspace that has this id."""
        from trainyard import SubmittedRun  # noqa: PLC0415

        return SubmittedRun.get(workspace, run_id)
