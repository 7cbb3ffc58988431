"""`python -m tests.perf.queue`: one long queue, then many queues at once.

The operator is a real process before a real API server and a real S3 server; the machines are played. A cluster of
Existing nodes lets in as many runs as it has slots. What is measured is how long a slot stands empty that a run has
left, and what the operator costs meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, fields
from itertools import chain
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from devcluster.controlplane import ControlPlane
from tests.perf.api import Api, in_parallel, open_api
from tests.perf.ground import NAMESPACE, PLANNED, ROOT, prepare, say, training_job
from tests.perf.machines import POOL, SERVICE_ACCOUNT, Machines
from tests.perf.process import OperatorProcess
from tests.support.objectstore import ObjectServer
from trainyard_operator.api.names import COMPUTE_CLUSTER, TRAINING_JOB
from trainyard_operator.kube.client import MERGE_PATCH, path_of
from trainyard_operator.storage.store import S3Store

JsonObject = dict[str, Any]

BUCKET = "trainyard"
# Longer than any step takes; a queue that stands still is an error, not a wait.
PATIENCE_SECONDS = 180.0

# The goals; `bench` fails below them, so that a slower operator is noticed.
LEAST_ADMISSIONS = 10.0
MOST_REFILL_MS = 500.0
MOST_CORES = 0.5
MOST_RSS_MB = 250.0
MOST_LAG_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much there is to do; each field is an option of the command line."""

    queue_jobs: int = 1000
    queue_nodes: int = 4
    queue_jobs_per_node: int = 10
    queue_run_seconds: float = 3.5
    fleet_clusters: int = 50
    fleet_jobs: int = 100
    fleet_slots: int = 2
    fleet_run_seconds: float = 12.0
    fleet_seconds: float = 45.0


_HELP = {
    "queue_jobs": "TrainingJobs in the one long queue",
    "queue_nodes": "nodes of its cluster",
    "queue_jobs_per_node": "runs that share a node there",
    "queue_run_seconds": "how long a run takes there, on average",
    "fleet_clusters": "clusters with a queue each",
    "fleet_jobs": "TrainingJobs in each of these queues",
    "fleet_slots": "slots of each of these clusters",
    "fleet_run_seconds": "how long a run takes there, on average",
    "fleet_seconds": "for how long these queues are measured",
}


@dataclass(frozen=True, kw_only=True)
class QueueResult:
    """One long queue; the fields are keys of bench.json."""

    queue_jobs: int
    queue_slots: int
    queue_submitted_per_second: float
    queue_admissions_per_second: float
    queue_sustained_per_second: float
    queue_refill_p50_ms: float
    queue_refill_p95_ms: float
    queue_write_p50_ms: float  # of a bare client meanwhile: a refill takes two, the Job's end and the next one's start
    queue_write_p95_ms: float
    queue_cpu_cores: float
    queue_cpu_ms_per_job: float
    queue_rss_mb: float
    queue_calls_per_job: float

    @property
    def met(self) -> bool:
        """Whether the goals are reached."""
        return (
            self.queue_admissions_per_second >= LEAST_ADMISSIONS
            and self.queue_refill_p95_ms <= MOST_REFILL_MS
            and self.queue_cpu_cores < MOST_CORES
            and self.queue_rss_mb < MOST_RSS_MB
        )


@dataclass(frozen=True, kw_only=True)
class FleetResult:
    """Many queues at once; the fields are keys of bench.json."""

    fleet_clusters: int
    fleet_jobs: int
    fleet_submitted_per_second: float
    fleet_admissions_per_second: float
    fleet_lag_p50_seconds: float
    fleet_lag_p95_seconds: float
    fleet_lag_max_seconds: float
    fleet_write_p50_seconds: float  # of a bare client meanwhile
    fleet_least_refills: int
    fleet_median_refills: float
    fleet_cpu_cores: float
    fleet_rss_mb: float
    fleet_calls_per_second: float

    @property
    def met(self) -> bool:
        """Whether the goals are reached; a cluster that gets on half as fast as the others is starved."""
        return (
            self.fleet_lag_p95_seconds <= MOST_LAG_SECONDS
            and self.fleet_least_refills * 2 >= self.fleet_median_refills
            and self.fleet_rss_mb < MOST_RSS_MB
        )


@dataclass
class Bill:
    """What the operator used between two moments."""

    cores: float = 0.0
    rss_mb: float = 0.0
    calls: int = 0
    seconds: float = 0.0


class Bench:
    """One operator before one control plane."""

    def __init__(self, *, api: Api, operator: OperatorProcess) -> None:
        self._api = api
        self._operator = operator

    async def fill(self, namespace: str, clusters: Sequence[JsonObject], jobs: int) -> float:
        """Create clusters with so many runs each; return how many runs were queued a second."""
        await self._api.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        # Pods are refused without it, and no controller makes it here.
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": namespace},
        }
        await self._api.create(SERVICE_ACCOUNT, account)
        await in_parallel(lambda cluster: self._api.create(COMPUTE_CLUSTER, cluster), clusters)

        async def create(number: int) -> None:
            run = training_job(namespace, number)
            name = clusters[number % len(clusters)]["metadata"]["name"]
            run["spec"]["computeClusterRef"] = {"name": name}
            await self._api.create(TRAINING_JOB, run)

        count, begin = jobs * len(clusters), time.perf_counter()
        async with self._api.watching(TRAINING_JOB, namespace, PLANNED) as reached:
            await in_parallel(create, range(count))
            await asyncio.wait_for(reached(count), PATIENCE_SECONDS)
        seconds = time.perf_counter() - begin
        say(f"{count} runs are queued after {seconds:.1f} s")
        await self._operator.settled()
        return count / seconds

    async def resize(self, cluster: JsonObject, *, nodes: int) -> None:
        """Have a cluster let in as many runs as fit on so many nodes."""
        meta = cluster["metadata"]
        path = path_of(COMPUTE_CLUSTER, namespace=meta["namespace"], name=meta["name"])
        await self._api.call("PATCH", path, {"spec": {"scale": {"maxNodes": nodes}}}, MERGE_PATCH)

    @asynccontextmanager
    async def metered(self) -> AsyncIterator[Bill]:
        """Measure what the operator uses inside the context; the bill is right after it."""
        bill = Bill()

        async def sample() -> dict[str, float]:
            found = await self._operator.metrics()
            bill.rss_mb = max(bill.rss_mb, found["process_resident_memory_bytes"] / 1e6)
            return found

        async def keep_sampling() -> None:
            while True:
                await asyncio.sleep(1.0)
                await sample()

        before, begin = await sample(), time.perf_counter()
        sampling = asyncio.create_task(keep_sampling())
        try:
            yield bill
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)
        after = await sample()
        bill.seconds = time.perf_counter() - begin
        bill.cores = (after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]) / bill.seconds
        bill.calls = round(_calls(after) - _calls(before))


def _calls(samples: dict[str, float]) -> float:
    return sum(count for name, count in samples.items() if name.startswith("trainyard_api_calls_total"))


def compute_cluster(namespace: str, name: str, *, nodes: int, jobs_per_node: int) -> JsonObject:
    return {
        "apiVersion": COMPUTE_CLUSTER.api_version,
        "kind": COMPUTE_CLUSTER.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "provider": {"type": "Existing", "existing": {"nodeSelector": {POOL: name}}},
            "scale": {"maxNodes": nodes},
            "jobsPerNode": jobs_per_node,
        },
    }


async def measure_queue(bench: Bench, machines: Machines, load: Load, *, namespace: str) -> QueueResult:
    """Let one long queue run empty; half of the slots are added to a queue that is there already."""
    nodes, share, jobs = load.queue_nodes, load.queue_jobs_per_node, load.queue_jobs
    half = nodes // 2
    cluster = compute_cluster(namespace, "long", nodes=half, jobs_per_node=share)
    slots, clock = nodes * share, asyncio.get_running_loop().time
    await machines.add_cluster("long")
    async with machines.working():
        submitted = await bench.fill(namespace, [cluster], jobs)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await machines.until(taken=half * share)
            grown = clock()
            await bench.resize(cluster, nodes=nodes)
            await machines.until(taken=slots)
        burst = (slots - half * share) / (clock() - grown)
        begin = clock()
        async with bench.metered() as bill, asyncio.timeout(PATIENCE_SECONDS):
            machines.start()
            await machines.until(taken=jobs)
    taken, refills = machines.ledgers["long"].taken, machines.ledgers["long"].refills(slots)
    return QueueResult(
        queue_jobs=jobs,
        queue_slots=slots,
        queue_submitted_per_second=round(submitted, 1),
        queue_admissions_per_second=round(burst, 1),
        queue_sustained_per_second=round((jobs - slots) / (taken[jobs - 1] - begin), 1),
        queue_refill_p50_ms=round(1000 * median(refills), 1),
        queue_refill_p95_ms=round(1000 * quantiles(refills, n=20)[-1], 1),
        queue_write_p50_ms=round(1000 * median(machines.writes), 1),
        queue_write_p95_ms=round(1000 * quantiles(machines.writes, n=20)[-1], 1),
        queue_cpu_cores=round(bill.cores, 3),
        queue_cpu_ms_per_job=round(1000 * bill.cores * bill.seconds / (jobs - slots), 2),
        queue_rss_mb=round(bill.rss_mb, 1),
        queue_calls_per_job=round(bill.calls / (jobs - slots), 2),
    )


async def measure_fleet(bench: Bench, machines: Machines, load: Load, *, namespace: str) -> FleetResult:
    """Let many queues move for a while."""
    names = [f"fleet-{number:03d}" for number in range(load.fleet_clusters)]
    clusters = [compute_cluster(namespace, name, nodes=1, jobs_per_node=load.fleet_slots) for name in names]
    await in_parallel(machines.add_cluster, names)
    slots = load.fleet_slots * len(names)
    async with machines.working():
        submitted = await bench.fill(namespace, clusters, load.fleet_jobs)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await machines.until(taken=slots)
        async with bench.metered() as bill:
            machines.start()
            await asyncio.sleep(load.fleet_seconds)
        machines.drain()
        # Each slot that is empty now counts too, however long it takes.
        with contextlib.suppress(TimeoutError):
            waiting = min(slots + machines.freed, load.fleet_jobs * len(names))
            await asyncio.wait_for(machines.until(taken=waiting), PATIENCE_SECONDS)
    found = {name: machines.ledgers[name].refills(load.fleet_slots) for name in names}
    counts, lags = [len(refills) for refills in found.values()], list(chain.from_iterable(found.values()))
    return FleetResult(
        fleet_clusters=len(names),
        fleet_jobs=load.fleet_jobs * len(names),
        fleet_submitted_per_second=round(submitted, 1),
        fleet_admissions_per_second=round(len(lags) / bill.seconds, 1),
        fleet_lag_p50_seconds=round(median(lags), 3),
        fleet_lag_p95_seconds=round(quantiles(lags, n=20)[-1], 3),
        fleet_lag_max_seconds=round(max(lags), 3),
        fleet_write_p50_seconds=round(median(machines.writes), 3),
        fleet_least_refills=min(counts),
        fleet_median_refills=median(counts),
        fleet_cpu_cores=round(bill.cores, 3),
        fleet_rss_mb=round(bill.rss_mb, 1),
        fleet_calls_per_second=round(bill.calls / bill.seconds, 1),
    )


async def measure(kubeconfig: Path, server: ObjectServer, load: Load, *, log: Path) -> tuple[QueueResult, FleetResult]:
    """Measure both, each with an operator of its own."""
    objects = await S3Store.open(
        endpoint=server.endpoint,
        region=server.region,
        bucket=BUCKET,
        access_key=server.keys.access,
        secret_key=server.keys.secret,
    )
    try:
        await objects.ensure_bucket()
        async with open_api(kubeconfig) as api:
            await prepare(api)

            def machines(namespace: str, nodes: int, seconds: float) -> Machines:
                return Machines(api=api, objects=objects, namespace=namespace, nodes=nodes, run_seconds=seconds)

            say(f"one queue of {load.queue_jobs} runs")
            async with OperatorProcess(kubeconfig=kubeconfig, log=log, objects=server) as operator:
                played = machines("queue", load.queue_nodes, load.queue_run_seconds)
                queue = await measure_queue(Bench(api=api, operator=operator), played, load, namespace="queue")
            say(f"{load.fleet_clusters} queues of {load.fleet_jobs} runs each")
            async with OperatorProcess(kubeconfig=kubeconfig, log=log, objects=server) as operator:
                played = machines("fleet", 1, load.fleet_run_seconds)
                fleet = await measure_fleet(Bench(api=api, operator=operator), played, load, namespace="fleet")
    finally:
        objects.close()
    return queue, fleet


def run(load: Load, *, log: Path) -> tuple[QueueResult, FleetResult]:
    """Measure on a control plane and an S3 server that live as long as this call."""
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trainyard-bench-")))
        kubeconfig = stack.enter_context(ControlPlane(home=home / "control-plane")).kubeconfig
        (home / "s3").mkdir()
        server = stack.enter_context(ObjectServer(folder=home / "s3"))
        return asyncio.run(measure(kubeconfig, server, load, log=log))


def table(queue: QueueResult, fleet: FleetResult) -> Iterator[str]:
    rows = [
        ("one queue: runs", queue.queue_jobs),
        ("slots", queue.queue_slots),
        ("runs/s queued", queue.queue_submitted_per_second),
        ("admissions/s into free slots (goal: 10)", queue.queue_admissions_per_second),
        ("admissions/s, all", queue.queue_sustained_per_second),
        ("empty slot, median ms", queue.queue_refill_p50_ms),
        ("empty slot, p95 ms (goal: 500)", queue.queue_refill_p95_ms),
        ("a bare client's write, median ms", queue.queue_write_p50_ms),
        ("a bare client's write, p95 ms", queue.queue_write_p95_ms),
        ("operator cores (goal: below 0.5)", queue.queue_cpu_cores),
        ("operator memory, MB (goal: 250)", queue.queue_rss_mb),
        ("operator CPU per run, ms", queue.queue_cpu_ms_per_job),
        ("API calls per run", queue.queue_calls_per_job),
        ("many queues: clusters", fleet.fleet_clusters),
        ("runs", fleet.fleet_jobs),
        ("runs/s queued", fleet.fleet_submitted_per_second),
        ("admissions/s", fleet.fleet_admissions_per_second),
        ("empty slot, median s", fleet.fleet_lag_p50_seconds),
        ("empty slot, p95 s (goal: 5)", fleet.fleet_lag_p95_seconds),
        ("empty slot, longest s", fleet.fleet_lag_max_seconds),
        ("a bare client's write, median s", fleet.fleet_write_p50_seconds),
        ("slots refilled, least of a cluster", fleet.fleet_least_refills),
        ("slots refilled, median cluster", fleet.fleet_median_refills),
        ("operator cores", fleet.fleet_cpu_cores),
        ("operator memory, MB (goal: 250)", fleet.fleet_rss_mb),
        ("API calls/s", fleet.fleet_calls_per_second),
    ]
    for name, value in rows:
        yield f"{name:40}{value:>10}"


def add_options(parser: argparse.ArgumentParser) -> None:
    for item in fields(Load):
        option, kind = f"--{item.name.replace('_', '-')}", type(item.default)
        parser.add_argument(option, type=kind, default=item.default, help=f"{_HELP[item.name]} (%(default)s)")


def load_of(options: argparse.Namespace) -> Load:
    return Load(**{item.name: getattr(options, item.name) for item in fields(Load)})


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.perf.queue", description=__doc__)
    add_options(parser)
    options = parser.parse_args()
    log = ROOT / ".yard" / "bench-queue-operator.log"
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)
    queue, fleet = run(load_of(options), log=log)
    print("\n".join(table(queue, fleet)))
    print(json.dumps(asdict(queue) | asdict(fleet)))
    return 0 if queue.met and fleet.met else 1


if __name__ == "__main__":
    raise SystemExit(main())
