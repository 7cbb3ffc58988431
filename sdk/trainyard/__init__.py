"""What a training script imports, ``from trainyard import Run``, and what people import who start runs.

A script pays for `Run` alone: everything else is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainyard.lazy import find
from trainyard.run import Run

if TYPE_CHECKING:
    from trainyard.errors import ComputeTargetException, TrainyardError
    from trainyard.remote.compute import AmlCompute, BatchAiCompute, ComputeTarget
    from trainyard.remote.datastore import Datastore
    from trainyard.remote.environment import Environment
    from trainyard.remote.estimator import Estimator, ScriptRunConfig
    from trainyard.remote.experiment import Experiment
    from trainyard.remote.model import Model
    from trainyard.remote.reference import DataReference
    from trainyard.remote.submitted import SubmittedRun
    from trainyard.remote.workspace import Workspace

__all__ = [
    "AmlCompute",
    "BatchAiCompute",
    "ComputeTarget",
    "ComputeTargetException",
    "DataReference",
    "Datastore",
    "Environment",
    "Estimator",
    "Experiment",
    "Model",
    "Run",
    "ScriptRunConfig",
    "SubmittedRun",
    "TrainyardError",
    "Workspace",
]

_MODULES = {
    "AmlCompute": "remote.compute",
    "BatchAiCompute": "remote.compute",
    "ComputeTarget": "remote.compute",
    "ComputeTargetException": "errors",
    "DataReference": "remote.reference",
    "Datastore": "remote.datastore",
    "Environment": "remote.environment",
    "Estimator": "remote.estimator",
    "Experiment": "remote.experiment",
    "Model": "remote.model",
    "ScriptRunConfig": "remote.estimator",
    "SubmittedRun": "remote.submitted",
    "TrainyardError": "errors",
    "Workspace": "remote.workspace",
    # For `import trainyard as azureml`, whose code says azureml.core.
    "core": "core",
}


def __getattr__(name: str) -> Any:
    return find(__name__, name, _MODULES)
