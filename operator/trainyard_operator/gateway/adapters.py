"""The gateway's ports over the operator's own store and client."""

from __future__ import annotations

import base64
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from trainyard.contract import Ran
from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.names import (
    COMPUTE_CLUSTER,
    CONFIG_MAP,
    ENVIRONMENT_HASH_ANNOTATION,
    JOB,
    POD,
    REGISTERED_MODEL,
    TRAINING_JOB,
    reading_job_name,
)
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.admission import ENDED, capacity_of
from trainyard_operator.domain.attempts import attempt_in, attempt_of, has_ended, newest_job
from trainyard_operator.domain.conditions import parse_timestamp
from trainyard_operator.domain.pod import read_pod
from trainyard_operator.domain.rerun import read_note, whole
from trainyard_operator.domain.source_reading import reads_source
from trainyard_operator.gateway.errors import Refusal, forbidden, unavailable
from trainyard_operator.gateway.ports import Identity, RunRef
from trainyard_operator.kube.client import Client
from trainyard_operator.kube.errors import NotFound
from trainyard_operator.providers.base import Cluster
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.store import Store

JsonObject = dict[str, Any]

# A pod may call before the watch has told of it; what is unknown for longer is not there.
GRACE_SECONDS = 20.0
_REMEMBERED = 10_000


class StoreRunDirectory:
    """`RunDirectory` over what the operator has seen: pod, its Job, and the Job's TrainingJob."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._clock = clock
        self._now = now
        self._first_asked: OrderedDict[str, float] = OrderedDict()

    def run_of(self, identity: Identity) -> RunRef:
        """Return the run that the identity's pod works for.

        A pod that is being deleted may still save what it has, until its grace period is over.
        """
        job, parent = self._family(identity)
        return run_ref(parent, job, attempt=self._current_attempt(job, parent))

    def reader_of(self, identity: Identity) -> RunRef | None:
        """Return the run whose source the identity's pod reads, for which there is no attempt yet."""
        job, parent = self._family(identity)
        if not reads_source(job):
            return None
        meta = parent["metadata"]
        if job["metadata"]["name"] != reading_job_name(meta["name"], meta["uid"]) or attempt_in(
            parent.get("status") or {}
        ):
            raise forbidden(f"the source of the run {meta['name']} is read already")
        if meta.get("deletionTimestamp"):
            raise forbidden(f"the run {meta['name']} is being deleted")
        return run_ref(parent, job, attempt=0)

    def ran(self, identity: Identity) -> Ran:
        """Return what the script in the identity's pod runs in, as its node and the run's status say."""
        job, parent = self._family(identity)
        self._current_attempt(job, parent)
        pod = read_pod(self._store.by_uid(POD, identity.pod_uid or "") or {"metadata": {"name": ""}})
        digest = ((parent.get("status") or {}).get("environment") or {}).get("hash")
        found = Ran()
        if pod.image_digest is not None:
            found["imageDigest"] = pod.image_digest
        if pod.image is not None:
            found["image"] = pod.image
        if digest is not None:
            found["environmentHash"] = digest
        return found

    def _family(self, identity: Identity) -> tuple[JsonObject, JsonObject]:
        """Return the Job and the TrainingJob of a pod; a run that has ended has nothing more to ask."""
        job = self.job_of(identity)
        parent = self._owner(job, TRAINING_JOB.kind)
        if parent is None:
            raise forbidden("this pod belongs to no TrainingJob that exists")
        phase = (parent.get("status") or {}).get("phase")
        if phase in ENDED:
            raise forbidden(f"the run {parent['metadata']['name']} has ended: it is {phase}")
        return job, parent

    def job_of(self, identity: Identity) -> JsonObject:
        """Return the Job that the identity's pod was made by; raises a `Refusal` where none is known."""
        uid = identity.pod_uid or ""
        pod = self._store.by_uid(POD, uid)
        if pod is None:
            raise self._unknown(uid, "the operator does not know this pod")
        meta = pod["metadata"]
        if (meta["namespace"], meta["name"]) != (identity.namespace, identity.pod_name):
            raise forbidden("the token's pod is not the one that the operator knows")
        self._check_alive(pod)
        job = self._owner(pod, JOB.kind)
        if job is None:
            raise self._unknown(uid, "the operator does not know the Job of this pod")
        self._first_asked.pop(uid, None)
        return job

    def unknown(self, identity: Identity, message: str) -> Refusal:
        """Return the refusal of a pod that what is needed is not known of: for a while it may come yet."""
        # Apart from the pod itself, which is known by then.
        return self._unknown(f"more of {identity.pod_uid}", message)

    def _current_attempt(self, job: Mapping[str, Any], parent: Mapping[str, Any]) -> int:
        """Return the attempt that a Job is for; a pod that was given up may live on where nobody can end it."""
        attempt, status = attempt_of(job), parent.get("status") or {}
        newest = newest_job(self._store.children(JOB, parent["metadata"]["uid"]))
        if attempt == 0 or newest is None or attempt < attempt_of(newest) or has_ended(status, attempt):
            raise forbidden(f"attempt {attempt} of the run {parent['metadata']['name']} is over: another one has begun")
        return attempt

    def _check_alive(self, pod: Mapping[str, Any]) -> None:
        name = pod["metadata"]["name"]
        if (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
            raise forbidden(f"the pod {name} has ended")
        deletion = pod["metadata"].get("deletionTimestamp")
        if deletion is not None and parse_timestamp(deletion) < self._now():
            raise forbidden(f"the pod {name} is deleted")

    def _owner(self, obj: Mapping[str, Any], kind: str) -> JsonObject | None:
        known = {JOB.kind: JOB, TRAINING_JOB.kind: TRAINING_JOB}[kind]
        for reference in obj["metadata"].get("ownerReferences") or ():
            if (reference.get("kind"), reference.get("apiVersion")) != (kind, known.api_version):
                continue
            owner = self._store.by_uid(known, reference["uid"])
            # Nobody checks an owner reference that crosses namespaces, so here it counts for nothing.
            if owner is not None and owner["metadata"]["namespace"] == obj["metadata"]["namespace"]:
                return owner
        return None

    def _unknown(self, uid: str, message: str) -> Refusal:
        first = self._first_asked.setdefault(uid, self._clock())
        if len(self._first_asked) > _REMEMBERED:
            self._first_asked.popitem(last=False)
        if self._clock() - first < GRACE_SECONDS:
            return unavailable(f"{message} yet: try again")
        return forbidden(message)


def run_ref(parent: Mapping[str, Any], job: Mapping[str, Any], *, attempt: int) -> RunRef:
    """Return the run of a TrainingJob and its Job, whose pod may get packages."""
    meta, repeated = parent["metadata"], read_note(job)
    try:
        spec = TrainingJobSpec.parse(whole(parent, repeated)["spec"])
    except SpecError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, "InvalidSpec", str(error)) from error
    return RunRef(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        attempt=attempt,
        spec=spec,
        repeated=repeated,
        environment=(job["metadata"].get("annotations") or {}).get(ENVIRONMENT_HASH_ANNOTATION),
    )


class BookQueues:
    """`QueueBoard` over the operator's queue book: every run that waits, however far behind."""

    def __init__(
        self, book: QueueBook, store: Store, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._book = book
        self._store = store
        self._now = now

    def show(self, namespace: str, name: str) -> JsonObject | None:
        """Return the queue of a ComputeCluster: its slots, who has them, and who waits, in order."""
        obj = self._store.get(COMPUTE_CLUSTER, namespace, name)
        machines = self._book.understand(obj) if obj is not None else ""
        if not isinstance(machines, Cluster):
            return None
        queue = self._book.queue((namespace, name), machines, now=self._now())
        capacity = capacity_of(machines)
        running = sorted(queue.admitted.values(), key=lambda entry: entry.order)
        return {
            "cluster": name,
            "slots": {"total": capacity.slots, "used": queue.taken(capacity)},
            "running": [{"namespace": entry.namespace, "name": entry.name} for entry in running],
            "waiting": [
                {
                    "position": position,
                    "namespace": entry.namespace,
                    "name": entry.name,
                    "priority": entry.priority,
                    "created": entry.created,
                }
                for position, entry in enumerate(queue.waiting, 1)
            ],
        }


class StoreModels:
    """`ModelDirectory` over what the operator has seen."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Return the RegisteredModel object `name`, None where there is none."""
        return self._store.get(REGISTERED_MODEL, namespace, name)


class KubeSources:
    """`Sources` read from the API server, since the store keeps neither scripts nor ConfigMaps."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def files(self, run: RunRef) -> dict[str, bytes]:
        """Return the files of the run's source."""
        try:
            parent = await self._client.get(TRAINING_JOB, run.name, namespace=run.namespace)
        except NotFound as error:
            raise forbidden(f"the TrainingJob {run.name} does not exist any more") from error
        if parent["metadata"]["uid"] != run.uid:
            raise forbidden(f"the TrainingJob {run.name} is not the one that this pod was made for")
        source = parent["spec"]["source"]
        if "inline" in source:
            return {path: text.encode(errors="replace") for path, text in source["inline"].items()}
        return await self._config_map(run, source["configMapRef"]["name"])

    async def _config_map(self, run: RunRef, name: str) -> dict[str, bytes]:
        try:
            found = await self._client.get(CONFIG_MAP, name, namespace=run.namespace)
        except NotFound as error:
            message = (
                f"spec.source.configMapRef.name: the ConfigMap {name} in namespace {run.namespace} was deleted before "
                "the run had read it: create both again"
            )
            raise Refusal(HTTPStatus.NOT_FOUND, "SourceInvalid", message, field="spec.source") from error
        files = {path: text.encode(errors="replace") for path, text in (found.get("data") or {}).items()}
        files |= {path: base64.b64decode(text) for path, text in (found.get("binaryData") or {}).items()}
        return files
