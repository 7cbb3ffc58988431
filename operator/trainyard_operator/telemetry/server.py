"""/metrics, /healthz and /readyz over plain HTTP."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from trainyard_operator.telemetry.health import Health
from trainyard_operator.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TelemetryServer:
    """A running server; `port` is the one that it got."""

    runner: web.AppRunner
    port: int

    async def close(self) -> None:
        """Stop serving."""
        await self.runner.cleanup()


async def serve_telemetry(*, metrics: Metrics, health: Health, port: int) -> TelemetryServer:
    """Serve on `port` of all addresses; 0 takes a free one."""

    async def exposition(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), content_type="text/plain", charset="utf-8")

    async def healthz(_request: web.Request) -> web.Response:
        complaints = health.complaints()
        return _answer(ok=not complaints, text="\n".join(complaints) or "ok")

    async def readyz(_request: web.Request) -> web.Response:
        return _answer(ok=health.ready, text="ok" if health.ready else "starting")

    app = web.Application()
    app.router.add_get("/metrics", exposition)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, _listen(port)).start()
    bound = int(runner.addresses[0][1])
    log.info("serving /metrics, /healthz and /readyz on port %d", bound)
    return TelemetryServer(runner=runner, port=bound)


def _listen(port: int) -> socket.socket:
    # One socket for both families: of two, each would get a free port of its own.
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _answer(*, ok: bool, text: str) -> web.Response:
    return web.Response(text=text + "\n", status=HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE)
