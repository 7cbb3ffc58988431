"""The operator as a real process, with an object store that is away unless one is given."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import IO, Self

import aiohttp

from devcluster import ports
from tests.support.objectstore import ObjectServer

# Long enough for a machine that does other things as well.
READY_SECONDS = 120.0


class OperatorProcess:
    """`python -m trainyard_operator` against a control plane; `log` gets its output.

    Two processes with the same `identity` are two lives of the same pod.
    """

    def __init__(
        self, *, kubeconfig: Path, log: Path, identity: str = "operator-0", objects: ObjectServer | None = None
    ) -> None:
        self.port, self.gateway_port = ports.free(2)
        self._log = log
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "TRAINYARD_TRAINER_IMAGE": "localhost/trainyard/trainer:bench",
            "TRAINYARD_S3_ENDPOINT": objects.endpoint if objects else "http://127.0.0.1:9",
            "AWS_ACCESS_KEY_ID": objects.keys.access if objects else "bench",
            "AWS_SECRET_ACCESS_KEY": objects.keys.secret if objects else "bench",
            "TRAINYARD_METRICS_PORT": str(self.port),
            "TRAINYARD_GATEWAY_PORT": str(self.gateway_port),
            "TRAINYARD_POD_NAME": identity,
            "TRAINYARD_LOG_LEVEL": "WARNING",
        }
        self._process: asyncio.subprocess.Process | None = None
        self._output: IO[bytes] | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._output = self._log.open("ab")
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trainyard_operator", env=self._environment, stdout=self._output, stderr=self._output
        )
        self._session = aiohttp.ClientSession()
        try:
            await asyncio.wait_for(self._ready(), READY_SECONDS)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process
        assert self._session
        assert self._output
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), 30)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        await self._session.close()
        self._output.close()

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and return the status that the process ends with."""
        assert self._process
        self._process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Return the status that the process ends with."""
        assert self._process
        return await asyncio.wait_for(self._process.wait(), READY_SECONDS)

    async def metrics(self) -> dict[str, float]:
        """Return all samples by ``name{labels}``."""
        text = await self._get("/metrics")
        pattern = re.compile(r"^(\w+(?:\{[^}]*\})?) ([0-9.e+-]+)$", re.MULTILINE)
        return {found[1]: float(found[2]) for found in pattern.finditer(text)}

    async def shows(self, name: str, value: float) -> None:
        """Wait until a sample has a value: what a status says can be read a moment before the writer knows of it."""
        async with asyncio.timeout(READY_SECONDS):
            while (await self.metrics()).get(name) != value:  # noqa: ASYNC110 - another process brings it about
                await asyncio.sleep(0.05)

    async def settled(self, *, quiet_seconds: float = 2.0) -> None:
        """Wait until nothing waits for a reconcile, and none happens, for some time."""
        last, since = -1.0, 0.0
        clock = asyncio.get_running_loop()
        while True:
            samples = await self.metrics()
            count = sum(value for name, value in samples.items() if name.startswith("trainyard_reconciles_total"))
            waiting = any(value for name, value in samples.items() if name.startswith("trainyard_queue_depth"))
            if count != last or waiting:
                last, since = count, clock.time()
            elif clock.time() - since >= quiet_seconds:
                return
            await asyncio.sleep(0.2)

    async def _ready(self) -> None:
        assert self._process
        while True:
            if self._process.returncode is not None:
                raise RuntimeError(f"the operator ended with status {self._process.returncode}: see {self._log}")
            try:
                await self._get("/readyz")
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
            else:
                return

    async def _get(self, path: str) -> str:
        assert self._session
        async with self._session.get(f"http://127.0.0.1:{self.port}{path}") as response:
            response.raise_for_status()
            return await response.text()
