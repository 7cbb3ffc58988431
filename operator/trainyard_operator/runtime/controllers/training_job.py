"""Gathering what planning a TrainingJob may look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.names import (
    COMPUTE_CLUSTER,
    CONFIG_MAP,
    DATA_FINALIZER,
    JOB,
    POD,
    REGISTERED_MODEL,
    TRAINING_JOB,
    WORKLOAD,
    cluster_of,
    object_name,
)
from trainyard_operator.api.reasons import Phase
from trainyard_operator.api.source import SourceSpec
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.admission import ENDED
from trainyard_operator.domain.attempts import attempt_of, has_ended, is_over, latest_attempt, newest_job
from trainyard_operator.domain.environment import Kept, Preparation, Reading
from trainyard_operator.domain.job import PodSettings
from trainyard_operator.domain.kueue import is_kueues
from trainyard_operator.domain.plan import Plan
from trainyard_operator.domain.rerun import NotYet, Repeated, look_up, read_note, whole
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.domain.run_models import has_grown
from trainyard_operator.domain.run_view import (
    ArchiveSource,
    ConfigMapSource,
    Places,
    RunData,
    RunView,
    SavedRun,
    StoreTrouble,
)
from trainyard_operator.domain.source_reading import has_to_be_read
from trainyard_operator.domain.training_job import plan_training_job
from trainyard_operator.kube.client import Client
from trainyard_operator.kube.errors import NotFound
from trainyard_operator.providers.base import Cluster
from trainyard_operator.runtime.environments import EnvironmentBook
from trainyard_operator.runtime.listings import Listings
from trainyard_operator.runtime.memory import Memory
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.store import Store
from trainyard_operator.storage import layout
from trainyard_operator.storage.erasure import is_empty
from trainyard_operator.storage.errors import ManifestInvalid, StoreError
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
        memory: Memory,
        environments: EnvironmentBook,
        settings: PodSettings,
        bucket: str,
        no_kueue: str,
    ) -> None:
        self._no_kueue = no_kueue
        self._store = store
        self._book = book
        self._client = client
        self._objects = objects
        self._memory = memory
        self._environments = environments
        self._listings = Listings(store=store, objects=objects, settings=environments.settings)
        self._settings = settings
        self._bucket = bucket
        self._last_write: dict[str, datetime] = {}

    async def observe(self, parent: JsonObject) -> RunView:
        """Return the surroundings of a TrainingJob; the API server and the object store are asked only where needed."""
        meta, spec, status = parent["metadata"], _mapping(parent.get("spec")), parent.get("status") or {}
        namespace, uid = meta["namespace"], meta["uid"]
        job = newest_job(self._store.children(JOB, uid))
        pods = self._store.children(POD, job["metadata"]["uid"]) if job else ()
        attempt = latest_attempt(status, job)
        live = self._store.live.get(uid)
        if live is not None and live.attempt != attempt:
            live = None
        # Once it has begun its source is frozen, whatever becomes of the ConfigMap.
        source = await self._source(namespace, spec) if attempt == 0 else None
        repeated = self._repeated(parent, job)
        key = cluster_of(parent)
        cluster = self._store.get(COMPUTE_CLUSTER, *key) if key else None
        saved = await self._saved(parent, job, pods, attempt)
        return RunView(
            settings=self._settings,
            places=Places(run_uri=layout.uri(self._bucket, layout.run_prefix(namespace, uid))),
            job=job,
            pods=pods,
            cluster=cluster,
            machines=self._book.understand(cluster) if cluster else "",
            workload=self._workload(job),
            no_kueue=self._no_kueue,
            source=source,
            repeated=repeated,
            preparation=await self._preparation(parent, repeated, source) if attempt == 0 else None,
            live=live.report if live else None,
            source_sha256=live.source_sha256 if live else None,
            source_commit=live.source_commit if live else None,
            saved=saved,
            models=self._models(namespace, _wished(spec, saved)),
            store_trouble=self._memory.store_trouble.get(uid, ""),
            data=await self._data(meta),
            last_write=self._last_write.get(uid),
        )

    async def _preparation(
        self,
        parent: JsonObject,
        repeated: Repeated | NotYet | Failure | None,
        source: ConfigMapSource | ArchiveSource | None,
    ) -> Preparation | Kept | Reading | Failure | None:
        run = whole(parent, repeated)
        try:
            spec = TrainingJobSpec.parse(run["spec"])
        except SpecError:
            return None  # which the plan finds as well, and says
        if isinstance(repeated, Repeated):
            return await self._environments.again(run, spec, repeated)
        config_map = source if isinstance(source, ConfigMapSource) else None
        if not spec.environment.builds or (config_map is not None and config_map.files is None):
            return None
        if isinstance(source, ArchiveSource) and source.bytes is None:
            return None
        text: object = config_map.requirements if config_map is not None else None
        if has_to_be_read(spec):
            text = await self._listings.find(run, spec)
            if isinstance(text, Reading):
                return text
        if spec.source and spec.source.inline_files is not None and spec.environment.requirements is not None:
            text = run["spec"]["source"]["inline"][spec.environment.requirements]
        return await self._environments.preparation(run, spec, text if isinstance(text, str) else None)

    def plan(self, parent: JsonObject, view: RunView, now: datetime) -> Plan:
        """Return the next step of a run.

        Its cluster's slots are looked at and taken here, with no waiting in between: nobody else can take the same.
        """
        asked = dict(whole(parent, view.repeated))
        # Whose Job was the last one says nothing of who lets the next one in.
        over = view.job is not None and has_ended(parent.get("status") or {}, attempt_of(view.job))
        own = not is_kueues(parent, None if over else view.job)
        if own and view.cluster is not None and isinstance(view.machines, Cluster):
            gate = self._book.gate(asked, dict(view.cluster), view.machines, now=now)
            view = replace(view, gate=gate)
        plan = plan_training_job(parent, view, now)
        # Only an attempt takes a place: the build of its packages, or what reads its source, does not.
        begins = any(child["kind"] == JOB.kind and attempt_of(child) for child in plan.create)
        if view.gate is not None and view.gate.open and begins:
            self._claim(asked, view.machines)
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

    def _repeated(self, parent: JsonObject, job: JsonObject | None) -> Repeated | NotYet | Failure | None:
        namespace = parent["metadata"]["namespace"]

        def job_of(uid: str) -> JsonObject | None:
            return newest_job(self._store.children(JOB, uid))

        # Every attempt's Job has the note, and what it says stays so, whatever becomes of the other run.
        return read_note(job) or look_up(
            parent, find=lambda name: self._store.get(TRAINING_JOB, namespace, name), job_of=job_of
        )

    async def _source(self, namespace: str, spec: Mapping[str, Any]) -> ConfigMapSource | ArchiveSource | None:
        try:
            source = SourceSpec.parse(spec.get("source"))
        except SpecError:
            return None  # the plan says what is wrong with it
        if source.archive is not None:
            key = layout.archive_key(namespace, source.archive.path)
            info = await self._objects.head(key)
            where = layout.uri(self._bucket, key)
            return ArchiveSource(uri=where, bytes=info.bytes, sha256=info.sha256) if info else ArchiveSource(uri=where)
        if source.config_map is None:
            return None
        try:
            config_map = await self._client.get(CONFIG_MAP, source.config_map, namespace=namespace)
        except NotFound:
            return ConfigMapSource(files=None)
        texts = config_map.get("data") or {}
        return ConfigMapSource(
            files=frozenset(texts | (config_map.get("binaryData") or {})),
            requirements=texts.get(_mapping(spec.get("environment")).get("requirements")),
        )

    async def _data(self, meta: Mapping[str, Any]) -> RunData | None:
        if not meta.get("deletionTimestamp") or DATA_FINALIZER not in (meta.get("finalizers") or ()):
            return None
        try:
            empty = await is_empty(self._objects, layout.run_prefix(meta["namespace"], meta["uid"]))
        except StoreError as error:
            return RunData(left=False, trouble=str(error))
        return RunData(left=not empty, trouble="" if empty else self._memory.kept_data.get(meta["uid"], ""))

    async def _saved(
        self, parent: JsonObject, job: Mapping[str, Any] | None, pods: Sequence[Mapping[str, Any]], attempt: int
    ) -> SavedRun | StoreTrouble | None:
        status = parent.get("status") or {}
        if status.get("phase") in {Phase.FAILED, Phase.CANCELED}:
            return None
        completed = status.get("phase") == Phase.COMPLETED
        later = completed and has_grown(parent)
        over = job is not None and not has_ended(status, attempt) and is_over(job, pods, now=datetime.now(UTC))
        if not later and (completed or not over):
            return None
        meta = parent["metadata"]
        try:
            found = await read_run_manifest(self._objects, meta["namespace"], meta["uid"], attempt)
        except StoreError as error:
            # Keys, buckets and networks get mended: only a manifest that is there and wrong stays wrong.
            return StoreTrouble(message=str(error), final=False)
        except ManifestInvalid as error:
            return StoreTrouble(message=str(error), final=True)
        return SavedRun(manifest=found[0], sha256=found[1]) if found else None


def _wished(spec: Mapping[str, Any], saved: SavedRun | StoreTrouble | None) -> frozenset[str]:
    """Return the models that a run is to register, by its spec, which may be anything, or by its script."""
    wishes = spec.get("models")
    names = [_mapping(wish).get("name") for wish in wishes] if isinstance(wishes, list) else []
    if isinstance(saved, SavedRun):
        names += [wish["name"] for wish in saved.manifest.get("models", ())]
    return frozenset(name for name in names if isinstance(name, str))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
