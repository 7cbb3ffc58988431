"""Whose token it is, asked of the API server and remembered for a short while."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from trainyard.contract import TOKEN_AUDIENCE
from trainyard_operator.api.names import TOKEN_REVIEW
from trainyard_operator.gateway.ports import Identity, TokenReviewer
from trainyard_operator.gateway.remembered import Remembered
from trainyard_operator.kube.client import Client

MAX_TOKEN_CHARS = 16_384
VALID_SECONDS = 60.0
# Long enough that a broken client in a loop costs the API server little, short enough that no mistake lasts.
INVALID_SECONDS = 5.0

_USER_PREFIX = "system:serviceaccount:"
_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"


class KubeTokenReviewer:
    """`TokenReviewer` by TokenReview, for tokens of the audience ``trainyard``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def review(self, token: str) -> Identity | None:
        """Return whom `token` speaks for, None where the API server does not accept it for this audience."""
        request = {
            "apiVersion": TOKEN_REVIEW.api_version,
            "kind": TOKEN_REVIEW.kind,
            "metadata": {},
            "spec": {"token": token, "audiences": [TOKEN_AUDIENCE]},
        }
        answer = await self._client.create(TOKEN_REVIEW, request)
        return identity_of(answer.get("status") or {})


def identity_of(status: Mapping[str, Any]) -> Identity | None:
    """Return the service account of a TokenReview's status, None where the token is not valid or not one of those."""
    # An API server that knows no audiences leaves them out of its answer; its yes would be worth nothing.
    if status.get("authenticated") is not True or TOKEN_AUDIENCE not in (status.get("audiences") or ()):
        return None
    user = status.get("user") or {}
    parts = str(user.get("username", "")).removeprefix(_USER_PREFIX).split(":")
    if not str(user.get("username", "")).startswith(_USER_PREFIX) or len(parts) != 2 or not all(parts):  # noqa: PLR2004
        return None
    extra = user.get("extra") or {}
    return Identity(
        namespace=parts[0],
        service_account=parts[1],
        pod_name=_first(extra.get(_POD_NAME)),
        pod_uid=_first(extra.get(_POD_UID)),
    )


class CachedReviewer:
    """`TokenReviewer` that asks another one at most once a minute for each token, and keeps digests, not tokens."""

    def __init__(
        self,
        inner: TokenReviewer,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._inner = inner
        self._wall_clock = wall_clock
        self._known: Remembered[bytes, Identity | None] = Remembered(clock=clock)

    async def review(self, token: str) -> Identity | None:
        """Return whom `token` speaks for, None where it is not valid."""
        if not token or len(token) > MAX_TOKEN_CHARS or not token.isascii():
            return None
        digest = hashlib.sha256(token.encode()).digest()

        def seconds(identity: Identity | None) -> float:
            return INVALID_SECONDS if identity is None else min(VALID_SECONDS, self._left(token))

        return await self._known.answer(digest, ask=lambda: self._inner.review(token), seconds=seconds)

    def _left(self, token: str) -> float:
        # The API server has just checked this token's signature, so what it says of its own end is true.
        try:
            payload = token.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            return float(claims["exp"]) - self._wall_clock()
        except (IndexError, KeyError, TypeError, ValueError):
            return 0.0


def _first(values: object) -> str | None:
    return str(values[0]) if isinstance(values, list) and values else None
