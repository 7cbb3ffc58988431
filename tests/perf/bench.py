"""`python -m tests.perf.bench`: how many jobs a second, beside a bare client that does the same writes.

A control plane without nodes; the operator is a real process. Its Jobs and statuses are recorded in a warm-up, then a
client that does nothing else writes the same ones: that is the floor. What is compared is the whole of both: creating
the TrainingJobs, and one Job and one status for each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from devcluster.controlplane import ControlPlane
from tests.perf import models
from tests.perf.api import Api, difference, in_parallel, open_api
from tests.perf.ground import NAMESPACE, PLANNED, ROOT, prepare, say, training_job
from tests.perf.process import OperatorProcess
from tests.perf.queue import add_options, load_of, run
from tests.perf.queue import table as queue_table
from trainyard_operator.api.names import JOB, TRAINING_JOB, job_name

WARM_UP = 100
# The goals; `main` fails below them, so that a slower operator is noticed.
LEAST_RATIO = 0.6
MOST_WRITES = 2.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was measured; the fields are the keys of bench.json."""

    submit_ratio: float
    jobs_per_second: float
    floor_per_second: float
    writes_per_job: float
    restart_writes: int
    operator_rss_mb: float
    cpu_ms_per_job: float
    restart_seconds: float
    jobs: int


async def create_all(api: Api, namespace: str, count: int) -> list[dict[str, Any]]:
    return await in_parallel(lambda n: api.create(TRAINING_JOB, training_job(namespace, n)), range(count))


async def template(api: Api, namespace: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a Job and a status that the operator wrote, for the bare client to write again."""
    run = (await api.list(TRAINING_JOB, namespace))[0]
    name = job_name(run["metadata"]["name"], run["metadata"]["uid"], 1)
    job = next(job for job in await api.list(JOB, namespace) if job["metadata"]["name"] == name)
    metadata = {"labels": job["metadata"]["labels"], "ownerReferences": job["metadata"]["ownerReferences"]}
    spec = {name: value for name, value in job["spec"].items() if name != "selector"}
    labels = spec["template"]["metadata"]["labels"]
    spec["template"]["metadata"]["labels"] = {
        k: v for k, v in labels.items() if "controller-uid" not in k and "job-name" not in k
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}, run["status"]


async def floor(api: Api, count: int, job: dict[str, Any], status: dict[str, Any]) -> float:
    """Return the seconds that a bare client needs."""
    text = json.dumps(job)
    begin = time.perf_counter()
    runs = await create_all(api, "floor", count)

    async def pair(run: dict[str, Any]) -> None:
        metadata = run["metadata"]
        name = job_name(metadata["name"], metadata["uid"], 1)
        body = json.loads(text)
        owner = {**body["metadata"]["ownerReferences"][0], "name": metadata["name"], "uid": metadata["uid"]}
        body["metadata"] |= {"name": name, "namespace": "floor", "ownerReferences": [owner]}
        await api.create(JOB, body)
        await api.patch_status(TRAINING_JOB, run, {**status, "jobName": name})

    await in_parallel(pair, runs)
    return time.perf_counter() - begin


async def submitted(
    api: Api, operator: OperatorProcess, count: int, namespace: str
) -> tuple[float, dict[str, int], float]:
    """Return the seconds from the first create to the last status, the writes, and the operator's CPU seconds."""
    before, cpu = await api.writes(), (await operator.metrics())["process_cpu_seconds_total"]
    async with api.watching(TRAINING_JOB, namespace, PLANNED) as reached:
        begin = time.perf_counter()
        await create_all(api, namespace, count)
        await asyncio.wait_for(reached(count), 300)
        seconds = time.perf_counter() - begin
    await operator.settled()
    used = (await operator.metrics())["process_cpu_seconds_total"] - cpu
    writes = difference(before, await api.writes())
    writes["POST trainingjobs"] -= count
    return seconds, {name: number for name, number in writes.items() if number}, used


@dataclass(frozen=True, kw_only=True)
class Round:
    """One turn of both, right after each other: other load on the machine then weighs on both alike."""

    floor_seconds: float
    seconds: float
    writes: dict[str, int]
    cpu_seconds: float
    rss: float


async def measure(
    kubeconfig: Path, *, count: int, rounds: int, log: Path
) -> tuple[Result, dict[str, int], dict[str, int]]:
    async with open_api(kubeconfig) as api:
        say("preparing")
        await prepare(api)
        job, status = await warm_up(api, kubeconfig, log)
        turns = []
        for number in range(1, rounds + 1):
            say(f"round {number} of {rounds}: {count} jobs by a bare client, then by the operator")
            turns.append(
                await turn(api, kubeconfig, log, count=count, pattern=(job, status), namespace=f"bench-{number}")
            )
        say("the operator starts again")
        before, begin = await api.writes(), time.perf_counter()
        async with OperatorProcess(kubeconfig=kubeconfig, log=log) as operator:
            restart_seconds = time.perf_counter() - begin
            await operator.settled(quiet_seconds=5.0)
        again = difference(before, await api.writes())
    seconds, floor_seconds = (median(t.seconds for t in turns), median(t.floor_seconds for t in turns))
    result = Result(
        submit_ratio=round(median(t.floor_seconds / t.seconds for t in turns), 3),
        jobs_per_second=round(count / seconds, 1),
        floor_per_second=round(count / floor_seconds, 1),
        writes_per_job=round(max(sum(t.writes.values()) for t in turns) / count, 3),
        restart_writes=sum(again.values()),
        operator_rss_mb=round(max(t.rss for t in turns) / 1e6, 1),
        cpu_ms_per_job=round(1000 * median(t.cpu_seconds for t in turns) / count, 2),
        restart_seconds=round(restart_seconds, 2),
        jobs=count,
    )
    return result, turns[-1].writes, again


async def warm_up(api: Api, kubeconfig: Path, log: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Let the operator write some jobs; return one's Job and status, as the pattern for the bare client."""
    async with OperatorProcess(kubeconfig=kubeconfig, log=log) as operator:
        async with api.watching(TRAINING_JOB, "warm", PLANNED) as reached:
            await create_all(api, "warm", WARM_UP)
            await asyncio.wait_for(reached(WARM_UP), 120)
        await operator.settled()
    return await template(api, "warm")


async def turn(
    api: Api, kubeconfig: Path, log: Path, *, count: int, pattern: tuple[dict[str, Any], dict[str, Any]], namespace: str
) -> Round:
    """Let the bare client and then the operator do the same work."""
    floor_seconds = await floor(api, count, *pattern)
    await asyncio.gather(api.clear(TRAINING_JOB, "floor"), api.clear(JOB, "floor"))
    await api.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    async with OperatorProcess(kubeconfig=kubeconfig, log=log) as operator:
        await operator.settled()
        seconds, writes, cpu = await submitted(api, operator, count, namespace)
        rss = (await operator.metrics())["process_resident_memory_bytes"]
    missing = count - len(await api.list(JOB, namespace))
    if missing:
        raise RuntimeError(f"{missing} runs have no Job")
    return Round(floor_seconds=floor_seconds, seconds=seconds, writes=writes, cpu_seconds=cpu, rss=rss)


def table(result: Result, writes: dict[str, int], again: dict[str, int]) -> Iterator[str]:
    yield f"{'jobs':34}{result.jobs:>10}"
    yield f"{'jobs per second, operator':34}{result.jobs_per_second:>10}"
    yield f"{'jobs per second, bare client':34}{result.floor_per_second:>10}"
    yield f"{'ratio (goal: at least 0.6)':34}{result.submit_ratio:>10}"
    yield f"{'writes per job (goal: at most 2)':34}{result.writes_per_job:>10}"
    for name, count in sorted(writes.items()):
        yield f"  {name:32}{count:>10}"
    yield f"{'operator CPU per job, ms':34}{result.cpu_ms_per_job:>10}"
    yield f"{'operator memory, MB':34}{result.operator_rss_mb:>10}"
    yield f"{'seconds until ready after restart':34}{result.restart_seconds:>10}"
    yield f"{'writes after restart (goal: 0)':34}{result.restart_writes:>10}"
    for name, count in sorted(again.items()):
        yield f"  {name:32}{count:>10}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.perf.bench", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000, help="TrainingJobs to create at once")
    parser.add_argument("--rounds", type=int, default=3, help="how often; medians are reported")
    parser.add_argument("--output", type=Path, default=ROOT / ".yard" / "bench.json", help="where the JSON goes")
    parser.add_argument("--kubeconfig", type=Path, help="an empty control plane to use, instead of one of its own")
    parser.add_argument(
        "--only", choices=("submit", "queue", "models"), help="measure one part, and keep what is known of the others"
    )
    add_options(parser)
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    log = options.output.with_name("bench-operator.log")
    log.unlink(missing_ok=True)
    found: dict[str, Any] = {}
    if options.only and options.output.exists():
        found = json.loads(options.output.read_text(encoding="utf-8"))
    lines: list[str] = []
    met = True
    if options.only in {None, "submit"}:
        with contextlib.ExitStack() as stack:
            kubeconfig = options.kubeconfig
            if kubeconfig is None:
                home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trainyard-bench-")))
                kubeconfig = stack.enter_context(ControlPlane(home=home)).kubeconfig
            result, writes, again = asyncio.run(measure(kubeconfig, count=options.jobs, rounds=options.rounds, log=log))
        found |= asdict(result)
        lines += table(result, writes, again)
        met &= (
            result.submit_ratio >= LEAST_RATIO and result.writes_per_job <= MOST_WRITES and result.restart_writes == 0
        )
    if options.only in {None, "queue"}:
        queue, fleet = run(load_of(options), log=log)
        found |= asdict(queue) | asdict(fleet)
        lines += queue_table(queue, fleet)
        met &= queue.met and fleet.met
    if options.only in {None, "models"}:
        versions = models.run(log=log)
        found |= asdict(versions)
        lines += models.table(versions)
        met &= versions.met
    options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
