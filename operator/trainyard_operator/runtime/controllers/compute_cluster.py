"""Gathering what planning a ComputeCluster may look at."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from trainyard_operator.api.names import (
    COMPUTE_CLUSTER,
    DEPLOYMENT,
    JOB,
    NODE,
    NODE_CLAIM,
    NODE_POOL,
    POD,
    POOL_LABEL,
    pool_name,
)
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.cloud.groups import NodeGroups
from trainyard_operator.domain.attempts import newest_job
from trainyard_operator.domain.cluster_status import Shortage
from trainyard_operator.domain.compute_cluster import ClusterView, Unplaced, plan_compute_cluster
from trainyard_operator.domain.job import PodSettings
from trainyard_operator.domain.keepers import keeper_name
from trainyard_operator.domain.plan import Plan
from trainyard_operator.domain.pod import read_pod
from trainyard_operator.domain.queueing import Queue
from trainyard_operator.kube.client import Client
from trainyard_operator.providers.autoscaler import AutoscalerSeen, see_groups
from trainyard_operator.providers.base import Cluster, Surroundings
from trainyard_operator.providers.choice import provider_of
from trainyard_operator.providers.existing import look_seconds
from trainyard_operator.runtime.autoscalers import Autoscalers
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.shortages import Waiting, shortages_of
from trainyard_operator.runtime.store import Store

JsonObject = dict[str, Any]

# A provider that has no machine says so within seconds; before that its words are about earlier runs.
PATIENCE_SECONDS = 3


class ComputeClusterController:
    """Observes and plans ComputeClusters."""

    kind = COMPUTE_CLUSTER

    def __init__(  # noqa: PLR0913 - all that a cluster's surroundings are seen through
        self,
        *,
        store: Store,
        book: QueueBook,
        client: Client,
        catalogue: Catalogue,
        karpenter: bool,
        groups: NodeGroups,
        autoscalers: Autoscalers,
        pods: PodSettings,
    ) -> None:
        self._pods = pods
        self._store = store
        self._book = book
        self._client = client
        self._catalogue = catalogue
        self._karpenter = karpenter
        self._groups = groups
        self._autoscalers = autoscalers
        self._last_write: dict[str, datetime] = {}

    async def observe(self, parent: JsonObject) -> ClusterView:
        """Return the nodes, the provider's own objects, the queue, and the provider's words on runs without a node."""
        meta = parent["metadata"]
        key = (meta["namespace"], meta["name"])
        machines = self._book.understand(parent)
        pool = pool_name(*key)
        address = provider_of(machines.spec).group(machines) if isinstance(machines, Cluster) else None
        queue = self._book.queue(key)
        surroundings = Surroundings(
            installed=self._karpenter,
            pool=self._store.get(NODE_POOL, "", pool),
            claims=tuple(c for c in self._store.list(NODE_CLAIM) if _labels(c).get(POOL_LABEL) == pool),
            group=await self._groups.look(address) if address is not None else None,
            autoscaler=await self._autoscaler(machines, busy=bool(queue.admitted)),
        )
        unplaced = self._unplaced(queue)
        late = [u for u in unplaced if datetime.now(UTC) - u.since > timedelta(seconds=PATIENCE_SECONDS)]
        return ClusterView(
            catalogue=self._catalogue,
            nodes=tuple(self._store.list(NODE)),
            runs_on=self._book.runs_by_node(own=meta["namespace"]),
            queue=queue,
            unplaced=tuple(unplaced),
            keeper=self._store.get(DEPLOYMENT, meta["namespace"], keeper_name(meta["name"])),
            pods=self._pods,
            surroundings=surroundings,
            shortages=await self._shortages(pool, late) if late else (),
            last_write=self._last_write.get(meta["uid"]),
        )

    def plan(self, parent: JsonObject, view: ClusterView, now: datetime) -> Plan:
        """Return the next step of a cluster, on its queue as it is in this moment."""
        meta = parent["metadata"]
        key = (meta["namespace"], meta["name"])
        queue = self._book.queue(key, self._book.understand(parent), now=now)
        plan = plan_compute_cluster(parent, replace(view, queue=queue), now)
        if plan.admitted:
            self._book.claim(key, plan.admitted)
        if plan.status is not None:
            self._last_write[meta["uid"]] = now
        return plan

    async def _autoscaler(self, machines: object, *, busy: bool) -> AutoscalerSeen | None:
        settings = machines.spec.autoscaler if isinstance(machines, Cluster) else None
        if settings is None:
            return None
        # A moment less than the time until the next look, so that this one finds something new.
        status = await self._autoscalers.look(settings, max_age=look_seconds(busy=busy) - 1)
        return see_groups(settings, status, now=datetime.now(UTC))

    def _unplaced(self, queue: Queue) -> list[Unplaced]:
        found = []
        for entry in queue.admitted.values():
            job = newest_job(self._store.children(JOB, entry.uid))
            if job is None or entry.since is None:
                continue
            pods = [read_pod(pod) for pod in self._store.children(POD, job["metadata"]["uid"])]
            # A node that is not there yet, or never came up, is silent; one that has the pod says so at once.
            if not all(pod.heard for pod in pods) or not pods:
                found.append(Unplaced(entry=entry, job=job, since=entry.since))
        return found

    async def _shortages(self, pool: str, late: list[Unplaced]) -> tuple[Shortage, ...]:
        waiting: dict[str, Waiting] = {}
        for unplaced in late:
            namespace, job = unplaced.entry.namespace, unplaced.job["metadata"]
            pods = [pod["metadata"]["name"] for pod in self._store.children(POD, job["uid"])]
            known = waiting.get(namespace, Waiting())
            jobs = () if pods else (job["name"],)
            waiting[namespace] = Waiting(pods=(*known.pods, *pods), jobs=(*known.jobs, *jobs))
        return tuple(await shortages_of(self._client, pool=pool, waiting=waiting))


def _labels(obj: JsonObject) -> JsonObject:
    return obj["metadata"].get("labels") or {}
