"""What requirements files of sources list, which pods have read: once for each archive, once for each run from git."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from trainyard_operator.api.names import JOB, POD, TRAINING_JOB, reading_job_name
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.admission import ENDED
from trainyard_operator.domain.attempts import has_finished
from trainyard_operator.domain.conditions import find
from trainyard_operator.domain.environment import Reading
from trainyard_operator.domain.environment_build import BuildSettings
from trainyard_operator.runtime.store import Store
from trainyard_operator.storage.runs import kept_requirements
from trainyard_operator.storage.store import ObjectStore

JsonObject = dict[str, Any]
Content = tuple[str, str, str]  # namespace, digest of the archive or else uid of the run, file

_REMEMBERED = 256
# So long a run that was the first to ask may take to make the Job that reads.
_BEGIN_SECONDS = 10


class Listings:
    """The files by what they are in. What is forgotten is in the object store still, for the run that had it read."""

    def __init__(
        self,
        *,
        store: Store,
        objects: ObjectStore,
        settings: BuildSettings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._objects = objects
        self._settings = settings
        self._now = now
        self._texts: OrderedDict[Content, str] = OrderedDict()
        self._readers: OrderedDict[Content, tuple[str, datetime]] = OrderedDict()  # uid of the run, and since when

    async def find(self, run: Mapping[str, Any], spec: TrainingJobSpec) -> str | Reading:
        """Return the text of the file that `spec.environment.requirements` names, or how far its reading is."""
        meta, file = run["metadata"], spec.environment.requirements or ""
        archive = spec.source.archive if spec.source else None
        content = meta["namespace"], archive.sha256 if archive is not None else meta["uid"], file
        text = self._texts.get(content)
        if text is None:
            text = await kept_requirements(self._objects, meta["namespace"], meta["uid"])
        if text is not None:
            _remember(self._texts, content, text)
            return text
        job, other = self._job(run), None
        if job is None and (other := self._other(content, run)) is not None:
            job = self._job(other)
            if job is None or not has_finished(job):
                return Reading(file=file, settings=self._settings, by=other["metadata"]["name"])
        pods = self._store.children(POD, job["metadata"]["uid"]) if job else ()
        return Reading(file=file, settings=self._settings, job=job, pods=pods)

    def _other(self, content: Content, run: Mapping[str, Any]) -> JsonObject | None:
        """Return the run that reads `content`; from now on it is `run` where nobody does."""
        uid = run["metadata"]["uid"]
        reader, since = self._readers.get(content, (uid, self._now()))
        other = self._store.by_uid(TRAINING_JOB, reader) if reader != uid else None
        if other is not None and self._counts(other, since, born=run["metadata"]["creationTimestamp"]):
            return other
        _remember(self._readers, content, (uid, since if reader == uid else self._now()))
        return None

    def _counts(self, other: JsonObject, since: datetime, *, born: str) -> bool:
        """Return whether what another run reads is worth waiting for, or has failed while it was waited for."""
        job = self._job(other)
        failed = find(job.get("status") or {}, "Failed") if job is not None else None
        if failed is not None:
            return born <= str(failed.get("lastTransitionTime", ""))
        if (other.get("status") or {}).get("phase") in ENDED:
            return False
        if job is None:
            return self._now() - since < timedelta(seconds=_BEGIN_SECONDS)
        return not has_finished(job)

    def _job(self, run: Mapping[str, Any]) -> JsonObject | None:
        meta = run["metadata"]
        job = self._store.get(JOB, meta["namespace"], reading_job_name(meta["name"], meta["uid"]))
        owners = job["metadata"].get("ownerReferences") or () if job else ()
        return job if any(owner["uid"] == meta["uid"] for owner in owners) else None


def _remember(known: OrderedDict[Content, Any], content: Content, value: object) -> None:
    known[content] = value
    known.move_to_end(content)
    if len(known) > _REMEMBERED:
        known.popitem(last=False)
