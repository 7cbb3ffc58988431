"""Gathering what planning a TrainingJob may look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from trainyard_operator.api.names import (
    COMPUTE_CLUSTER,
    CONFIG_MAP,
    JOB,
    POD,
    REGISTERED_MODEL,
    TRAINING_JOB,
    WORKLOAD,
    cluster_of,
    object_name,
)
from trainyard_operator.api.reasons import Phase
from trainyard_operator.domain.admission import ENDED
from trainyard_operator.domain.job import PodSettings
from trainyard_operator.domain.kueue import is_kueues
from trainyard_operator.domain.plan import Plan
from trainyard_operator.domain.run_ending import has_finished
from trainyard_operator.domain.run_models import has_grown
from trainyard_operator.domain.run_view import ConfigMapSource, Places, RunView, SavedRun, StoreTrouble
from trainyard_operator.domain.training_job import plan_training_job
from trainyard_operator.kube.client import Client
from trainyard_operator.kube.errors import NotFound
from trainyard_operator.providers.base import Cluster
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.store import Store
from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import ManifestInvalid, StoreError
from trainyard_operator.storage.models import highest_version
from trainyard_operator.storage.runs import read_run_manifest
from trainyard_operator.storage.store import ObjectStore

JsonObject = dict[str, Any]


class TrainingJobController:
    """Observes and plans TrainingJobs."""

    kind = TRAINING_JOB

    def __init__(  # noqa: PLR0913 - a run has that much around it
        self,
        *,
        store: Store,
        book: QueueBook,
        client: Client,
        objects: ObjectStore,
        settings: PodSettings,
        bucket: str,
        no_kueue: str,
    ) -> None:
        self._no_kueue = no_kueue
        self._store = store
        self._book = book
        self._client = client
        self._objects = objects
        self._settings = settings
        self._bucket = bucket
        self._last_write: dict[str, datetime] = {}

    async def observe(self, parent: JsonObject) -> RunView:
        """Return the surroundings of a TrainingJob; the API server and the object store are asked only where needed."""
        meta, spec, status = parent["metadata"], _mapping(parent.get("spec")), parent.get("status") or {}
        namespace, uid = meta["namespace"], meta["uid"]
        jobs = self._store.children(JOB, uid)
        job = jobs[0] if jobs else None
        live = self._store.live.get(uid)
        key = cluster_of(parent)
        cluster = self._store.get(COMPUTE_CLUSTER, *key) if key else None
        saved = await self._saved(parent, job, cluster)
        wished = _wished(spec, saved)
        models = self._models(namespace, wished)
        return RunView(
            settings=self._settings,
            places=Places(
                outputs_uri=layout.uri(self._bucket, layout.outputs_prefix(namespace, uid)),
                logs_uri=layout.uri(self._bucket, layout.logs_prefix(namespace, uid)),
            ),
            job=job,
            pods=self._store.children(POD, job["metadata"]["uid"]) if job else (),
            cluster=cluster,
            machines=self._book.understand(cluster) if cluster else "",
            workload=self._workload(job),
            no_kueue=self._no_kueue,
            source=await self._source(namespace, spec) if job is None and not status.get("jobName") else None,
            live=live.report if live else None,
            source_sha256=live.source_sha256 if live else None,
            saved=saved,
            models=models,
            used_numbers=await self._used_numbers(namespace, wished, models) if isinstance(saved, SavedRun) else {},
            last_write=self._last_write.get(uid),
        )

    def plan(self, parent: JsonObject, view: RunView, now: datetime) -> Plan:
        """Return the next step of a run.

        Its cluster's slots are looked at and taken here, with no waiting in between: nobody else can take the same.
        """
        own = not is_kueues(parent, view.job)
        if own and view.cluster is not None and isinstance(view.machines, Cluster):
            gate = self._book.gate(parent, dict(view.cluster), view.machines, now=now)
            view = replace(view, gate=gate)
        plan = plan_training_job(parent, view, now)
        if view.gate is not None and view.gate.open and any(child["kind"] == JOB.kind for child in plan.create):
            self._claim(parent, view.machines)
        if plan.status is not None:
            uid = parent["metadata"]["uid"]
            if plan.status["phase"] in ENDED:
                self._last_write.pop(uid, None)
            else:
                self._last_write[uid] = datetime.now(UTC)
        return plan

    def _workload(self, job: JsonObject | None) -> JsonObject | None:
        found = self._store.children(WORKLOAD, job["metadata"]["uid"]) if job else ()
        return found[0] if found else None

    def _claim(self, parent: JsonObject, machines: Cluster | str) -> None:
        entry = self._book.entry(parent)
        if entry is not None and isinstance(machines, Cluster):
            self._book.claim((machines.namespace, machines.name), [entry])

    def _models(self, namespace: str, names: frozenset[str]) -> dict[str, JsonObject]:
        found = {object_name(name): self._store.get(REGISTERED_MODEL, namespace, object_name(name)) for name in names}
        return {name: model for name, model in found.items() if model is not None}

    async def _used_numbers(
        self, namespace: str, names: frozenset[str], models: Mapping[str, JsonObject]
    ) -> dict[str, int]:
        """Return what the store knows of models whose objects are new: they may not be the first of their name."""
        new = {n for n in names if "latestVersion" not in (models.get(object_name(n), {}).get("status") or {})}
        return {name: await highest_version(self._objects, namespace, name) for name in sorted(new)}

    async def _source(self, namespace: str, spec: Mapping[str, Any]) -> ConfigMapSource | None:
        name = _mapping(_mapping(spec.get("source")).get("configMapRef")).get("name")
        if not isinstance(name, str):
            return None
        try:
            config_map = await self._client.get(CONFIG_MAP, name, namespace=namespace)
        except NotFound:
            return ConfigMapSource(files=None)
        return ConfigMapSource(files=frozenset((config_map.get("data") or {}) | (config_map.get("binaryData") or {})))

    async def _saved(
        self, parent: JsonObject, job: JsonObject | None, cluster: JsonObject | None
    ) -> SavedRun | StoreTrouble | None:
        status = parent.get("status") or {}
        if status.get("phase") in {Phase.FAILED, Phase.CANCELED}:
            return None
        later = status.get("phase") == Phase.COMPLETED and has_grown(parent)
        ended = status.get("phase") != Phase.COMPLETED and job is not None and has_finished(job)
        # A run that was canceled while it ran has saved what there was; one that Kueue took off its node begins anew.
        stopped = bool(status.get("startTime")) and job is not None and bool((job.get("spec") or {}).get("suspend"))
        stopped = stopped and _is_canceled(parent, cluster)
        if not (later or ended or stopped):
            return None
        meta = parent["metadata"]
        try:
            found = await read_run_manifest(self._objects, meta["namespace"], meta["uid"])
        except StoreError as error:
            # Keys, buckets and networks get mended: only a manifest that is there and wrong stays wrong.
            return StoreTrouble(message=str(error), final=False)
        except ManifestInvalid as error:
            return StoreTrouble(message=str(error), final=True)
        return SavedRun(manifest=found[0], sha256=found[1]) if found else None


def _is_canceled(run: JsonObject, cluster: JsonObject | None) -> bool:
    return bool(_mapping(run.get("spec")).get("cancel")) or bool(
        (cluster or {"metadata": {}})["metadata"].get("deletionTimestamp")
    )


def _wished(spec: Mapping[str, Any], saved: SavedRun | StoreTrouble | None) -> frozenset[str]:
    """Return the models that a run is to register, by its spec, which may be anything, or by its script."""
    wishes = spec.get("models")
    names = [_mapping(wish).get("name") for wish in wishes] if isinstance(wishes, list) else []
    if isinstance(saved, SavedRun):
        names += [wish["name"] for wish in saved.manifest.get("models", ())]
    return frozenset(name for name in names if isinstance(name, str))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
