"""The operator's process, from its start to its end.

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
from functools import partial
from urllib.parse import urlsplit

from trainyard_operator import handlers  # isort: skip # noqa: F401 - before kopf: it keeps heavy clients out of memory
import kopf

from trainyard_operator.administration import EXIT_CONFIG, find_surroundings
from trainyard_operator.api.names import Kind
from trainyard_operator.assembly import Parts, make_gateway, make_reconcilers, make_verifier, open_parts
from trainyard_operator.gateway.publishing import publish_authority
from trainyard_operator.gateway.tls import load_tls
from trainyard_operator.handlers.login import register_login
from trainyard_operator.handlers.watches import LISTED, configure, register_watches
from trainyard_operator.kube.client import KubeClient
from trainyard_operator.kube.connection import Connection
from trainyard_operator.kube.errors import ApiError, NotFound
from trainyard_operator.runtime import discovery
from trainyard_operator.runtime.ending import FINISHING_SECONDS, see_to_the_end
from trainyard_operator.runtime.leader import Leader, LeadershipLost, mark_pod
from trainyard_operator.runtime.prime import prime
from trainyard_operator.runtime.queues import Queues
from trainyard_operator.runtime.resync import Drift, Resync
from trainyard_operator.runtime.store_trust import find_trust
from trainyard_operator.settings import Settings
from trainyard_operator.telemetry.health import Health
from trainyard_operator.telemetry.logs import complain, configure_logs
from trainyard_operator.telemetry.metrics import Metrics
from trainyard_operator.telemetry.server import serve_telemetry

EXIT_LEADERSHIP = 75

LEASE_BEAT_SECONDS = 30.0
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


class Process:
    """One operator process, from its start to its end."""

    def __init__(self, *, settings: Settings, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self._metrics = Metrics()
        self._stop = asyncio.Event()
        self._drifts: Counter[str] = Counter()
        self._queues: Queues | None = None  # and no workers, before it leads
        self._workers: list[asyncio.Task[None]] = []

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
            await self._finish()
            work.cancel()
            await asyncio.gather(work, stopped, return_exceptions=True)
            if not work.cancelled():
                work.result()

    async def _finish(self) -> None:
        """Take up nothing new, and let what was begun come to its end: a status that is written lacks its Event yet."""
        if self._queues is None:
            return
        self._queues.close()
        _, unfinished = await asyncio.wait(self._workers, timeout=FINISHING_SECONDS)
        if unfinished:
            log.warning("left unfinished after %.0f s, to be done by the next process", FINISHING_SECONDS)

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
        parts = await open_parts(client, settings=settings, metrics=self._metrics, stack=stack)
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
        gateway = make_gateway(parts, settings=settings, metrics=self._metrics)
        port = await gateway.start(host="", port=settings.gateway_port, tls=tls.context)
        stack.push_async_callback(gateway.stop)
        log.info("the run gateway serves on port %d", port)
        async with asyncio.TaskGroup() as group:
            group.create_task(make_verifier(parts).run(), name="verifier")
            for reconciler in make_reconcilers(parts, settings=settings, tls=tls, metrics=self._metrics):
                self._workers.append(group.create_task(reconciler.run(workers=settings.workers)))
            self._queues = parts.queues
            group.create_task(self._resync(parts), name="resync")
            probing = find_trust(objects=parts.objects, memory=parts.memory, changed=parts.informer.models_changed)
            group.create_task(probing, name="probe-store")
            collecting = parts.environments.keep_collecting(unused_days=self._settings.environments_unused_days)
            group.create_task(collecting, name="collect-environments")
            if parts.missing:
                group.create_task(self._await(client, parts.missing), name="discovery")
            self._health.ready = True
            await self._watch(parts)
            # Nothing is left to do once kopf has stopped: it was told to, or it could not go on.
            self._stop.set()

    async def _await(self, client: KubeClient, kinds: list[Kind]) -> None:
        """End the process once one of `kinds` has been installed: a new one follows it from the start."""
        kind = await discovery.appears(client, kinds)
        log.warning("%s of %s were installed: starting again, to follow them", kind.plural, kind.group)
        self._stop.set()

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


if __name__ == "__main__":
    sys.exit(main())
