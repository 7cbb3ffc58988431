"""Azure ML's names for what can go wrong: each is the error that is raised here in its place."""

from __future__ import annotations

from trainyard.errors import (
    ComputeTargetException,
    ConfigError,
    ModelPathNotFound,
    NotFound,
    RunFailed,
    SnapshotError,
    TrainyardError,
)

ActivityFailedException = RunFailed
AzureMLException = TrainyardError
ModelNotFoundException = NotFound
ModelPathNotFoundException = ModelPathNotFound
ProjectSystemException = NotFound
RunEnvironmentException = RuntimeError
SnapshotException = SnapshotError
UserErrorException = ConfigError
WebserviceException = NotFound
WorkspaceException = NotFound

__all__ = [
    "ActivityFailedException",
    "AzureMLException",
    "ComputeTargetException",
    "ModelNotFoundException",
    "ModelPathNotFoundException",
    "ProjectSystemException",
    "RunEnvironmentException",
    "SnapshotException",
    "UserErrorException",
    "WebserviceException",
    "WorkspaceException",
]
