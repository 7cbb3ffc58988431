"""Repeating a run: what another run's code, words and image were, taken down on the Job of the one that repeats it.

Until a rerun has its Job it waits for the other run, as any run waits for its ConfigMap. From then on it does not
matter what becomes of the other one, but for its code, which the rerun's pod copies when it first asks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainyard_operator.api.names import REPEATS_ANNOTATION
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.domain.admission import ENDED
from trainyard_operator.domain.run_ending import Failure

JsonObject = dict[str, Any]

# What makes a run the same run. Where it runs, and what is registered of it, are the new run's own.
TAKEN = ("entryScript", "parameters", "arguments", "inputs", "environment")
TAKEN_WHERE_ABSENT = ("resources",)
# All annotations of an object have 256 KiB.
MAX_NOTE_BYTES = 192 * 1024

Find = Callable[[str], Mapping[str, Any] | None]


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """The run that is repeated: which one it is, the digest of its code, and its spec with the image pinned.

    `environment` is what its status says of its packages: their hash, and where their logs are if they had a build.
    """

    name: str
    uid: str
    sha256: str
    spec: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)

    def note(self) -> str:
        """Return this as the annotation of a Job."""
        document = {"name": self.name, "uid": self.uid, "sha256": self.sha256, "spec": self.spec}
        if self.environment:
            document["environment"] = self.environment
        return json.dumps(document, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, kw_only=True)
class NotYet:
    """There is nothing to repeat yet; the message says what is waited for."""

    message: str


def read_note(job: Mapping[str, Any] | None) -> Repeated | None:
    """Return what a Job's annotation says that it repeats, None where it repeats nothing."""
    text = ((job or {}).get("metadata") or {}).get("annotations", {}).get(REPEATS_ANNOTATION)
    try:
        note = json.loads(text) if text else None
        if not note:
            return None
        environment = dict(note.get("environment") or {})
        return Repeated(
            name=note["name"], uid=note["uid"], sha256=note["sha256"], spec=note["spec"], environment=environment
        )
    except (AttributeError, ValueError, TypeError, KeyError):
        return None  # somebody else wrote it


def whole(run: Mapping[str, Any], repeated: object) -> Mapping[str, Any]:
    """Return `run` with what it takes from the run that it repeats, where that is known."""
    if not isinstance(repeated, Repeated):
        return run
    spec = {name: value for name, value in run["spec"].items() if name not in TAKEN}
    taken = {name: value for name, value in repeated.spec.items() if name not in TAKEN_WHERE_ABSENT or name not in spec}
    return {**run, "spec": {**spec, **taken}}


def look_up(
    run: Mapping[str, Any], *, find: Find, job_of: Callable[[str], Mapping[str, Any] | None]
) -> Repeated | NotYet | Failure | None:
    """Return what a run repeats, or why that cannot be said yet or ever; None where it repeats nothing.

    Parameters
    ----------
    find
        Gives the TrainingJob of a name in the run's namespace.
    job_of
        Gives the Job of the run with a uid.
    """
    return _look_up(run, find=find, job_of=job_of, seen=(run["metadata"]["name"],))


def _look_up(
    run: Mapping[str, Any], *, find: Find, job_of: Callable[[str], Mapping[str, Any] | None], seen: tuple[str, ...]
) -> Repeated | NotYet | Failure | None:
    name = run["spec"].get("rerunOf") if isinstance(run["spec"], Mapping) else None
    if not isinstance(name, str):
        return None
    if name in seen:
        words = f"spec.rerunOf: the runs {', '.join(seen)} repeat each other: give one of them a source"
        return Failure(reason=Reason.INVALID_SPEC, message=words)
    original = find(name)
    if original is None:
        where = run["metadata"].get("namespace")
        words = (
            f"there is no TrainingJob {name} in namespace {where}; the run starts when there is one that has started"
        )
        return NotYet(message=f"spec.rerunOf: {words}")
    before = read_note(job_of(original["metadata"]["uid"]))
    known = before or _look_up(original, find=find, job_of=job_of, seen=(*seen, name))
    if isinstance(known, NotYet | Failure):
        return known
    return _repeated(whole(original, known)) if isinstance(original["spec"], Mapping) else _nothing(name)


def _repeated(original: Mapping[str, Any]) -> Repeated | NotYet | Failure:
    meta, status = original["metadata"], original.get("status") or {}
    name, ended = meta["name"], status.get("phase") in ENDED
    sha256 = (status.get("source") or {}).get("sha256")
    environment = status.get("environment") or {}
    if ended and not isinstance(sha256, str):
        return _nothing(name)
    if not isinstance(sha256, str) or not (ended or "imageDigest" in environment):
        return NotYet(message=f"spec.rerunOf: {name} has not started yet; the run starts when that one has")
    spec = {name: original["spec"][name] for name in (*TAKEN, *TAKEN_WHERE_ABSENT) if name in original["spec"]}
    if "image" in environment:
        spec["environment"] = {**(spec.get("environment") or {}), "image": environment["image"]}
    packages = {part: environment[part] for part in ("hash", "logUri") if part in environment}
    found = Repeated(name=name, uid=meta["uid"], sha256=sha256, spec=spec, environment=packages)
    if len(found.note().encode()) > MAX_NOTE_BYTES:
        words = f"spec.rerunOf: parameters and arguments of {name} are too long to be taken over: repeat them here"
        return Failure(reason=Reason.INVALID_SPEC, message=words)
    return found


def _nothing(name: str) -> Failure:
    words = f"spec.rerunOf: {name} ended before its code was kept: give this run a source of its own"
    return Failure(reason=Reason.SOURCE_INVALID, message=words)
