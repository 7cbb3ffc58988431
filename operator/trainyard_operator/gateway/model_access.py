"""Who may read a model: whoever the cluster's RBAC lets get its RegisteredModel, asked and remembered for seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

from trainyard_operator.api.names import REGISTERED_MODEL, SUBJECT_ACCESS_REVIEW
from trainyard_operator.gateway.ports import AccessReviewer, Identity
from trainyard_operator.gateway.remembered import Remembered
from trainyard_operator.kube.client import Client

# A download of many pages asks once; a right that was taken away is gone after as long.
ALLOWED_SECONDS = 10.0
# Shorter: whoever has just written the missing Role tries again at once.
DENIED_SECONDS = 3.0


class KubeAccessReviewer:
    """`AccessReviewer` by SubjectAccessReview, so that the answer is whatever the cluster's authorizers say."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def may_get_model(self, identity: Identity, *, namespace: str, name: str) -> bool:
        """Return whether the identity's service account may get the RegisteredModel object `name`."""
        request = {
            "apiVersion": SUBJECT_ACCESS_REVIEW.api_version,
            "kind": SUBJECT_ACCESS_REVIEW.kind,
            "metadata": {},
            "spec": {
                "user": f"system:serviceaccount:{identity.namespace}:{identity.service_account}",
                # What the API server itself adds to every service account, and role bindings may name.
                "groups": [
                    "system:serviceaccounts",
                    f"system:serviceaccounts:{identity.namespace}",
                    "system:authenticated",
                ],
                "resourceAttributes": {
                    "verb": "get",
                    "group": REGISTERED_MODEL.group,
                    "version": REGISTERED_MODEL.version,
                    "resource": REGISTERED_MODEL.plural,
                    "namespace": namespace,
                    "name": name,
                },
            },
        }
        answer = await self._client.create(SUBJECT_ACCESS_REVIEW, request)
        status = answer.get("status") or {}
        return status.get("allowed") is True and status.get("denied") is not True


class CachedAccessReviewer:
    """`AccessReviewer` that asks another one at most once in some seconds for each account and model."""

    def __init__(self, inner: AccessReviewer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner = inner
        self._known: Remembered[tuple[str, str, str, str], bool] = Remembered(clock=clock)

    async def may_get_model(self, identity: Identity, *, namespace: str, name: str) -> bool:
        """Return whether the identity's service account may get the RegisteredModel object `name`."""
        key = (identity.namespace, identity.service_account, namespace, name)
        return await self._known.answer(
            key,
            ask=lambda: self._inner.may_get_model(identity, namespace=namespace, name=name),
            seconds=lambda allowed: ALLOWED_SECONDS if allowed else DENIED_SECONDS,
        )
