"""What is known of a run at one moment, and the plan that writes it down."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trainyard.contract import Report
from trainyard_operator.api.names import job_name
from trainyard_operator.api.reasons import Phase
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.attempts import latest_attempt, noted
from trainyard_operator.domain.kueue import is_kueues
from trainyard_operator.domain.metrics import bounded, summary
from trainyard_operator.domain.plan import Plan
from trainyard_operator.domain.pod import PodFacts
from trainyard_operator.domain.retries import Tally
from trainyard_operator.domain.run_status import Standing, build_status, story, write_delay
from trainyard_operator.domain.run_view import RunView, SavedRun


def known(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView, pod: PodFacts | None) -> Standing:
    """Return what pod, live report and manifest tell, with a phase that the caller replaces."""
    old: Mapping[str, Any] = parent.get("status") or {}
    attempt = latest_attempt(old, view.job)
    live: Report | Mapping[str, Any] = view.live or {}
    metrics = bounded(live.get("metrics"))
    if pod is not None and pod.ending is not None:
        metrics = {**metrics, **pod.ending.metrics}
    outputs, sha256, commit = None, view.source_sha256, view.source_commit
    image_digest, image = (pod.image_digest, pod.image) if pod else (None, None)
    if isinstance(view.saved, SavedRun):
        manifest = view.saved.manifest
        saved = bounded(manifest["metrics"])
        # The manifest knows all metrics, but sorted; the order in which a script logged them is the better one.
        metrics = {**{name: saved[name] for name in metrics if name in saved}, **saved}
        sha256 = sha256 or manifest["sourceSha256"]
        commit = commit or manifest.get("sourceCommit")
        image_digest = image_digest or manifest.get("imageDigest")
        image = image or manifest.get("image")
        outputs = {
            "uri": view.places.outputs_uri(attempt),
            "files": len(manifest["outputs"]),
            "bytes": sum(file["bytes"] for file in manifest["outputs"]),
            "manifestSha256": view.saved.sha256,
        }
    metrics = metrics or dict(old.get("metrics") or {})
    tags = view.saved.manifest.get("tags") if isinstance(view.saved, SavedRun) else live.get("tags")
    name = job_name(parent["metadata"]["name"], parent["metadata"]["uid"], attempt)
    return Standing(
        phase=Phase.PROVISIONING,
        reason=Reason.POD_PENDING,
        message="",
        attempt=attempt,
        attempts=noted(old, attempt=attempt, job_name=name, pod=pod),
        tally=Tally.of(old),
        job_name=name,
        pod_name=pod.name if pod else None,
        node=pod.node if pod else None,
        started=pod.started if pod else None,
        image_digest=image_digest,
        image=image,
        source_sha256=sha256,
        source_commit=commit,
        metrics=metrics,
        metric_summary=summary(metrics=metrics, parameters=spec.parameters, before=old.get("metricSummary")),
        progress=live.get("progress"),
        outputs=outputs,
        tags=tags or {},
        logs_uri=view.places.logs_uri(attempt),
        models_wished=bool(spec.models) or _script_wishes(view.saved),
        gatekeeper=gatekeeper(parent, spec, view),
    )


def is_saving(view: RunView) -> bool:
    """Return whether the script has ended, as its pod says, and its outputs are being saved."""
    return view.live is not None and view.live.get("state") == "Finalizing"


def gatekeeper(parent: Mapping[str, Any], spec: TrainingJobSpec, view: RunView) -> str:
    """Return who decides when a run starts, in words, or the empty string where nobody has to."""
    if is_kueues(parent, view.job):
        return "Kueue"
    return "the cluster" if spec.cluster_name is not None else ""


def _script_wishes(saved: object) -> bool:
    return isinstance(saved, SavedRun) and bool(saved.manifest.get("models"))


def written(
    parent: Mapping[str, Any], view: RunView, now: datetime, standing: Standing, *, look_again: float | None = None
) -> Plan:
    """Return the plan that brings the status to `standing`: now, later where it can wait, or not at all."""
    old: Mapping[str, Any] = parent.get("status") or {}
    new = build_status(parent=parent, standing=standing, now=now)
    delay = write_delay(old=old, new=new, last_write=view.last_write, now=now)
    if delay is None:
        return Plan(requeue_after=look_again)
    if delay > 0:
        return Plan(requeue_after=min(delay, look_again) if look_again else delay)
    return Plan(status=new, events=story(old=old, new=new), requeue_after=look_again)
