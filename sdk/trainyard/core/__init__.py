"""Azure ML's package of this name: code that was written for it needs ``azureml`` replaced in its import lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainyard.core.run import Run
from trainyard.lazy import find

if TYPE_CHECKING:
    from trainyard.remote.compute import ComputeTarget
    from trainyard.remote.datastore import Datastore
    from trainyard.remote.environment import Environment
    from trainyard.remote.estimator import ScriptRunConfig
    from trainyard.remote.experiment import Experiment
    from trainyard.remote.model import Model
    from trainyard.remote.runconfig import RunConfiguration
    from trainyard.remote.workspace import Workspace
    from trainyard.version import VERSION

__all__ = [
    "VERSION",
    "ComputeTarget",
    "Datastore",
    "Environment",
    "Experiment",
    "Model",
    "Run",
    "RunConfiguration",
    "ScriptRunConfig",
    "Workspace",
]

_MODULES = {
    "VERSION": "version",
    "ComputeTarget": "remote.compute",
    "Datastore": "remote.datastore",
    "Environment": "remote.environment",
    "Experiment": "remote.experiment",
    "Model": "remote.model",
    "RunConfiguration": "remote.runconfig",
    "ScriptRunConfig": "remote.estimator",
    "Workspace": "remote.workspace",
}
_ABSENT = {
    "Dataset": "bring the files to the datastore with ws.get_default_datastore().upload(…), and give the script "
    "ds.path(…).as_mount()",
    "Keyvault": "give a run the keys of a Secret with spec.environment.variables of a TrainingJob",
    "Webservice": "serve a registered model with KServe or a Deployment, as examples/serving does",
}


def __getattr__(name: str) -> Any:
    return find(__name__, name, _MODULES, _ABSENT)
