"""The objects of one namespace: Trainyard's own kinds as dictionaries, and the few others that runs need."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from trainyard.contract import GROUP
from trainyard.errors import Conflict, NotFound, NotInstalled, Timeout, Unreachable
from trainyard.remote.api import ANSWER_SECONDS, JSON, MERGE_PATCH, METADATA, Api, JsonObject

API_VERSION: Final = f"{GROUP}/v1alpha1"
TRAINING_JOBS: Final = "trainingjobs"
COMPUTE_CLUSTERS: Final = "computeclusters"
REGISTERED_MODELS: Final = "registeredmodels"
PAGE: Final = 500
# A watch is begun anew after this long, so that one that died silently is noticed.
WATCH_SECONDS: Final = 60
RECONNECT_SECONDS: Final = 1.0
UPDATE_TRIES: Final = 10


class Objects:
    """The objects of a namespace.

    Parameters
    ----------
    api
        The API server.
    namespace
        The namespace, which is what Azure ML calls a workspace.
    """

    def __init__(self, api: Api, *, namespace: str) -> None:
        self.api = api
        self.namespace = namespace

    def get(self, plural: str, name: str) -> JsonObject:
        """Return an object.

        Raises
        ------
        NotFound
            If there is none.
        """
        return self.api.request("GET", f"{self._path(plural)}/{name}")

    def list(self, plural: str, *, field_selector: str = "") -> list[JsonObject]:
        """Return all objects of a kind, or those that `field_selector` selects, page by page."""
        return [*self._pages(plural, accept=JSON, field_selector=field_selector)]

    def names(self, plural: str) -> Sequence[str]:
        """Return the names of all objects of a kind, without fetching the objects."""
        return [found["metadata"]["name"] for found in self._pages(plural, accept=METADATA)]

    def _pages(self, plural: str, *, accept: str, field_selector: str = "") -> Sequence[JsonObject]:
        found: list[JsonObject] = []
        token = ""
        while True:
            given = {"fieldSelector": field_selector, "continue": token}
            query = {"limit": PAGE, **{name: value for name, value in given.items() if value}}
            answer = self.api.request("GET", self._path(plural), query=query, accept=accept)
            # Where there is nothing, a list of names alone has null here.
            found += answer["items"] or ()
            token = answer["metadata"].get("continue", "")
            if not token:
                return found

    def create(self, plural: str, document: JsonObject) -> JsonObject:
        """Create an object, and return it as the API server keeps it.

        Raises
        ------
        Conflict
            If there is one of that name.
        Invalid
            If the API server finds something wrong, in its words.
        """
        return self.api.request("POST", self._path(plural), body=document)

    def patch(self, plural: str, name: str, change: JsonObject) -> JsonObject:
        """Merge `change` into an object, and return it."""
        return self.api.request("PATCH", f"{self._path(plural)}/{name}", body=change, content_type=MERGE_PATCH)

    def update(self, plural: str, name: str, change_of: Any) -> JsonObject:
        """Merge what `change_of` makes of the object as it is, and lose nothing that others write meanwhile.

        `change_of` returns None where nothing is to be done.
        """
        for _ in range(UPDATE_TRIES):
            found = self.get(plural, name)
            change = change_of(found)
            if change is None:
                return found
            metadata = {**change.get("metadata", {}), "resourceVersion": found["metadata"]["resourceVersion"]}
            try:
                return self.patch(plural, name, {**change, "metadata": metadata})
            except Conflict:
                continue
        raise Conflict(f"{plural}/{name} is changed by others all the time: try again")

    def delete(self, plural: str, name: str) -> None:
        """Delete an object; one that is not there is deleted already."""
        try:
            self.api.request("DELETE", f"{self._path(plural)}/{name}")
        except NotFound:
            return

    def watch(self, plural: str, name: str, *, timeout: float | None = None) -> Iterator[JsonObject]:
        """Yield an object as it is now, and again whenever it changes, over lost connections.

        Raises
        ------
        NotFound
            If it is not there, or somebody deletes it.
        Timeout
            If `timeout` seconds are over.
        """
        end = None if timeout is None else time.monotonic() + timeout
        seen, at = self._look(plural, name)
        if seen is None:
            # Says in the API server's words that there is none.
            seen = self.get(plural, name)
        yield seen
        while True:
            left = WATCH_SECONDS if end is None else min(WATCH_SECONDS, end - time.monotonic())
            if left <= 0:
                raise Timeout(f"{plural}/{name} is not there yet after {timeout:g} s; it goes on by itself")
            try:
                if not at:
                    found, at = self._look(plural, name)
                    if found is None:
                        raise NotFound(f"{plural}/{name} was deleted")
                    if found["metadata"]["resourceVersion"] != seen["metadata"]["resourceVersion"]:
                        seen = found
                        yield seen
                for seen in self._watch_once(plural, name, at=at, seconds=left):
                    yield seen
            except Unreachable:
                time.sleep(RECONNECT_SECONDS)
            at = ""

    def _look(self, plural: str, name: str) -> tuple[JsonObject | None, str]:
        """Return an object, if it is there, and the version of the cluster's state that a watch goes on from.

        The object's own version may be too old for that, and a watch from none says nothing of what was deleted before.
        """
        answer = self.api.request("GET", self._path(plural), query={"fieldSelector": f"metadata.name={name}"})
        return next(iter(answer["items"]), None), answer["metadata"]["resourceVersion"]

    def _watch_once(self, plural: str, name: str, *, at: str, seconds: float) -> Iterator[JsonObject]:
        whole = max(1, round(seconds))
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": at,
            "timeoutSeconds": whole,
        }
        with self.api.stream("GET", self._path(plural), query=query, seconds=whole + ANSWER_SECONDS) as response:
            for line in lines_of(response):
                event = json.loads(line)
                if event["type"] == "DELETED":
                    raise NotFound(f"{plural}/{name} was deleted")
                if event["type"] == "ERROR":
                    time.sleep(RECONNECT_SECONDS)
                    return
                yield event["object"]

    def require_trainyard(self) -> None:
        """Raise a `NotInstalled` unless the cluster knows Trainyard's kinds."""
        try:
            self.api.request("GET", self._path(TRAINING_JOBS), query={"limit": 1})
        except NotFound as error:
            raise NotInstalled(
                f"the cluster {self.api.address} does not know {TRAINING_JOBS} of {GROUP}: is this the right cluster? "
                "If so, install Trainyard with its Helm chart"
            ) from error

    def _path(self, plural: str) -> str:
        return f"/apis/{API_VERSION}/namespaces/{self.namespace}/{plural}"


def lines_of(response: Any) -> Iterator[bytes]:
    """Return the lines of a response as they come, the last one also where no newline ends it."""
    rest = b""
    for chunk in response.stream(amt=None):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest
