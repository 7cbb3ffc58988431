"""The operator's process: everything is put together here, and nowhere else.

The order of the start is the order of trust: first be observable, then be the only one, then know the cluster, and
only then answer pods and write.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit

from trainyard_operator import handlers  # isort: skip # noqa: F401 - before kopf: it keeps heavy clients out of memory
import kopf

from trainyard_operator.administration import EXIT_CONFIG, find_surroundings, open_store
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
from trainyard_operator.gateway.publishing import publish_authority
from trainyard_operator.gateway.reviewer import CachedReviewer, KubeTokenReviewer
from trainyard_operator.gateway.server import Gateway
from trainyard_operator.gateway.tls import ServerTls, load_tls
from trainyard_operator.handlers.login import register_login
from trainyard_operator.handlers.watches import LISTED, configure, register_watches
from trainyard_operator.kube.client import KubeClient
from trainyard_operator.kube.connection import Connection
from trainyard_operator.kube.errors import ApiError, NotFound
from trainyard_operator.runtime import discovery
from trainyard_operator.runtime.background import Background
from trainyard_operator.runtime.controllers import build_controllers
from trainyard_operator.runtime.ending import see_to_the_end
from trainyard_operator.runtime.environments import EnvironmentBook, open_environments
from trainyard_operator.runtime.executor import Executor
from trainyard_operator.runtime.informer import Informer
from trainyard_operator.runtime.leader import Leader, LeadershipLost, mark_pod
from trainyard_operator.runtime.live import LiveRuns
from trainyard_operator.runtime.memory import Memory
from trainyard_operator.runtime.model_keeper import ModelKeeper
from trainyard_operator.runtime.prime import prime
from trainyard_operator.runtime.queuebook import QueueBook
from trainyard_operator.runtime.queues import Queues
from trainyard_operator.runtime.reconciler import Reconciler
from trainyard_operator.runtime.resync import Drift, Resync
from trainyard_operator.runtime.store import Store
from trainyard_operator.runtime.store_trust import find_trust, trust_gauge
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
from trainyard_operator.telemetry.health import Health
from trainyard_operator.telemetry.inventory import Gauge, gauges, model_gauges
from trainyard_operator.telemetry.logs import complain, configure_logs
from trainyard_operator.telemetry.metrics import Metrics
from trainyard_operator.telemetry.server import serve_telemetry

EXIT_LEADERSHIP = 75

LEASE_BEAT_SECONDS = 30.0
# Versions whose files are copied: each has some copies under way at once.
_COPIED_VERSIONS = 4
# A watch that the sweep has to make up for so often in a row is not working.
_DRIFTS_TO_FAULT = 3

log = logging.getLogger("trainyard_operator")


def main() -> int:
    """Run the operator until it is told to stop; return the exit status."""
    surroundings = find_surroundings("trainyard-operator")
    if surroundings is None:
        return EXIT_CONFIG
    settings, connection = surroundings
    configure_logs(settings.log_level)
    asyncio.run(Process(settings=settings, connection=connection).run())
    return 0


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


class Process:
    """One operator process, from its start to its end."""

    def __init__(self, *, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self._metrics = Metrics()
        self._stop = asyncio.Event()
        self._drifts: Counter[str] = Counter()

    async def run(self) -> None:
        """Lead once it is this process's turn, and clean up behind it."""
        self._listen_to_signals()
        asyncio.get_running_loop().set_exception_handler(complain)
        self._health = Health(clock=asyncio.get_running_loop().time)
        async with AsyncExitStack() as stack:
            served = await serve_telemetry(metrics=self._metrics, health=self._health, port=self._settings.metrics_port)
            stack.push_async_callback(served.close)
            session = await stack.enter_async_context(self._connection.open_session())
            client = KubeClient(connection=self._connection, session=session, observe=self._metrics.called)
            work = asyncio.create_task(self._lead(client, stack), name="lead")
            stopped = asyncio.create_task(self._stop.wait(), name="stop")
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            work.cancel()
            await asyncio.gather(work, stopped, return_exceptions=True)
            if not work.cancelled():
                work.result()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

    async def _lead(self, client: KubeClient, stack: AsyncExitStack) -> None:
        settings = self._settings
        leader = Leader(
            client=client, namespace=settings.namespace, name=settings.lease_name, identity=settings.identity
        )
        await leader.acquire(standing_by=partial(self._stand_by, client))
        stack.push_async_callback(leader.release)
        self._metrics.leader.set(1)
        holding = asyncio.create_task(self._hold(leader), name="lease")
        stack.callback(holding.cancel)
        await self._mark(client, leads=True)
        parts = await self._parts(client, stack)
        tls = await load_tls(
            client,
            namespace=settings.namespace,
            secret=settings.gateway_secret,
            names=[urlsplit(settings.gateway_url).hostname or "localhost"],
        )
        await publish_authority(
            client, namespace=settings.namespace, name=settings.gateway_config_map, ca_pem=tls.ca_pem
        )
        await prime(client=client, informer=parts.informer, watched=parts.watched)
        # What was listed stays; the collector need not walk through it again and again.
        gc.collect()
        gc.freeze()
        await self._serve_pods(parts, tls, stack)
        async with asyncio.TaskGroup() as group:
            self._start_workers(parts, tls, group)
            group.create_task(self._resync(parts), name="resync")
            probing = find_trust(objects=parts.objects, memory=parts.memory, changed=parts.informer.models_changed)
            group.create_task(probing, name="probe-store")
            collecting = parts.environments.keep_collecting(unused_days=self._settings.environments_unused_days)
            group.create_task(collecting, name="collect-environments")
            missing = self._missing(parts)
            if missing:
                group.create_task(self._await(client, missing), name="discovery")
            self._health.ready = True
            await self._watch(parts)
            # Nothing is left to do once kopf has stopped: it was told to, or it could not go on.
            self._stop.set()
            parts.queues.close()

    async def _parts(self, client: KubeClient, stack: AsyncExitStack) -> Parts:
        settings = self._settings
        objects = await open_store(settings)
        stack.callback(objects.close)
        making = asyncio.create_task(make_bucket(objects), name="bucket")
        stack.callback(making.cancel)
        store = Store()
        queues = Queues(kinds=PLANNED, clock=asyncio.get_running_loop())
        self._metrics.count(
            [
                Gauge(
                    name="trainyard_queue_depth",
                    text="Keys that wait for a worker",
                    labels=("kind",),
                    samples=lambda: {(kind,): depth for kind, depth in queues.depths().items()},
                ),
                *gauges(runs=partial(store.list, TRAINING_JOB), clusters=partial(store.list, COMPUTE_CLUSTER)),
                *model_gauges(models=partial(store.list, REGISTERED_MODEL)),
            ]
        )
        memory = Memory()
        self._metrics.count([trust_gauge(memory)])
        book = QueueBook(
            store=store,
            catalogue=settings.sizes,
            defaults=settings.run_default_requests,
        )
        informer = Informer(
            store=store, queues=queues, book=book, malformed=self._metrics.unreadable, ended=self._metrics.ended
        )
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
            no_kueue=await self._no_kueue(client),
            groups=groups,
        )

    async def _no_kueue(self, client: KubeClient) -> str:
        if not self._settings.kueue_enabled:
            return kueue.SWITCHED_OFF
        return "" if await discovery.serves(client, WORKLOAD) else kueue.NOT_INSTALLED

    def _missing(self, parts: Parts) -> list[Kind]:
        wished = {NODE_POOL: not parts.karpenter, WORKLOAD: parts.no_kueue == kueue.NOT_INSTALLED}
        return [kind for kind, missing in wished.items() if missing]

    async def _await(self, client: KubeClient, kinds: list[Kind]) -> None:
        """End the process once one of `kinds` has been installed: a new one follows it from the start."""
        kind = await discovery.appears(client, kinds)
        log.warning("%s of %s were installed: starting again, to follow them", kind.plural, kind.group)
        self._stop.set()

    async def _serve_pods(self, parts: Parts, tls: ServerTls, stack: AsyncExitStack) -> None:
        live = LiveRuns(store=parts.store, changed=parts.informer.run_changed, now=_now)
        directory = StoreRunDirectory(parts.store)
        gateway = Gateway(
            reviewer=CachedReviewer(KubeTokenReviewer(parts.client)),
            runs=directory,
            sources=KubeSources(parts.client),
            queues=BookQueues(parts.book, parts.store),
            live=live,
            environments=Environments(directory=directory, book=parts.environments, store=parts.objects),
            models=ModelGrants(
                access=CachedAccessReviewer(KubeAccessReviewer(parts.client)),
                models=StoreModels(parts.store),
                store=parts.objects,
            ),
            store=parts.objects,
            metrics=GatewayMetrics(self._metrics.registry),
            input_limit=self._settings.input_size_limit,
        )
        port = await gateway.start(host="", port=self._settings.gateway_port, tls=tls.context)
        stack.push_async_callback(gateway.stop)
        log.info("the run gateway serves on port %d", port)

    def _start_workers(self, parts: Parts, tls: ServerTls, group: asyncio.TaskGroup) -> None:
        settings = self._settings
        verifier = Verifier(
            inspections=parts.memory.inspections,
            look=partial(look_at_version, parts.objects),
            wake=parts.queues.add,
            now=_now,
        )
        group.create_task(verifier.run(), name="verifier")
        keeper = ModelKeeper(parts.objects, now=_now)
        executor = Executor(
            client=parts.client,
            store=parts.store,
            informer=parts.informer,
            memory=parts.memory,
            copy=partial(
                copy_version,
                parts.objects,
                signer=SocketSigner(settings.signer_socket) if settings.signer_socket else None,
            ),
            beyond=partial(look_beyond, parts.objects),
            erase=partial(erase_run, parts.objects),
            groups=parts.groups,
            environments=parts.environments,
            background=Background(at_once=_COPIED_VERSIONS, wake=parts.queues.add),
            keeper=keeper,
            now=_now,
        )
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
        for controller in controllers:
            reconciler = Reconciler(
                controller=controller,
                queue=parts.queues[controller.kind],
                store=parts.store,
                executor=executor,
                now=_now,
                observer=self._metrics.reconciled,
            )
            group.create_task(reconciler.run(workers=settings.workers), name=f"{controller.kind.plural}-workers")

    async def _watch(self, parts: Parts) -> None:
        registry = kopf.OperatorRegistry()
        register_login(registry, connection=self._connection)
        register_watches(
            registry, watched=parts.watched, informer=parts.informer, heard=partial(self._heard, parts.resync)
        )
        kopf_settings = kopf.OperatorSettings()
        configure(kopf_settings, watched=parts.watched)
        own = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=kopf_settings,
            clusterwide=True,
            # kopf would else make one up from the user's name, and the user of a container has none.
            identity=self._settings.identity,  # type: ignore[arg-type]
            stop_flag=self._stop,
        )
        # kopf has taken the signals; its handlers fail on a second one.
        self._listen_to_signals()
        ending = asyncio.create_task(see_to_the_end(tasks, stop=self._stop), name="end")
        await kopf.run_tasks(tasks, ignored={*own, ending})

    def _heard(self, resync: Resync, kind: Kind, event_type: str) -> None:
        self._metrics.heard(kind.kind, event_type)
        if event_type == LISTED:
            resync.listed(kind)

    async def _resync(self, parts: Parts) -> None:
        seconds = self._settings.resync_seconds
        beat = partial(self._health.beat, "sweep", seconds=3 * seconds + 60)
        beat()

        def swept(kind: Kind, drift: Drift) -> None:
            beat()
            self._drifts[kind.plural] = self._drifts[kind.plural] + 1 if drift.behind else 0
            self._metrics.missed(kind.kind, drift.ghosts + drift.behind)
            broken = self._drifts[kind.plural] >= _DRIFTS_TO_FAULT
            self._health.fault(f"watch of {kind.plural}", "misses changes" if broken else None)

        await parts.resync.run(watched=parts.watched, seconds=seconds, swept=swept)

    async def _hold(self, leader: Leader) -> None:
        self._health.beat("lease", seconds=LEASE_BEAT_SECONDS)
        try:
            await leader.hold(renewed=partial(self._health.beat, "lease", seconds=LEASE_BEAT_SECONDS))
        except LeadershipLost as error:
            log.critical("%s: ending at once", error)
            # Another process may be writing already: no task of this one may take another step.
            os._exit(EXIT_LEADERSHIP)

    async def _stand_by(self, client: KubeClient, _holder: str) -> None:
        self._health.ready = True
        await self._mark(client, leads=False)

    async def _mark(self, client: KubeClient, *, leads: bool) -> None:
        settings = self._settings
        if not settings.pod_name:
            return
        while True:
            try:
                await mark_pod(client, namespace=settings.namespace, pod=settings.pod_name, leads=leads)
            except NotFound:
                log.warning("there is no pod %s/%s to label", settings.namespace, settings.pod_name)
            except ApiError as error:
                log.warning("labelling the own pod failed, trying again: %s", error)
                await asyncio.sleep(1.0)
                continue
            return


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
