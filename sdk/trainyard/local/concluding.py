"""What comes of an attempt that is over, by the operator's own rules: its end, models, or another attempt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trainyard.contract import Report
from trainyard.local.registry import create_model, take_number
from trainyard.remote.objects import REGISTERED_MODELS, TRAINING_JOBS
from trainyard_operator.api.reasons import Phase
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.domain.job import PodSettings
from trainyard_operator.domain.plan import Plan
from trainyard_operator.domain.rerun import NotYet, Repeated, look_up
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.domain.run_models import has_grown
from trainyard_operator.domain.run_status import Standing, build_status, is_complete
from trainyard_operator.domain.run_view import Places, RunView, SavedRun
from trainyard_operator.domain.training_job import plan_training_job
from trainyard_operator.storage import layout

if TYPE_CHECKING:
    from trainyard.local.objects import LocalObjects

JsonObject = dict[str, Any]

# A model takes its number in one look and is named in the next; more looks than these change nothing.
ROUNDS = 5
SETTINGS = PodSettings(trainer_image="", gateway_url="", gateway_ca="", disruption_retries=0)


@dataclass(kw_only=True)
class Witness:
    """What is known of the attempt that is under way, as a cluster's Job and pod would tell it."""

    job: JsonObject | None = None
    pod: JsonObject | None = None
    live: Report | None = None
    source_sha256: str | None = None
    source_commit: str | None = None
    repeated: Repeated | None = None

    @property
    def said(self) -> str:
        """The newest words of the runner."""
        return self.live.get("message", "") if self.live is not None else ""


def view_of(objects: LocalObjects, run: Mapping[str, Any], witness: Witness, *, attempt: int) -> RunView:
    """Return the surroundings of a run as they are now; what it has saved, and models, where `attempt` is not 0."""
    meta, home = run["metadata"], objects.home
    saved = None
    models = objects.list(REGISTERED_MODELS) if attempt else []
    manifest = home.key(layout.run_manifest_key(meta["namespace"], meta["uid"], attempt))
    if attempt and manifest.exists():
        content = manifest.read_bytes()
        saved = SavedRun(manifest=json.loads(content), sha256=hashlib.sha256(content).hexdigest())
    return RunView(
        settings=SETTINGS,
        places=Places(run_uri=home.uri(layout.run_prefix(meta["namespace"], meta["uid"]))),
        job=witness.job,
        pods=[witness.pod] if witness.pod is not None else [],
        repeated=witness.repeated,
        live=witness.live,
        source_sha256=witness.source_sha256,
        source_commit=witness.source_commit,
        saved=saved,
        models={model["metadata"]["name"]: model for model in models},
    )


def apply(objects: LocalObjects, name: str, plan: Plan) -> None:
    """Carry out what a plan of a run says."""
    for document in plan.create:
        create_model(objects, document)
    for request in plan.register:
        take_number(objects, request)
    if plan.status is not None:
        objects.write_status(TRAINING_JOBS, name, plan.status)


def register_later(objects: LocalObjects, name: str) -> None:
    """Register the models that were added to a run after it had completed."""
    for _ in range(ROUNDS):
        run = objects.get(TRAINING_JOBS, name)
        if not (is_complete(run["status"]) and has_grown(run)):
            return
        found = look_up(run, find=lambda other: objects.get(TRAINING_JOBS, other), job_of=lambda _: None)
        witness = Witness(repeated=found if isinstance(found, Repeated) else None)
        view = view_of(objects, run, witness, attempt=run["status"]["attempt"])
        plan = plan_training_job(run, view, datetime.now(UTC))
        apply(objects, name, plan)
        if not plan.register and not plan.create:
            return


def repeated_by(objects: LocalObjects, run: Mapping[str, Any]) -> Repeated | Failure | None:
    """Return the run that is repeated by `run`, or why it cannot be; None where it repeats nothing."""
    known = set(objects.names(TRAINING_JOBS))
    found = look_up(
        run,
        find=lambda name: objects.get(TRAINING_JOBS, name) if name in known else None,
        job_of=lambda _: None,
    )
    if isinstance(found, NotYet):
        return Failure(reason=Reason.SOURCE_NOT_FOUND, message=found.message)
    return found


def lost(run: Mapping[str, Any]) -> JsonObject:
    """Return the status of a run whose process is gone without a word."""
    words = "the process that had carried out the run is gone: it was killed, or the machine was started anew"
    failure = Failure(reason=Reason.RUN_FAILED, message=words)
    return failed(run, failure)


def failed(run: Mapping[str, Any], failure: Failure) -> JsonObject:
    """Return the status of a run that has failed."""
    standing = Standing(
        phase=Phase.FAILED,
        reason=failure.reason,
        message=failure.message,
        failure=failure,
        models_wished=bool(run["spec"].get("models")),
    )
    return build_status(parent=run, standing=standing, now=datetime.now(UTC))
