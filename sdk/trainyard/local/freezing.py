"""Freezing a run's code before anything else, so that every attempt of it gets the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainyard.contract import MAX_SOURCE_BYTES
from trainyard.digest import sha256_of
from trainyard.local.home import Home
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.rerun import Repeated
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.domain.run_source import too_large, wrong_digest
from trainyard_operator.domain.source_archive import archive
from trainyard_operator.storage import layout


def freeze(home: Home, run: Mapping[str, Any], spec: TrainingJobSpec, repeated: Repeated | None) -> Failure | None:
    """Keep the code of a run beside what it will save; code from git is left to the runner.

    Returns
    -------
    Failure | None
        Why there is no code, if so.
    """
    meta = run["metadata"]
    target = home.key(layout.source_key(meta["namespace"], meta["uid"]))
    if repeated is not None:
        origin = home.key(layout.source_key(meta["namespace"], repeated.uid))
        words = f"spec.rerunOf: the code of {repeated.name} is not in {home.folder} any more"
        return _keep(home, origin, target, Failure(reason=Reason.SOURCE_INVALID, message=words))
    assert spec.source is not None
    if spec.source.archive is not None:
        wanted = spec.source.archive
        origin = home.key(layout.archive_key(meta["namespace"], wanted.path))
        if origin.is_file() and origin.stat().st_size > MAX_SOURCE_BYTES:
            return Failure(reason=Reason.SOURCE_INVALID, message=too_large(wanted.path, origin.stat().st_size))
        if origin.is_file() and (found := sha256_of(origin)) != wanted.sha256:
            return Failure(reason=Reason.SOURCE_INVALID, message=wrong_digest(wanted.path, found, wanted.sha256))
        words = f"spec.source.archive.path: nothing is at {wanted.path}: there is no file {origin}"
        return _keep(home, origin, target, Failure(reason=Reason.SOURCE_NOT_FOUND, message=words))
    if spec.source.inline_files is not None:
        files = {path: text.encode() for path, text in run["spec"]["source"]["inline"].items()}
        home.write(target, archive(files))
    return None


def _keep(home: Home, origin: Path, target: Path, missing: Failure) -> Failure | None:
    if not origin.is_file():
        return missing
    home.copy(origin, target)
    return None
