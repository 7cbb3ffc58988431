"""The parts of an operator that leads: all of them are made and put together here, and nowhere else."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from trainyard_operator.administration import open_store
from trainyard_operator.api.names import COMPUTE_CLUSTER, NODE_POOL, REGISTERED_MODEL, TRAINING_JOB, WORKLOAD, Kind
from trainyard_operator.cloud.eks import EksApi
from trainyard_operator.cloud.groups import PacedNodeGroups
from trainyard_operator.domain import kueue
from trainyard_operator.domain.job import PodSettings
from trainyard_operator.gateway.adapters import BookQueues, KubeSources, StoreModels, StoreRunDirectory
from trainyard_operator.gateway.environments import Environments
from trainyard_operator.gateway.metrics import GatewayMetrics
from trainyard_operator.gateway.model_access import CachedAccessReviewer, KubeAccessReviewer
from trainyard_operator.gateway.models import ModelGrants
from trainyard_operator.gateway.reviewer import CachedReviewer, KubeTokenReviewer
from trainyard_operator.gateway.server import Gateway
from trainyard_operator.gateway.tls import ServerTls
from trainyard_operator.kube.client import KubeClient
from trainyard_operator.runtime import discovery
from trainyard_operator.runtime.background import Background
from trainyard_operator.runtime.controllers import build_controllers
from trainyard_operator.runtime.environments import EnvironmentBook, open_environments
from trainyard_operator.runtime.executor import Executor
from trainyard_operator.runtime.informer import Informer
from trainyard_operator.runtime.live import LiveRuns
from trainyard_operator.runtime.memory import Memory
from trainyard_operator.runtime.model_keeper import ModelKeeper
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.queues import Queues
from trainyard_operator.runtime.reconciler import Reconciler
from trainyard_operator.runtime.resync import Resync
from trainyard_operator.runtime.store import Store
from trainyard_operator.runtime.store_trust import trust_gauge
from trainyard_operator.runtime.verifier import Verifier
from trainyard_operator.runtime.watched import PLANNED, POOLS, WATCHED, WORKLOADS, Watched
from trainyard_operator.settings import Settings
from trainyard_operator.storage.bucket import make_bucket
from trainyard_operator.storage.model_survey import look_beyond
from trainyard_operator.storage.model_verification import look_at_version
from trainyard_operator.storage.models import copy_version
from trainyard_operator.storage.runs import erase_run
from trainyard_operator.storage.signatures import SocketSigner
from trainyard_operator.storage.store import S3Store
from trainyard_operator.telemetry.inventory import Gauge, gauges, model_gauges
from trainyard_operator.telemetry.metrics import Metrics

# Versions whose files are copied: each has some copies under way at once.
_COPIED_VERSIONS = 4


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the steps of a start hand to each other."""

    client: KubeClient
    objects: S3Store
    store: Store
    queues: Queues
    informer: Informer
    book: QueueBook
    resync: Resync
    memory: Memory
    environments: EnvironmentBook
    karpenter: bool
    no_kueue: str  # why there are no Workloads to follow
    groups: PacedNodeGroups

    @property
    def watched(self) -> tuple[Watched, ...]:
        """All that this process follows."""
        return (*(POOLS if self.karpenter else ()), *(() if self.no_kueue else WORKLOADS), *WATCHED)

    @property
    def missing(self) -> list[Kind]:
        """Kinds of others that are not installed, and would be followed if they were."""
        wished = {NODE_POOL: not self.karpenter, WORKLOAD: self.no_kueue == kueue.NOT_INSTALLED}
        return [kind for kind, missing in wished.items() if missing]


async def open_parts(client: KubeClient, *, settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> Parts:
    """Return the parts, which are closed with `stack`; what they know is counted in `metrics`."""
    objects = await open_store(settings)
    stack.callback(objects.close)
    making = asyncio.create_task(make_bucket(objects), name="bucket")
    stack.callback(making.cancel)
    store, memory = Store(), Memory()
    queues = Queues(kinds=PLANNED, clock=asyncio.get_running_loop())
    metrics.count(_gauges(store, queues))
    metrics.count([trust_gauge(memory)])
    book = QueueBook(store=store, catalogue=settings.sizes, defaults=settings.run_default_requests)
    informer = Informer(store=store, queues=queues, book=book, malformed=metrics.unreadable, ended=metrics.ended)
    groups = PacedNodeGroups(EksApi())
    stack.callback(groups.close)
    return Parts(
        client=client,
        objects=objects,
        store=store,
        queues=queues,
        informer=informer,
        book=book,
        resync=Resync(client=client, store=store, informer=informer),
        memory=memory,
        environments=open_environments(
            store=store, objects=objects, settings=settings, changed=informer.environment_changed
        ),
        karpenter=await discovery.serves(client, NODE_POOL),
        no_kueue=await _no_kueue(client, settings),
        groups=groups,
    )


def _gauges(store: Store, queues: Queues) -> list[Gauge]:
    depth = Gauge(
        name="trainyard_queue_depth",
        text="Keys that wait for a worker",
        labels=("kind",),
        samples=lambda: {(kind,): depth for kind, depth in queues.depths().items()},
    )
    objects = gauges(runs=partial(store.list, TRAINING_JOB), clusters=partial(store.list, COMPUTE_CLUSTER))
    return [depth, *objects, *model_gauges(models=partial(store.list, REGISTERED_MODEL))]


async def _no_kueue(client: KubeClient, settings: Settings) -> str:
    if not settings.kueue_enabled:
        return kueue.SWITCHED_OFF
    return "" if await discovery.serves(client, WORKLOAD) else kueue.NOT_INSTALLED


def make_gateway(parts: Parts, *, settings: Settings, metrics: Metrics) -> Gateway:
    """Return what answers the pods of runs, and people's programs."""
    directory = StoreRunDirectory(parts.store)
    return Gateway(
        reviewer=CachedReviewer(KubeTokenReviewer(parts.client)),
        runs=directory,
        sources=KubeSources(parts.client),
        queues=BookQueues(parts.book, parts.store),
        live=LiveRuns(store=parts.store, changed=parts.informer.run_changed, now=_now),
        environments=Environments(directory=directory, book=parts.environments, store=parts.objects),
        models=ModelGrants(
            access=CachedAccessReviewer(KubeAccessReviewer(parts.client)),
            models=StoreModels(parts.store),
            store=parts.objects,
        ),
        store=parts.objects,
        metrics=GatewayMetrics(metrics.registry),
        input_limit=settings.input_size_limit,
    )


def make_verifier(parts: Parts) -> Verifier:
    """Return what looks at the files of versions, beside the reconcilers."""
    look = partial(look_at_version, parts.objects)
    return Verifier(inspections=parts.memory.inspections, look=look, wake=parts.queues.add, now=_now)


def make_reconcilers(parts: Parts, *, settings: Settings, tls: ServerTls, metrics: Metrics) -> list[Reconciler]:
    """Return one for each kind that is planned for."""
    keeper = ModelKeeper(parts.objects, now=_now)
    executor = _executor(parts, settings, keeper)
    pods = PodSettings(
        trainer_image=settings.trainer_image,
        gateway_url=settings.gateway_url,
        gateway_ca=tls.ca_pem,
        pull_policy=settings.trainer_pull_policy,
        platform=settings.builds.platform,
        default_requests=settings.run_default_requests,
        disruption_retries=settings.run_disruption_retries,
    )
    controllers = build_controllers(
        store=parts.store,
        book=parts.book,
        client=parts.client,
        objects=parts.objects,
        memory=parts.memory,
        environments=parts.environments,
        keeper=keeper,
        pods=pods,
        catalogue=settings.sizes,
        karpenter=parts.karpenter,
        no_kueue=parts.no_kueue,
        groups=parts.groups,
        bucket=settings.s3_bucket,
    )
    return [
        Reconciler(
            controller=controller,
            queue=parts.queues[controller.kind],
            store=parts.store,
            executor=executor,
            now=_now,
            observer=metrics.reconciled,
        )
        for controller in controllers
    ]


def _executor(parts: Parts, settings: Settings, keeper: ModelKeeper) -> Executor:
    signer = SocketSigner(settings.signer_socket) if settings.signer_socket else None
    return Executor(
        client=parts.client,
        store=parts.store,
        informer=parts.informer,
        memory=parts.memory,
        copy=partial(copy_version, parts.objects, signer=signer),
        beyond=partial(look_beyond, parts.objects),
        erase=partial(erase_run, parts.objects),
        groups=parts.groups,
        environments=parts.environments,
        background=Background(at_once=_COPIED_VERSIONS, wake=parts.queues.add),
        keeper=keeper,
        now=_now,
    )


def _now() -> datetime:
    return datetime.now(UTC)
