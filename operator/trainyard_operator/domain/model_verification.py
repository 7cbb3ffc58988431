"""When a model's versions are verified, how far that is, and what becomes of those that are not what they were.

A sweep looks at the versions in the order of their numbers. `status.verification.running` says how far it is, so that
whoever goes on after a crash goes on there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from trainyard_operator.api.reasons import RegisteredModelReason as Reason
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.api.registered_model import VerificationSpec
from trainyard_operator.domain.conditions import parse_timestamp, shorten, timestamp
from trainyard_operator.domain.plan import Event, Inspection

JsonObject = dict[str, Any]

# Those of a model's status that are written here.
FIELDS = ("verification",)
RETRY_SECONDS = 30.0
# A thousand of them have to fit into the status beside all else.
MAX_VERSION_MESSAGE = 400
_CLOCKS_APART = timedelta(hours=1)
_LOOKED_AT = frozenset({VersionState.READY.value, VersionState.CORRUPTED.value})


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What came of an `Inspection`: a part of it, where there was too much of it or the store was in the way.

    Attributes
    ----------
    looked
        What is wrong with each version that was looked at, in the order of the numbers; empty where nothing is.
    complete
        Whether all versions of the inspection were looked at.
    trouble
        Why it ended early, or the empty string.
    """

    sweep: str
    after: int
    looked: Mapping[int, str]
    complete: bool
    at: datetime
    trouble: str = ""

    @property
    def reached(self) -> int:
        """The last version that was looked at."""
        return max(self.looked, default=self.after)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The piece of a model's plan that verification asks for; `status` has its fields of a model's status."""

    versions: list[JsonObject]
    status: JsonObject
    inspect: Inspection | None = None
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    request: str | None  # None where the schedule wants it
    id: str
    after: int
    versions: int
    begun: str | None
    done: str | None  # the request before


def plan_verification(  # noqa: PLR0913 - all that it is a function of
    *,
    spec: VerificationSpec,
    model_name: str,
    old: Mapping[str, Any] | None,
    versions: list[JsonObject],
    findings: Findings | None,
    now: datetime,
) -> Verification:
    """Return the versions as the findings leave them, how far the verification is, and its next step.

    Parameters
    ----------
    old
        `status.verification` as it is.
    versions
        The entries of `status.versions` as they are otherwise going to be.
    """
    known = dict(old or {})
    sweep = _sweep(spec, known, versions, now)
    if sweep is None:
        for name in ("running", "message"):
            known.pop(name, None)
        return Verification(versions=versions, status=_fields(known), requeue_after=_until_due(spec, known, now))
    if findings is not None and findings.sweep != sweep.id:
        findings = None
    if findings is not None and findings.after == sweep.after:
        versions = [_judged(entry, findings.looked) for entry in versions]
        if findings.complete:
            done = sweep.versions + len(findings.looked)
            return _finished(spec, sweep, versions, count=done, now=findings.at)
        known = _progressed(known, sweep, findings)
        sweep = _sweep(spec, known, versions, now) or sweep
    left = sorted(
        (entry["version"], entry.get("manifestSha256", ""))
        for entry in versions
        if _is_to_see(entry) and entry["version"] > sweep.after
    )
    if not left:
        return _finished(spec, sweep, versions, count=sweep.versions, now=now)
    events = _told(old or {}, known)
    wait = _wait(findings, sweep, now)
    if wait > 0:
        return Verification(versions=versions, status=_fields(known), events=events, requeue_after=wait)
    inspection = Inspection(
        sweep=sweep.id,
        after=sweep.after,
        model_name=model_name,
        versions=tuple(left),
        thorough=sweep.request is not None,
    )
    return Verification(versions=versions, status=_fields(known), events=events, inspect=inspection)


def _sweep(
    spec: VerificationSpec, known: Mapping[str, Any], versions: Iterable[Mapping[str, Any]], now: datetime
) -> _Sweep | None:
    """Return the sweep that is going or due, with how far it is."""
    running: Mapping[str, Any] | None = known.get("running")
    if spec.request is not None and spec.request != known.get("request"):
        request: str | None = spec.request
    elif not spec.every_hours or not any(map(_is_to_see, versions)):
        return None
    else:
        request, due = None, _until_due(spec, known, now)
        if due is not None and due > 0:
            return None
    if running is None or running.get("request") != request:
        running = {}
    return _Sweep(
        request=request,
        id=f"{'schedule' if request is None else 'request ' + request} after {known.get('time')}",
        after=running.get("after", 0),
        versions=running.get("versions", 0),
        begun=running.get("startTime"),
        done=known.get("request"),
    )


def _until_due(spec: VerificationSpec, known: Mapping[str, Any], now: datetime) -> float | None:
    """Return the seconds until the schedule wants a sweep, None where there is no schedule or nothing to wait for."""
    if not spec.every_hours or "time" not in known:
        return None
    last = parse_timestamp(known["time"])
    if last - now > _CLOCKS_APART:
        return 0.0  # written by a clock that was wrong, which must not put verification off for years
    return max(0.0, (last + timedelta(hours=spec.every_hours) - now).total_seconds())


def _is_to_see(entry: Mapping[str, Any]) -> bool:
    return entry["state"] in _LOOKED_AT


def _judged(entry: JsonObject, looked: Mapping[int, str]) -> JsonObject:
    # One that was archived or deleted in the meantime has no files that could be wrong.
    if entry["version"] not in looked or not _is_to_see(entry):
        return entry
    wrong = looked[entry["version"]]
    if wrong:
        return {**entry, "state": VersionState.CORRUPTED.value, "message": shorten(wrong, MAX_VERSION_MESSAGE)}
    if entry["state"] == VersionState.READY:
        return entry
    return {name: value for name, value in entry.items() if name != "message"} | {"state": VersionState.READY.value}


def _progressed(known: JsonObject, sweep: _Sweep, findings: Findings) -> JsonObject:
    running: JsonObject = {
        "startTime": sweep.begun or timestamp(findings.at),
        "after": findings.reached,
        "versions": sweep.versions + len(findings.looked),
    }
    if sweep.request is not None:
        running["request"] = sweep.request
    progressed = {**known, "running": running}
    progressed.pop("message", None)
    if findings.trouble:
        progressed["message"] = shorten(
            f"the states of versions are left as they are, and it is tried again: {findings.trouble}"
        )
    return progressed


def _finished(
    spec: VerificationSpec, sweep: _Sweep, versions: list[JsonObject], *, count: int, now: datetime
) -> Verification:
    request = sweep.request if sweep.request is not None else sweep.done
    status: JsonObject = {
        **({} if request is None else {"request": request}),
        "time": timestamp(now),
        "versions": count,
        "corrupted": sum(entry["state"] == VersionState.CORRUPTED for entry in versions),
    }
    return Verification(versions=versions, status=_fields(status), requeue_after=_until_due(spec, status, now))


def _fields(verification: JsonObject) -> JsonObject:
    return {"verification": verification} if verification else {}


def _told(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Event, ...]:
    if "message" not in new or "message" in old:
        return ()
    return (Event(type="Warning", reason=Reason.VERIFICATION_INTERRUPTED.value, message=new["message"]),)


def _wait(findings: Findings | None, sweep: _Sweep, now: datetime) -> float:
    """Return how long the store is left in peace after trouble with it."""
    if findings is None or not findings.trouble or findings.reached != sweep.after:
        return 0.0
    return RETRY_SECONDS - (now - findings.at).total_seconds()
