"""Kubernetes Events that tell a story once.

An Event's name is a function of what it says, so that saying it again, after a crash or by a second reconcile, is an
`AlreadyExists` and no repetition.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import OrderedDict
from datetime import datetime
from typing import Any

from trainyard_operator.api.names import EVENT, Kind
from trainyard_operator.domain.conditions import shorten, timestamp
from trainyard_operator.domain.plan import Event
from trainyard_operator.kube.client import Client
from trainyard_operator.kube.errors import AlreadyExists

JsonObject = dict[str, Any]

COMPONENT = "trainyard-operator"
_REMEMBERED = 4096
_NAME_ROOM = 220  # of the 253 characters that a name may have
_MESSAGE_CHARS = 1024


class EventPoster:
    """Posts Events, and remembers which it has posted."""

    def __init__(self, *, client: Client) -> None:
        self._client = client
        self._posted: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def post(self, kind: Kind, obj: JsonObject, event: Event, *, now: datetime) -> None:
        """Post `event` about `obj`, unless it was posted before."""
        body = build_event(kind, obj, event, now=now)
        said = (body["metadata"]["namespace"], body["metadata"]["name"])
        if said in self._posted:
            return
        with contextlib.suppress(AlreadyExists):
            await self._client.create(EVENT, body)
        self._posted[said] = None
        if len(self._posted) > _REMEMBERED:
            self._posted.popitem(last=False)


def build_event(kind: Kind, obj: JsonObject, event: Event, *, now: datetime) -> JsonObject:
    """Return the Event object that says `event` of `obj`."""
    metadata = obj["metadata"]
    said = "\0".join((metadata["uid"], event.type, event.reason, event.message, event.occasion))
    digest = hashlib.sha256(said.encode(errors="surrogatepass")).hexdigest()[:16]
    namespace = metadata.get("namespace") or "default"
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": f"{metadata['name'][:_NAME_ROOM]}.{digest}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
        "type": event.type,
        "reason": event.reason,
        "message": shorten(event.message, _MESSAGE_CHARS),
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "count": 1,
    }
