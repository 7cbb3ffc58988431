"""What this process knows of environments: which are there, what builds say, and which are about to be removed."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from packaging.version import Version

from trainyard_operator.api.environment import (
    Environment,
    environment_name,
    has_all,
    read_packages,
    read_requirements,
)
from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.names import ENVIRONMENT_HASH_ANNOTATION, JOB, POD, TRAINING_JOB
from trainyard_operator.api.reasons import EnvironmentState
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.admission import ENDED
from trainyard_operator.domain.attempts import has_finished
from trainyard_operator.domain.environment import EnvironmentRecord, Kept, Preparation
from trainyard_operator.domain.environment_build import BuildSettings, environment_of
from trainyard_operator.domain.plan import Seal
from trainyard_operator.domain.rerun import Repeated
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.runtime.index import Index, read_index
from trainyard_operator.runtime.store import Store
from trainyard_operator.settings import Settings
from trainyard_operator.storage import environments as kept
from trainyard_operator.storage import layout
from trainyard_operator.storage.errors import ManifestInvalid, StoreError
from trainyard_operator.storage.runs import kept_requirements
from trainyard_operator.storage.store import ObjectStore

JsonObject = dict[str, Any]
Key = tuple[str, str]  # namespace and hash

_REMEMBERED = 4096
COLLECT_SECONDS = 24 * 3600.0
# A start is a busy time, and a process that starts again and again should not do this each time.
FIRST_COLLECT_SECONDS = 600.0

log = logging.getLogger(__name__)


class EnvironmentBook:
    """The environments of all namespaces, as functions of the store and the object store."""

    def __init__(  # noqa: PLR0913 - what it knows, and what it decides by
        self,
        *,
        store: Store,
        objects: ObjectStore,
        settings: BuildSettings,
        trainer_image: str,
        bucket: str,
        index: Callable[[], Index],
        changed: Callable[[str, str], None] = lambda _namespace, _name: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._objects = objects
        self._settings = settings
        self._trainer_image = trainer_image
        self._bucket = bucket
        self._index = index
        self._changed = changed
        self._now = now
        self._records: OrderedDict[Key, EnvironmentRecord] = OrderedDict()
        self._said: OrderedDict[str, str] = OrderedDict()  # by the uid of the build's Job
        self._unusable: OrderedDict[str, str] = OrderedDict()
        self._touched: dict[Key, date] = {}
        self._condemned: set[Key] = set()
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    @property
    def settings(self) -> BuildSettings:
        """Where builds run, and what they may use."""
        return self._settings

    @property
    def index(self) -> Index:
        """Where packages come from now."""
        return self._index()

    async def preparation(
        self, run: Mapping[str, Any], spec: TrainingJobSpec, text: str | None
    ) -> Preparation | Failure | None:
        """Return how far the packages of a run are, None where it asks for none.

        Parameters
        ----------
        text
            The file that `spec.environment.requirements` names.
        """
        try:
            requirements = _requirements(spec, text)
        except SpecError as error:
            return Failure(reason=Reason.INVALID_SPEC, message=str(error))
        conda = spec.environment.conda
        if not (requirements or conda):
            return None
        environment = Environment(
            image=spec.environment.image or self._trainer_image,
            platform=self._settings.platform,
            requirements=requirements,
            index=self.index.digest,
            conda=conda,
            alias=self.index.channels.digest if conda else "",
        )
        digest, namespace = environment.hash, run["metadata"]["namespace"]
        known = Preparation(environment=environment, settings=self._settings)
        if conda is None and spec.environment.image is None and has_all(self._settings.packages, requirements):
            return _with(known, record=EnvironmentRecord(hash=digest, pack=None))
        job = self._store.get(JOB, namespace, environment.name)
        if job is not None and environment_of(job) != environment:
            job = None
        uid = job["metadata"]["uid"] if job else ""
        return _with(
            known,
            record=await self.record(namespace, digest),
            job=job,
            pods=self._store.children(POD, uid) if job else (),
            said=self._said.get(uid, ""),
            unusable=self._unusable.get(uid, ""),
            logs_uri=layout.uri(self._bucket, layout.environment_logs_prefix(namespace, digest)),
        )

    async def again(
        self, run: Mapping[str, Any], spec: TrainingJobSpec, repeated: Repeated
    ) -> Preparation | Kept | Failure | None:
        """Return the packages of a run that repeats another one: those of the other one, as long as they are kept."""
        digest, logs_uri = repeated.environment.get("hash"), repeated.environment.get("logUri", "")
        if digest is None:
            return None
        if not logs_uri:
            return Kept(record=EnvironmentRecord(hash=digest, pack=None))
        record = await self.record(run["metadata"]["namespace"], digest)
        if record is not None:
            return Kept(record=record, logs_uri=logs_uri)
        namespace = run["metadata"]["namespace"]
        text = await kept_requirements(self._objects, namespace, repeated.uid)
        if spec.environment.requirements is None or text is not None:
            return await self.preparation(run, spec, text)
        words = (
            f"spec.rerunOf: the packages of {repeated.name}, which its file {spec.environment.requirements} lists, are "
            "not kept any more: give this run a source with that file, and an environment, in place of spec.rerunOf"
        )
        return Failure(reason=Reason.ENVIRONMENT_NOT_RESTORED, message=words)

    async def record(self, namespace: str, digest: str) -> EnvironmentRecord | None:
        """Return what was written down of an environment, None where it cannot be used."""
        key = namespace, digest
        if key in self._condemned:
            return None
        found = self._records.get(key) or await kept.read_record(self._objects, namespace, digest)
        if found is None or key in self._condemned:
            return None
        _remember(self._records, key, found)
        return found

    async def seal(self, wish: Seal) -> None:
        """Write down what a build left; what cannot be used is remembered, for the runs that waited for it."""
        key = wish.namespace, wish.hash
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            if key in self._records:
                return
            try:
                found = await kept.seal(self._objects, wish.namespace, wish.hash, now=self._now())
            except ManifestInvalid as error:
                _remember(self._unusable, wish.job, str(error))
            else:
                _remember(self._records, key, found)

    async def touch(self, namespace: str, digest: str) -> None:
        """Note that an environment is used, once a day."""
        key, today = (namespace, digest), self._now().date()
        if self._touched.get(key) != today:
            await kept.touch(self._objects, namespace, digest, today)
            self._touched[key] = today

    def say(self, namespace: str, name: str, *, job: str, words: str) -> None:
        """Take in what the pod of a build says."""
        if self._said.get(job) != words:
            _remember(self._said, job, words)
            self._changed(namespace, name)

    def awaited(self, namespace: str, digest: str) -> bool:
        """Return whether a run waits for the build of an environment: this operator has then had it built."""
        return any(
            _environment(run) == {"hash": digest, "state": EnvironmentState.BUILDING.value}
            for run in self._store.list(TRAINING_JOB)
            if run["metadata"]["namespace"] == namespace and _phase(run) not in ENDED
        )

    async def collect(self, *, unused_days: int) -> int:
        """Remove what nobody has used for so long; return how many environments that were."""
        today = self._now().date()
        self._touched = {key: day for key, day in self._touched.items() if day == today}
        return await kept.collect(
            self._objects, today=today, unused_days=unused_days, condemn=self._condemn, pardon=self._pardon
        )

    async def keep_collecting(self, *, unused_days: int) -> None:
        """Collect once a day."""
        await asyncio.sleep(FIRST_COLLECT_SECONDS)
        while True:
            try:
                removed = await self.collect(unused_days=unused_days)
            except StoreError as error:
                log.warning("environments were not collected, trying again tomorrow: %s", error)
            else:
                log.info("removed %d environments that were not used for %d days", removed, unused_days)
            await asyncio.sleep(COLLECT_SECONDS)

    def _condemn(self, namespace: str, digest: str) -> bool:
        # No waiting between the look and the verdict: a run that is planned next builds its own.
        if self._needed(namespace, digest):
            return False
        self._records.pop((namespace, digest), None)
        self._condemned.add((namespace, digest))
        return True

    def _pardon(self, namespace: str, digest: str) -> None:
        self._condemned.discard((namespace, digest))

    def _needed(self, namespace: str, digest: str) -> bool:
        runs = self._store.list(TRAINING_JOB)
        if any(
            _environment(run).get("hash") == digest
            for run in runs
            if run["metadata"]["namespace"] == namespace and _phase(run) not in ENDED
        ):
            return True
        return any(
            job["metadata"]["name"] == environment_name(digest)
            or (job["metadata"].get("annotations") or {}).get(ENVIRONMENT_HASH_ANNOTATION) == digest
            for job in self._store.list(JOB)
            if job["metadata"]["namespace"] == namespace and not has_finished(job)
        )


def open_environments(
    *,
    store: Store,
    objects: ObjectStore,
    settings: Settings,
    changed: Callable[[str, str], None],
) -> EnvironmentBook:
    """Return the book of this process, as its settings have it."""
    return EnvironmentBook(
        store=store,
        objects=objects,
        settings=replace(settings.builds, packages=_packages(Path(settings.trainer_packages))),
        trainer_image=settings.trainer_image,
        bucket=settings.s3_bucket,
        index=partial(read_index, Path(settings.index_folder)),
        changed=changed,
    )


def _packages(path: Path) -> Mapping[str, tuple[Version, ...]]:
    try:
        return read_packages(path.read_text(encoding="utf-8").splitlines())
    except OSError as error:
        log.warning("what the trainer image has is not known, each requirement is looked up by a build: %s", error)
        return {}


def _requirements(spec: TrainingJobSpec, text: str | None) -> tuple[str, ...]:
    file = spec.environment.requirements
    if file is None:
        return spec.environment.pip
    field = "spec.environment.requirements"
    if text is None:
        raise SpecError(field, f"is {file!r}, which is no text in the source", "name a file of the source")
    return tuple(sorted({*spec.environment.pip, *read_requirements(text, file)}))


def _with(known: Preparation, **more: Any) -> Preparation:
    return Preparation(environment=known.environment, settings=known.settings, **more)


def _environment(run: Mapping[str, Any]) -> dict[str, Any]:
    found = (run.get("status") or {}).get("environment") or {}
    return {name: found[name] for name in ("hash", "state") if name in found}


def _phase(run: Mapping[str, Any]) -> str | None:
    phase: str | None = (run.get("status") or {}).get("phase")
    return phase


def _remember(known: OrderedDict[Any, Any], key: object, value: object) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > _REMEMBERED:
        known.popitem(last=False)
