"""The gateway's HTTPS server: who is calling, may they, and what is the answer."""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

from trainyard.contract import RunDocument
from trainyard_operator.gateway.environments import BuildRef, Environments
from trainyard_operator.gateway.errors import Refusal, forbidden, unavailable
from trainyard_operator.gateway.grants import Grants
from trainyard_operator.gateway.limits import RateLimit
from trainyard_operator.gateway.metrics import GatewayMetrics
from trainyard_operator.gateway.model_requests import ModelRequest
from trainyard_operator.gateway.models import ModelGrants
from trainyard_operator.gateway.ports import (
    Identity,
    LiveBoard,
    QueueBoard,
    RunDirectory,
    RunRef,
    Sources,
    TokenReviewer,
)
from trainyard_operator.gateway.requests import (
    MAX_GRANTS_BODY,
    MAX_REPORT_BODY,
    BuildPutRequest,
    BuildRequest,
    CheckpointRequest,
    DataPutRequest,
    DeleteRequest,
    InputRequest,
    ListRequest,
    PutRequest,
    RanRequest,
    RequirementsPutRequest,
    RunRequest,
    SnapshotPutRequest,
    SourcePutRequest,
    parse_grant,
    parse_report,
)
from trainyard_operator.kube.errors import ApiError
from trainyard_operator.storage.errors import StoreError
from trainyard_operator.storage.store import ObjectStore

logger = logging.getLogger(__name__)

REQUEST_SECONDS = 30.0
SHUTDOWN_SECONDS = 5.0
CLIENT_WENT_AWAY = 499

_OP = web.RequestKey("op", str)
_CALLER = web.RequestKey("caller", dict)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gateway:
    """Answers training pods, each about its own run, and people, each about their own namespace."""

    def __init__(  # noqa: PLR0913 - one for each thing that it must not know itself
        self,
        *,
        reviewer: TokenReviewer,
        runs: RunDirectory,
        sources: Sources,
        queues: QueueBoard,
        live: LiveBoard,
        environments: Environments,
        models: ModelGrants,
        store: ObjectStore,
        metrics: GatewayMetrics,
        input_limit: int,
        clock: Callable[[], float] = time.monotonic,
        timeout: float = REQUEST_SECONDS,
    ) -> None:
        self._reviewer = reviewer
        self._runs = runs
        self._queues = queues
        self._live = live
        self._environments = environments
        self._models = models
        self._grants = Grants(store=store, sources=sources, live=live, input_limit=input_limit)
        self._metrics = metrics
        self._timeout = timeout
        self._report_limit = RateLimit(per_second=2, burst=20, clock=clock)
        self._grant_limit = RateLimit(per_second=20, burst=100, clock=clock)
        self._runner: web.AppRunner | None = None

    def application(self) -> web.Application:
        """Return the application, to be served by whoever likes."""
        app = web.Application(middlewares=[self._answer], client_max_size=MAX_GRANTS_BODY)
        app.router.add_post("/v1/grants", self._serve_grants)
        app.router.add_post("/v1/report", self._serve_report)
        app.router.add_get("/v1/queues/{name}", self._serve_queue)
        return app

    async def start(self, *, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """Serve until `stop`; return the port, which the kernel chooses where `port` is 0."""
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        self._runner = runner
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        return int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Finish the requests under way and close the port."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        request[_OP] = "other"
        began = time.monotonic()
        code = CLIENT_WENT_AWAY
        try:
            response = await self._guarded(request, handler)
            code = response.status
        except ConnectionError:
            # Pods are killed while they talk; aiohttp would log it as an error of ours.
            return web.Response(status=CLIENT_WENT_AWAY)
        finally:
            self._metrics.observe(op=request[_OP], code=code, seconds=time.monotonic() - began)
        return response

    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            async with asyncio.timeout(self._timeout):
                return await handler(request)
        except (ConnectionError, web.RequestPayloadError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer of the agreed form
            refusal = self._refusal_of(error, request)
        if refusal.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            about = {"object": request.get(_CALLER)}
            logger.info("refused %s: %s: %s", request[_OP], refusal.reason, refusal.message, extra=about)
        headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after is not None else None
        return web.json_response(refusal.document(), status=refusal.status, headers=headers)

    def _refusal_of(self, error: Exception, request: web.Request) -> Refusal:
        match error:
            case Refusal():
                return error
            case TimeoutError():
                return unavailable(f"not done within {self._timeout:g} seconds: try again")
            case web.HTTPRequestEntityTooLarge():
                message = f"the body has more than {MAX_GRANTS_BODY} bytes: ask for fewer files at once"
                return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "TooLarge", message)
            case web.HTTPException():
                there = "POST /v1/grants, POST /v1/report or GET /v1/queues/NAME"
                message = f"{request.method} {request.path}: {error.reason}; use {there}"
                return Refusal(HTTPStatus(error.status), "NotFound", message)
            case StoreError() | ApiError():
                # Wrong keys or missing rights are somebody's to mend; the run should still be there when they have.
                about = {"object": request.get(_CALLER)}
                logger.warning("cannot serve %s: %s: %s", request[_OP], type(error).__name__, error, extra=about)
                what = "object store" if isinstance(error, StoreError) else "API server"
                return unavailable(f"the {what} did not do what was needed ({type(error).__name__}): try again")
        logger.error("an error of the gateway itself while serving %s", request[_OP], exc_info=error)
        message = "an error of the gateway itself, which its log describes: try again"
        return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", message)

    async def _serve_grants(  # noqa: C901, PLR0912 - one for each operation
        self, request: web.Request
    ) -> web.StreamResponse:
        request[_OP] = "grants"
        identity = await self._identity(request)
        _throttle(self._grant_limit, f"{identity.namespace}/{identity.pod_uid or identity.service_account}")
        asked = parse_grant(await request.read())
        request[_OP] = asked.op
        answer: Any
        match asked:
            case RunRequest():
                answer = await self._run(self._worker(_pod(identity)))
            case RanRequest():
                answer = self._runs.ran(_pod(identity))
            case BuildRequest():
                answer = await self._environments.document(self._build(identity))
            case BuildPutRequest():
                answer = await self._environments.put(self._build(identity), asked)
            case InputRequest():
                answer = await self._grants.input(self._runs.run_of(_pod(identity)), asked)
            case CheckpointRequest():
                answer = await self._grants.checkpoint(self._runs.run_of(_pod(identity)), asked)
            case PutRequest():
                answer = await self._grants.put(self._runs.run_of(_pod(identity)), asked)
            case DeleteRequest():
                answer = await self._grants.delete(self._runs.run_of(_pod(identity)), asked)
            case SourcePutRequest():
                answer = await self._grants.source_put(self._worker(_pod(identity)), asked)
            case RequirementsPutRequest():
                answer = await self._grants.requirements_put(self._reader(_pod(identity)), asked)
            case SnapshotPutRequest():
                answer = await self._grants.snapshot_put(_person(identity), asked)
            case DataPutRequest():
                answer = await self._grants.data_put(_person(identity), asked)
            case ListRequest():
                namespace = _person(identity)
                if asked.area == "models":
                    await self._models.check(identity, asked.prefix.split("/", 1)[0], namespace)
                answer = await self._grants.list(namespace, asked)
            case ModelRequest():
                # People and pods alike: what they may read is what RBAC says, and not where they run.
                answer = await self._models.model(identity, asked)
        return web.json_response(answer)

    async def _run(self, run: RunRef) -> RunDocument:
        document = await self._grants.run(run)
        pack = await self._environments.pack(run)
        if pack is not None:
            document["environment"] = pack
        return document

    async def _serve_report(self, request: web.Request) -> web.StreamResponse:
        request[_OP] = "report"
        identity = _pod(await self._identity(request))
        build = self._environments.build_of(identity)
        run = self._worker(identity) if build is None else None
        _throttle(self._report_limit, identity.pod_uid or "")
        body = await request.read()
        if len(body) > MAX_REPORT_BODY:
            message = f"the report has {len(body)} bytes, more than {MAX_REPORT_BODY}"
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "TooLarge", message)
        report = parse_report(body)
        if run is not None:
            self._live.publish(run.uid, attempt=run.attempt, report=report)
        elif build is not None:
            self._environments.said(build, report.get("message", ""))
        return web.json_response({})

    def _worker(self, identity: Identity) -> RunRef:
        """Return the run of a pod that may fetch and freeze its source: of an attempt, or of what reads it before."""
        return self._runs.reader_of(identity) or self._runs.run_of(identity)

    def _reader(self, identity: Identity) -> RunRef:
        run = self._runs.reader_of(identity)
        if run is None:
            raise forbidden("this is for pods that read a source: the token's pod is for something else")
        return run

    def _build(self, identity: Identity) -> BuildRef:
        build = self._environments.build_of(_pod(identity))
        if build is None:
            raise forbidden("this is for the builds of environments: the token's pod belongs to none")
        return build

    async def _serve_queue(self, request: web.Request) -> web.StreamResponse:
        request[_OP] = "queue"
        identity = await self._identity(request)
        namespace = _person(identity)
        _throttle(self._grant_limit, f"{namespace}/{identity.service_account}")
        name = request.match_info["name"]
        found = self._queues.show(namespace, name)
        if found is None:
            message = f"there is no ComputeCluster {name} in namespace {namespace}, or its spec cannot work"
            raise Refusal(HTTPStatus.NOT_FOUND, "NotFound", message)
        return web.json_response(found)

    async def _identity(self, request: web.Request) -> Identity:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise _unauthorized("send the header Authorization: Bearer <token>")
        identity = await self._reviewer.review(token.strip())
        if identity is None:
            raise _unauthorized(
                "the token is not valid here: it must be an unexpired token of a service account for the audience "
                "trainyard, and its pod must still exist"
            )
        kind, name = ("Pod", identity.pod_name) if identity.pod_uid else ("ServiceAccount", identity.service_account)
        request[_CALLER] = {"kind": kind, "namespace": identity.namespace, "name": name}
        return identity


def _pod(identity: Identity) -> Identity:
    if identity.pod_uid is None:
        raise forbidden("this is for the pods of runs: the token is not bound to a pod")
    return identity


def _person(identity: Identity) -> str:
    """Return the namespace that a person may ask about: a script in a pod must not come here with its pod's token."""
    if identity.pod_uid is not None:
        raise forbidden("this is for people: use a token that is not bound to a pod, such as `kubectl create token`'s")
    return identity.namespace


def _throttle(limit: RateLimit, key: str) -> None:
    seconds = limit.wait_for(key)
    if seconds > 0:
        raise Refusal(
            HTTPStatus.TOO_MANY_REQUESTS,
            "TooManyRequests",
            f"too many requests: come again in {seconds:.1f} seconds",
            retry_after=math.ceil(seconds),
        )


def _unauthorized(message: str) -> Refusal:
    return Refusal(HTTPStatus.UNAUTHORIZED, "Unauthorized", message)
