"""One operator at a time, by a Lease.

Whoever holds the Lease writes; whoever loses it must stop writing at once, which only a process that ends can promise.
Times of other machines are not trusted: a holder is taken for gone when its Lease has not moved for the Lease's own
duration by this machine's clock. The same identity takes its Lease back without waiting, so that a crash costs none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from trainyard_operator.api.names import LEADER_LABEL, LEASE, POD
from trainyard_operator.kube.client import Client
from trainyard_operator.kube.errors import AlreadyExists, ApiError, Conflict, NotFound

JsonObject = dict[str, Any]

LEASE_SECONDS = 15
RENEW_SECONDS = 10.0  # without a renewal for so long, leadership is given up while the Lease still stands
POLL_SECONDS = 2.0
ATTEMPT_SECONDS = 3.0

log = logging.getLogger(__name__)


class LeadershipLost(Exception):  # noqa: N818 - it is what has happened
    """The Lease is not this process's any more."""


class Leader:
    """The Lease `name` in `namespace`, as the process called `identity` sees it."""

    def __init__(  # noqa: PLR0913 - a lease has that many parts
        self,
        *,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._now = now
        self._sleep = sleep
        self._clock = clock or asyncio.get_running_loop().time
        self._lease: JsonObject = {}
        self._seen: tuple[object, float] = (None, 0.0)

    async def acquire(self, *, standing_by: Callable[[str], Awaitable[None]]) -> None:
        """Return once the Lease is held; `standing_by` is told who holds it instead, once per holder."""
        told = None
        while not await self._try():
            holder = str((self._lease.get("spec") or {}).get("holderIdentity") or "")
            if holder and holder != told:
                told = holder
                log.info("standing by: %s leads", holder)
                await standing_by(holder)
            await self._sleep(POLL_SECONDS)
        log.info("leading as %s", self._identity)

    async def hold(self, *, renewed: Callable[[], None] = lambda: None) -> None:
        """Keep the Lease.

        Raises
        ------
        LeadershipLost
            When it belongs to another, or could not be renewed in time.
        """
        last = self._clock()
        while True:
            await self._sleep(POLL_SECONDS)
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS):
                    await self._renew()
            except (ApiError, TimeoutError) as error:
                log.warning("renewing the lease failed: %s: %s", type(error).__name__, error)
                if self._clock() - last >= RENEW_SECONDS:
                    raise LeadershipLost(
                        f"the lease {self._name} could not be renewed for {RENEW_SECONDS:g} s"
                    ) from error
            else:
                last = self._clock()
                renewed()

    async def release(self) -> None:
        """Give the Lease back at an orderly end, so that a successor need not wait for it to run out."""
        try:
            await self._write({**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1})
        except (ApiError, KeyError) as error:
            log.info("the lease was not released: %s", error)

    async def _try(self) -> bool:
        try:
            self._lease = await self._client.get(LEASE, self._name, namespace=self._namespace)
        except NotFound:
            return await self._create()
        except ApiError as error:
            log.warning("reading the lease failed: %s", error)
            return False
        spec = self._lease.get("spec") or {}
        holder = spec.get("holderIdentity")
        if holder and holder != self._identity and not self._ran_out(spec):
            return False
        transitions = int(spec.get("leaseTransitions") or 0) + (holder != self._identity)
        moment = _micro_time(self._now())
        return await self._attempt_write(
            {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": LEASE_SECONDS,
                "acquireTime": moment,
                "renewTime": moment,
                "leaseTransitions": transitions,
            }
        )

    def _ran_out(self, spec: JsonObject) -> bool:
        sign = (spec.get("holderIdentity"), spec.get("renewTime"))
        if self._seen[0] != sign:
            self._seen = (sign, self._clock())
        return self._clock() - self._seen[1] >= float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)

    async def _create(self) -> bool:
        moment = _micro_time(self._now())
        body: JsonObject = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": LEASE_SECONDS,
                "acquireTime": moment,
                "renewTime": moment,
                "leaseTransitions": 0,
            },
        }
        try:
            self._lease = await self._client.create(LEASE, body)
        except AlreadyExists:
            return False
        except ApiError as error:
            log.warning("creating the lease failed: %s", error)
            return False
        return True

    async def _renew(self) -> None:
        try:
            await self._write({**self._lease["spec"], "renewTime": _micro_time(self._now())})
        except (Conflict, NotFound):
            # An earlier renewal may have worked without its answer arriving: who holds it now decides.
            self._lease = await self._client.get(LEASE, self._name, namespace=self._namespace)
            holder = (self._lease.get("spec") or {}).get("holderIdentity")
            if holder != self._identity:
                raise LeadershipLost(f"the lease {self._name} is held by {holder or 'nobody'}") from None

    async def _attempt_write(self, spec: JsonObject) -> bool:
        try:
            await self._write(spec)
        except ApiError as error:
            log.info("the lease was not taken: %s", error)
            return False
        return True

    async def _write(self, spec: JsonObject) -> None:
        self._lease = await self._client.replace(LEASE, {**self._lease, "spec": spec})


async def mark_pod(client: Client, *, namespace: str, pod: str, leads: bool) -> None:
    """Let the gateway's Service find the operator's own pod, or no longer: it selects the leader's label."""
    patch: JsonObject = {"metadata": {"labels": {LEADER_LABEL: "true" if leads else None}}}
    await client.patch(POD, pod, patch, namespace=namespace)


def _micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
