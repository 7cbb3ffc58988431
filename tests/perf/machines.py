"""The machines of a benchmark that has none: what Job controller, scheduler and kubelet write, and nothing they do.

Each Job that is let in gets a pod on a node of its cluster, which runs for a while and leaves a manifest. When slots
come free and who is let in is noted on the way.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
from yarl import URL

from tests.perf.api import Api
from trainyard.contract import RUN_MANIFEST_SCHEMA, canonical_json
from trainyard_operator.api.names import (
    ATTEMPT_LABEL,
    COMPUTE_CLUSTER_LABEL,
    JOB,
    NODE,
    POD,
    RUN_UID_LABEL,
    TRAINING_JOB_LABEL,
    Kind,
)
from trainyard_operator.kube.client import MERGE_PATCH, path_of
from trainyard_operator.storage import layout
from trainyard_operator.storage.store import S3Store

JsonObject = dict[str, Any]

SERVICE_ACCOUNT = Kind(group="", version="v1", plural="serviceaccounts", kind="ServiceAccount")
POOL = "pool"
# How the API server writes a Job that may run; all others need not be parsed.
_LET_IN = b'"suspend":false'
_VERSION = re.compile(rb'"resourceVersion":"(\d+)"')


@dataclass
class Ledger:
    """When slots of one cluster were taken and freed, in the order in which that happened."""

    taken: list[float] = field(default_factory=list)
    freed: list[float] = field(default_factory=list)

    def refills(self, slots: int) -> list[float]:
        """Return how long each freed slot stood empty: the first one freed is the first one taken again."""
        return [taken - freed for freed, taken in zip(self.freed, self.taken[slots:], strict=False)]


class Machines:
    """Plays nodes for the Jobs of one namespace.

    Parameters
    ----------
    nodes
        How many nodes each cluster has.
    run_seconds
        How long a run takes on average; each takes something between half and one and a half of it.
    """

    def __init__(self, *, api: Api, objects: S3Store, namespace: str, nodes: int, run_seconds: float) -> None:
        self._api = api
        self._objects = objects
        self._namespace = namespace
        self._nodes = nodes
        self._run_seconds = run_seconds
        self._dice = random.Random(1)
        self._clock = asyncio.get_running_loop().time
        self._busy: Counter[str] = Counter()
        self._known: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = asyncio.Event()
        self._draining = False
        self._changed = asyncio.Condition()
        self.writes: list[float] = []  # how long the ends of Jobs took to write: what the API server can do meanwhile
        self.ledgers: dict[str, Ledger] = defaultdict(Ledger)

    @property
    def taken(self) -> int:
        """How many runs were let in so far."""
        return sum(len(ledger.taken) for ledger in self.ledgers.values())

    @property
    def freed(self) -> int:
        """How many runs have ended so far."""
        return sum(len(ledger.freed) for ledger in self.ledgers.values())

    async def add_cluster(self, cluster: str) -> None:
        """Bring up the nodes of a cluster."""
        for number in range(self._nodes):
            name = f"{cluster}-{number}"
            await self._api.create(
                NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {POOL: cluster}}}
            )
            # A new node is tainted until its controller has seen it ready, and here there is none.
            await self._api.call("PATCH", path_of(NODE, name=name), {"spec": {"taints": None}}, MERGE_PATCH)
            ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}
            await self._patch_status(NODE, name, {"conditions": [ready]})

    def start(self) -> None:
        """Begin with the runs that were let in, which have held their slots until now."""
        self._started.set()

    def drain(self) -> None:
        """Let no further run end: what is free now is filled, and then nothing happens any more."""
        self._draining = True

    async def until(self, *, taken: int | None = None, freed: int | None = None) -> None:
        """Wait until so many runs were let in, or have ended."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.taken >= (taken or 0) and self.freed >= (freed or 0))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Follow the Jobs until the end of the context; what still runs then is dropped."""
        path = path_of(JOB, namespace=self._namespace)
        listed = await self._api.call("GET", f"{path}?limit=1")
        async with asyncio.TaskGroup() as group:
            self._tasks.add(group.create_task(self._follow(path, listed["metadata"]["resourceVersion"], group)))
            try:
                yield
            finally:
                for task in tuple(self._tasks):
                    task.cancel()

    async def _follow(self, path: str, version: str, group: asyncio.TaskGroup) -> None:
        # The API server ends the watch of whoever is slow to read; the next one goes on from there.
        while True:
            url = URL(f"{self._api.server}{path}?watch=true&resourceVersion={version}", encoded=True)
            async with self._api.session.get(url, timeout=aiohttp.ClientTimeout(total=None)) as response:
                response.raise_for_status()
                async for line in response.content:
                    found = _VERSION.search(line)
                    version = found[1].decode() if found else version
                    if _LET_IN in line:
                        await self._let_in(json.loads(line)["object"], group)

    async def _let_in(self, job: JsonObject, group: asyncio.TaskGroup) -> None:
        now, meta = self._clock(), job["metadata"]
        if meta["uid"] in self._known:
            return
        self._known.add(meta["uid"])
        ledger = self.ledgers[meta["labels"][COMPUTE_CLUSTER_LABEL]]
        await self._note(ledger.taken, now)
        task = group.create_task(self._run(job, ledger))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _note(self, times: list[float], when: float) -> None:
        async with self._changed:
            times.append(when)
            self._changed.notify_all()

    async def _run(self, job: JsonObject, ledger: Ledger) -> None:
        meta = job["metadata"]
        cluster, name = meta["labels"][COMPUTE_CLUSTER_LABEL], f"{meta['name']}-0"
        node = min((f"{cluster}-{number}" for number in range(self._nodes)), key=lambda n: self._busy[n])
        self._busy[node] += 1
        await self._started.wait()
        begun = _now()
        await self._api.create(POD, _pod(job, name=name, node=node))
        running = {"name": "train", "image": "i", "imageID": "", "ready": True, "restartCount": 0}
        state = {"state": {"running": {"startedAt": begun}}}
        await self._patch_status(POD, name, {"phase": "Running", "containerStatuses": [{**running, **state}]})
        counts = {"startTime": begun, "active": 1, "ready": 1, "uncountedTerminatedPods": {}}
        await self._patch_status(JOB, meta["name"], counts)
        await asyncio.sleep(self._run_seconds * self._dice.uniform(0.5, 1.5))
        await self._save(meta)
        if self._draining:
            return
        ended = _now()
        state = {
            "state": {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": begun, "finishedAt": ended}}
        }
        done = {**running, "ready": False, **state}
        await self._patch_status(POD, name, {"phase": "Succeeded", "containerStatuses": [done]})
        self._busy[node] -= 1
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": ended} for kind in ("SuccessCriteriaMet", "Complete")
        ]
        said = {"active": 0, "ready": 0, "succeeded": 1, "completionTime": ended, "conditions": conditions}
        # Before the write: what it takes is counted as time in which the slot stood empty.
        freed = self._clock()
        await self._patch_status(JOB, meta["name"], said)
        self.writes.append(self._clock() - freed)
        await self._note(ledger.freed, freed)

    async def _save(self, meta: JsonObject) -> None:
        uid = meta["labels"][RUN_UID_LABEL]
        manifest = {
            "schema": RUN_MANIFEST_SCHEMA,
            "run": {
                "name": meta["labels"][TRAINING_JOB_LABEL],
                "namespace": self._namespace,
                "uid": uid,
                "experiment": "bench",
            },
            "sourceSha256": "5" * 64,
            "exitCode": 0,
            "startTime": "",
            "endTime": "",
            "metrics": {"accuracy": 0.5},
            "outputs": [],
            "warnings": [],
            "environment": {},
        }
        await self._objects.put(
            layout.run_manifest_key(self._namespace, uid, int(meta["labels"][ATTEMPT_LABEL])), canonical_json(manifest)
        )

    async def _patch_status(self, kind: Kind, name: str, status: JsonObject) -> None:
        namespace = self._namespace if kind.namespaced else None
        path = path_of(kind, namespace=namespace, name=name, subresource="status")
        await self._api.call("PATCH", path, {"status": status}, MERGE_PATCH)


def _pod(job: JsonObject, *, name: str, node: str) -> JsonObject:
    meta, template = job["metadata"], job["spec"]["template"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": template["metadata"]["labels"],
            "ownerReferences": [owner],
        },
        "spec": {**template["spec"], "nodeName": node},
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
