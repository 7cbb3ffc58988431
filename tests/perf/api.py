"""The bare client of the benchmark: requests that are as cheap as aiohttp can make them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from trainyard_operator.api.names import Kind
from trainyard_operator.kube.client import MERGE_PATCH, path_of
from trainyard_operator.kube.connection import from_kubeconfig

PARALLEL = 32

_REQUESTS = re.compile(r"^apiserver_request_total\{([^}]*)\} ([0-9.e+]+)$", re.MULTILINE)
_NAME = re.compile(rb'"name":"(run-\d+)"')
_LABEL = re.compile(r'(\w+)="([^"]*)"')
# The API server writes a few objects of its own; the operator's lease and the label of its pod are no cost of a job.
_COUNTED = {"trainingjobs", "computeclusters", "registeredmodels", "jobs", "events"}


class Api:
    """Raw requests to the API server."""

    def __init__(self, *, server: str, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def call(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Any:
        data = None if body is None else json.dumps(body).encode()
        url = URL(self.server + path, encoded=True)
        async with self.session.request(method, url, data=data, headers={"Content-Type": content_type}) as response:
            raw = await response.read()
            if response.status >= 400:
                raise RuntimeError(f"{method} {path}: {response.status} {raw[:300]!r}")
            return json.loads(raw)

    async def create(self, kind: Kind, obj: dict[str, Any]) -> Any:
        return await self.call("POST", path_of(kind, namespace=obj["metadata"].get("namespace")), obj)

    async def patch_status(self, kind: Kind, obj: dict[str, Any], status: dict[str, Any]) -> Any:
        metadata = obj["metadata"]
        path = path_of(kind, namespace=metadata["namespace"], name=metadata["name"], subresource="status")
        return await self.call("PATCH", path, {"status": status}, MERGE_PATCH)

    async def list(self, kind: Kind, namespace: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.call("GET", path_of(kind, namespace=namespace)))["items"]
        return found

    async def clear(self, kind: Kind, namespace: str) -> None:
        await self.call("DELETE", path_of(kind, namespace=namespace), {"propagationPolicy": "Background"})
        while await self.list(kind, namespace):  # noqa: ASYNC110 - the API server tells nobody here
            await asyncio.sleep(0.2)

    async def writes(self) -> dict[str, int]:
        """Return how many writes the API server has done, by ``verb resource``."""
        async with self.session.get(URL(self.server + "/metrics")) as response:
            text = await response.text()
        counts: dict[str, int] = {}
        for found in _REQUESTS.finditer(text):
            labels = dict(_LABEL.findall(found[1]))
            if labels["verb"] in {"POST", "PUT", "PATCH", "DELETE"} and labels["resource"] in _COUNTED:
                name = f"{labels['verb']} {labels['resource']}{'/' if labels['subresource'] else ''}{labels['subresource']}"
                counts[name] = counts.get(name, 0) + int(float(found[2]))
        return counts

    @asynccontextmanager
    async def watching(
        self, kind: Kind, namespace: str, mark: bytes
    ) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
        """Watch without parsing; gives a function that waits until so many objects have had an event that holds `mark`."""
        seen: set[bytes] = set()
        grown = asyncio.Condition()

        async def follow(response: aiohttp.ClientResponse) -> None:
            async for line in response.content:
                name = _NAME.search(line)
                if mark in line and name:
                    async with grown:
                        seen.add(name[1])
                        grown.notify_all()

        async def keep_following(response: aiohttp.ClientResponse) -> None:
            await follow(response)
            # The API server ends the watch of whoever is slow to read; the next one begins with all that is there.
            while True:
                async with self.session.get(url, timeout=timeout) as another:
                    another.raise_for_status()
                    await follow(another)

        async def reached(count: int) -> None:
            async with grown:
                await grown.wait_for(lambda: len(seen) >= count)

        query = "?watch=true&resourceVersion=0"
        url = URL(self.server + path_of(kind, namespace=namespace) + query, encoded=True)
        timeout = aiohttp.ClientTimeout(total=None)
        async with self.session.get(url, timeout=timeout) as response:
            response.raise_for_status()
            following = asyncio.create_task(keep_following(response))
            try:
                yield reached
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)


@asynccontextmanager
async def open_api(kubeconfig: Path) -> AsyncIterator[Api]:
    connection = from_kubeconfig(kubeconfig)
    async with connection.open_session(seconds=60, connections=PARALLEL + 4) as session:
        yield Api(server=connection.server.rstrip("/"), session=session)


async def in_parallel(work: Callable[[Any], Awaitable[Any]], items: Iterable[Any]) -> list[Any]:
    """Do `work` for all `items`, so many at a time; return the results in order."""
    todo = list(enumerate(items))
    done: list[Any] = [None] * len(todo)
    queue = iter(todo)

    async def worker() -> None:
        for index, item in queue:
            done[index] = await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(PARALLEL):
            group.create_task(worker())
    return done


def difference(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return what was counted in between."""
    return {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)}
