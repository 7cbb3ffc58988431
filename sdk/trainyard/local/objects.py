"""The objects of a folder: what an API server would keep, one file each."""

from __future__ import annotations

import copy
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from trainyard.errors import ConfigError, Conflict, Invalid, NotFound, Timeout
from trainyard.local.checking import parse
from trainyard.local.claims import claim, is_claimed, locked
from trainyard.local.clearing import clear_run
from trainyard.local.console import LocalApi
from trainyard.local.home import Home
from trainyard.local.launching import launch
from trainyard.remote.api import JsonObject
from trainyard.remote.objects import API_VERSION, COMPUTE_CLUSTERS, REGISTERED_MODELS, TRAINING_JOBS, Objects
from trainyard.remote.view import has_ended
from trainyard_operator.api.source import DEFAULT_ENTRY_SCRIPT
from trainyard_operator.api.training_job import DEFAULT_EXPERIMENT

KINDS: Final = {TRAINING_JOBS: "TrainingJob", REGISTERED_MODELS: "RegisteredModel"}
NO_TARGETS: Final = "there are no compute targets without a cluster: leave compute_target out, or give 'local'"
# What an API server would write into a spec that does not say it, as far as others than the operator read it.
DEFAULTS: Final = {"experiment": DEFAULT_EXPERIMENT, "entryScript": DEFAULT_ENTRY_SCRIPT}
LOOK_SECONDS: Final = 0.2
DELETE_SECONDS: Final = 120.0
MAX_RUN_NAME: Final = 52
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class LocalObjects(Objects):
    """The objects of one namespace of a folder, with the interface of those of a cluster.

    Parameters
    ----------
    home
        The folder.
    namespace
        The namespace: a part of the folder with data, runs and models of its own.
    """

    def __init__(self, home: Home, *, namespace: str) -> None:
        if not _NAME.fullmatch(namespace):
            raise ConfigError(f"the name {namespace!r} is no name of a workspace: give letters, digits and '-'")
        self.home = home
        self.namespace = namespace
        self._folder = home.objects(namespace)
        self.local_api = LocalApi(home, self)
        # What shows logs asks this for them, as it asks an API server.
        self.api: Any = self.local_api

    def get(self, plural: str, name: str) -> JsonObject:
        """Return an object; a run whose process is gone has failed."""
        found = self.read(plural, name)
        if plural == TRAINING_JOBS and not has_ended(found) and not is_claimed(self.claim_of(found)):
            found = self._lost(name)
        return found

    def list(self, plural: str, *, field_selector: str = "") -> list[JsonObject]:
        """Return all objects of a kind, or those that `field_selector` selects, as in ``spec.experiment=digits``."""
        found = (self.get(plural, name) for name in self.names(plural))
        return [document for document in found if selects(field_selector, document)]

    def names(self, plural: str) -> Sequence[str]:
        """Return the names of all objects of a kind."""
        return sorted(path.stem for path in (self._folder / plural).glob("*.json"))

    def create(self, plural: str, document: JsonObject) -> JsonObject:
        """Keep a new object; a TrainingJob begins to run.

        Raises
        ------
        Conflict
            If there is one of that name.
        Invalid
            If it cannot work: the message names the field.
        """
        created, claimed = self.add(plural, document)
        if claimed is not None:
            launch(self.home, self.namespace, created["metadata"]["name"], claimed)
        self._settle(plural, created["metadata"]["name"])
        return self.read(plural, created["metadata"]["name"])

    def add(self, plural: str, document: JsonObject) -> tuple[JsonObject, int | None]:
        """Keep a new object, and return it with the lock of whoever is to carry it out, if it is a run."""
        whole = self._checked(plural, document)
        name = whole["metadata"]["name"]
        with self.locked():
            if self._file(plural, name).exists():
                raise Conflict(f'{plural} "{name}" already exists')
            claimed = claim(self.claim_of(whole)) if plural == TRAINING_JOBS else None
            self._write(plural, whole)
        return whole, claimed

    def patch(self, plural: str, name: str, change: JsonObject) -> JsonObject:
        """Merge `change` into an object, and return it."""
        with self.locked():
            found = self.read(plural, name)
            expected = (change.get("metadata") or {}).get("resourceVersion")
            if expected not in {None, found["metadata"]["resourceVersion"]}:
                raise Conflict(f'{plural} "{name}" was changed meanwhile')
            kept = {key: value for key, value in change.items() if key in {"spec", "metadata"}}
            changed = merged(found, kept)
            if plural == TRAINING_JOBS:
                parse(changed["spec"])
            changed["metadata"] |= {key: found["metadata"][key] for key in ("name", "namespace", "uid")}
            changed["metadata"]["generation"] += changed["spec"] != found["spec"]
            self._write(plural, changed)
        self._settle(plural, name)
        return self.read(plural, name)

    def write_status(self, plural: str, name: str, status: Mapping[str, Any]) -> JsonObject:
        """Write the status of an object, which only whoever carries it out does."""
        with self.locked():
            found = self.read(plural, name)
            self._write(plural, {**found, "status": dict(status)})
        return self.read(plural, name)

    def delete(self, plural: str, name: str) -> None:
        """Delete an object; a run is stopped first, and its data goes where its `deletionPolicy` says so."""
        try:
            found = self.read(plural, name)
        except NotFound:
            return
        if plural == TRAINING_JOBS:
            self._stop(name)
        with self.locked():
            self._file(plural, name).unlink(missing_ok=True)
        if plural == TRAINING_JOBS:
            clear_run(self.home, found)

    def watch(self, plural: str, name: str, *, timeout: float | None = None) -> Iterator[JsonObject]:
        """Yield an object as it is now, and again whenever it has changed."""
        end = None if timeout is None else time.monotonic() + timeout
        seen = ""
        while True:
            found = self.get(plural, name)
            if found["metadata"]["resourceVersion"] != seen:
                seen = found["metadata"]["resourceVersion"]
                yield found
            if end is not None and time.monotonic() >= end:
                raise Timeout(f"{plural}/{name} is not there yet after {timeout:g} s; it goes on by itself")
            time.sleep(LOOK_SECONDS)

    def require_trainyard(self) -> None:
        """Do nothing: a folder has all that it takes."""

    def locked(self) -> Any:
        """Return what keeps others from changing an object of the namespace meanwhile."""
        return locked(self._folder / ".lock")

    def claim_of(self, job: Mapping[str, Any]) -> Path:
        """Return the lock that whoever carries out a run has."""
        return self.home.work(job["metadata"]["uid"]) / "lock"

    def changed(self, plural: str, name: str) -> Callable[[], bool]:
        """Return what says whether an object was written since it was asked last."""
        path, seen = self._file(plural, name), (-1, -1)

        def look() -> bool:
            nonlocal seen
            try:
                about = path.stat()
                now = (about.st_mtime_ns, about.st_ino)
            except OSError:
                now = (0, 0)
            before, seen = seen, now
            return before != now

        return look

    def _checked(self, plural: str, document: JsonObject) -> JsonObject:
        if plural == COMPUTE_CLUSTERS or plural not in KINDS:
            raise ConfigError(NO_TARGETS)
        metadata = document.get("metadata") or {}
        name = metadata.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise Invalid(f"metadata.name is {name!r}: give small letters, digits, '-' and '.', with one at both ends")
        if plural == TRAINING_JOBS:
            if len(name) > MAX_RUN_NAME:
                raise Invalid(f"metadata.name has {len(name)} characters: at most {MAX_RUN_NAME} are possible")
            parse(document.get("spec"))
        defaults = DEFAULTS if plural == TRAINING_JOBS else {}
        kept = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
        return {
            "apiVersion": API_VERSION,
            "kind": KINDS[plural],
            "metadata": {
                **copy.deepcopy(kept),
                "name": name,
                "namespace": self.namespace,
                "uid": str(uuid.uuid4()),
                "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "generation": 1,
                "resourceVersion": "0",
            },
            "spec": {**defaults, **copy.deepcopy(document.get("spec") or {})},
        }

    def _file(self, plural: str, name: str) -> Path:
        return self._folder / plural / f"{name}.json"

    def read(self, plural: str, name: str) -> JsonObject:
        """Return an object as it is written, whatever became of the process of a run."""
        if not _NAME.fullmatch(name):
            raise NotFound(f'{plural} "{name}" not found in {self.home.folder}')
        try:
            found: JsonObject = json.loads(self._file(plural, name).read_bytes())
        except FileNotFoundError:
            raise NotFound(f'{plural} "{name}" not found in {self.home.folder}') from None
        return found

    def _write(self, plural: str, document: JsonObject) -> None:
        metadata = document["metadata"]
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        content = json.dumps(document, indent=1, ensure_ascii=False).encode(errors="surrogatepass")
        self.home.write(self._file(plural, metadata["name"]), content)

    def _settle(self, plural: str, name: str) -> None:
        """Do at once what an operator does in the background."""
        if plural == REGISTERED_MODELS:
            from trainyard.local.registry import settle

            settle(self, name)
        elif has_ended(self.get(plural, name)):
            from trainyard.local.concluding import register_later

            register_later(self, name)

    def _lost(self, name: str) -> JsonObject:
        """Write down that a run's process is gone, unless another process has just done that, or it has ended."""
        found = self.read(TRAINING_JOBS, name)
        number = claim(self.claim_of(found))
        if number is None:
            return found
        try:
            found = self.read(TRAINING_JOBS, name)
            if has_ended(found):
                return found
            from trainyard.local.concluding import lost

            return self.write_status(TRAINING_JOBS, name, lost(found))
        finally:
            os.close(number)

    def _stop(self, name: str) -> None:
        if has_ended(self.get(TRAINING_JOBS, name)):
            return
        self.patch(TRAINING_JOBS, name, {"spec": {"cancel": True}})
        for job in self.watch(TRAINING_JOBS, name, timeout=DELETE_SECONDS):
            if has_ended(job):
                return


def selects(field_selector: str, document: Mapping[str, Any]) -> bool:
    """Return whether an object has the values of a field selector; a field that is not there is the empty text."""
    for term in filter(None, field_selector.split(",")):
        path, _, wanted = term.partition("=")
        found: Any = document
        for part in path.split("."):
            found = found.get(part, "") if isinstance(found, Mapping) else ""
        if str(found) != wanted:
            return False
    return True


def merged(target: Any, change: Any) -> Any:
    """Return `target` with the merge patch `change` (RFC 7386)."""
    if not isinstance(change, Mapping):
        return copy.deepcopy(change)
    found = dict(target) if isinstance(target, Mapping) else {}
    for name, value in change.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found
