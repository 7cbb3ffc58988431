"""Whether the code of a run is there, before its Job is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainyard.contract import MAX_SOURCE_BYTES
from trainyard_operator.api.reasons import Phase
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.rerun import NotYet
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.domain.run_status import Standing
from trainyard_operator.domain.run_view import ArchiveSource, ConfigMapSource, RunView

_LISTED_FILES = 20


def missing_source(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView) -> Standing | Failure | None:
    """Return what the code of a run is waited for, or why there can be none; None where it is there.

    Only git's servers are not asked here: the operator has no Secret of a namespace, and needs none.
    """
    if isinstance(view.repeated, NotYet):
        return Standing(phase=Phase.PENDING, reason=Reason.SOURCE_NOT_FOUND, message=view.repeated.message)
    if isinstance(view.repeated, Failure):
        return view.repeated
    namespace: str = parent["metadata"]["namespace"]
    if isinstance(view.source, ArchiveSource):
        return _archive(view.source, spec, namespace)
    if isinstance(view.source, ConfigMapSource):
        return _config_map(view.source, spec, namespace)
    return None


def _config_map(found: ConfigMapSource, spec: TrainingJobSpec, namespace: str) -> Standing | Failure | None:
    name = spec.source.config_map if spec.source else None
    if found.files is None:
        words = (
            f"spec.source.configMapRef.name: there is no ConfigMap {name} in namespace {namespace}; "
            "the run starts when there is one"
        )
        return Standing(phase=Phase.PENDING, reason=Reason.SOURCE_NOT_FOUND, message=words)
    if spec.entry_script not in found.files:
        listed = ", ".join(sorted(found.files)[:_LISTED_FILES]) or "nothing"
        words = f"spec.entryScript: {spec.entry_script} is not in the ConfigMap {name}, which holds {listed}"
        return Failure(reason=Reason.SOURCE_INVALID, message=words)
    return None


def _archive(found: ArchiveSource, spec: TrainingJobSpec, namespace: str) -> Standing | Failure | None:
    wanted = spec.source.archive if spec.source else None
    if wanted is None:
        return None
    if found.bytes is None:
        words = (
            f"spec.source.archive.path: nothing is at {wanted.path} in the object store of namespace {namespace} "
            f"({found.uri}); the run starts when it is uploaded"
        )
        return Standing(phase=Phase.PENDING, reason=Reason.SOURCE_NOT_FOUND, message=words)
    if found.sha256 not in {None, wanted.sha256}:
        return Failure(reason=Reason.SOURCE_INVALID, message=wrong_digest(wanted.path, found.sha256, wanted.sha256))
    if found.bytes > MAX_SOURCE_BYTES:
        return Failure(reason=Reason.SOURCE_INVALID, message=too_large(wanted.path, found.bytes))
    return None


def wrong_digest(path: str, found: str | None, wanted: str) -> str:
    """Return what is said of an archive with other bytes than the spec's."""
    return (
        f"spec.source.archive.sha256: {path} has the digest {found}, not {wanted}: upload the archive that is meant, "
        "or give its digest"
    )


def too_large(path: str, size: int) -> str:
    """Return what is said of an archive that is too large to be a source."""
    return (
        f"spec.source.archive.path: {path} has {size} bytes, more than the {MAX_SOURCE_BYTES} of a source: "
        "move data to an input of the run"
    )
