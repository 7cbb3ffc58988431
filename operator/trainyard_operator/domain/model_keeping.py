"""Laying versions aside, deleting them, and keeping the status of a model small.

A version is deleted in steps, each of which may be the last one of a process: the status says Deleting, then the files
go, then it says Deleted. From the first on nothing brings the version back, and no alias can name it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trainyard.contract import canonical_json
from trainyard_operator.api.model_keeping import KeepingSpec
from trainyard_operator.api.reasons import RegisteredModelCondition as Type
from trainyard_operator.api.reasons import RegisteredModelReason as Reason
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.domain.conditions import Condition, find, timestamp
from trainyard_operator.domain.model_retention import ReadyVersion, Verdict, judge, ready_versions
from trainyard_operator.domain.plan import Event, VersionClearing, VersionFiling

JsonObject = dict[str, Any]

# The status keeps the newest entries; what is older leaves it in one go, so that the archive is written seldom.
MOST_RECENT = 200
LEAST_RECENT = 100
MOST_BYTES = 512 << 10
# So many versions of a rule are under way at once; the next ones follow.
BATCH = 20
SHOWN = 100
NAMED = 5
HELD_SECONDS = 3600.0
RULE = "retention"

GOING = frozenset({VersionState.DELETING.value, VersionState.DELETED.value})
ASIDE = GOING | {VersionState.ARCHIVED.value}
# What only a version with files has; the manifest, which stays, tells the rest.
_LOST = frozenset({"uri", "files", "bytes", "metrics", "tags", "description", "message"})


@dataclass(frozen=True, kw_only=True)
class KeepingView:
    """What is known of the versions that somebody or some rule asks for.

    `recalled` are entries of the archive; `free` may be deleted, `held` says why the store does not let it; `cleared`
    have no file any more, `trouble` says why they still have; `older` are the Ready versions in the archive, known
    where there is a rule.
    """

    archive_uri: str = ""
    recalled: Mapping[int, JsonObject] = field(default_factory=dict)
    free: frozenset[int] = frozenset()
    held: Mapping[int, str] = field(default_factory=dict)
    cleared: frozenset[int] = frozenset()
    trouble: Mapping[int, str] = field(default_factory=dict)
    older: Sequence[ReadyVersion] = ()


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """The piece of a model's plan that this module decides; `fields` are of the status, None removes one."""

    versions: list[JsonObject]
    fields: Mapping[str, Any] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    events: tuple[Event, ...] = ()
    clear: tuple[VersionClearing, ...] = ()
    file: tuple[VersionFiling, ...] = ()
    requeue_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Refusal:
    reason: Reason
    message: str


def aliases_of(parent: Mapping[str, Any]) -> dict[int, str]:
    """Return the versions that have an alias, as wish or as fact, each with one of its names."""
    found = {}
    for part in (parent.get("spec"), parent.get("status")):
        aliases = part.get("aliases") if isinstance(part, Mapping) else None
        for name, target in aliases.items() if isinstance(aliases, Mapping) else ():
            number = target.get("version") if isinstance(target, Mapping) else target
            if isinstance(number, int):
                found[number] = str(name)
    return found


def named_versions(parent: Mapping[str, Any], spec: KeepingSpec) -> frozenset[int]:
    """Return the versions whose entries have to be in the status because somebody names them."""
    return frozenset({*spec.archive, *spec.delete, *aliases_of(parent)})


def verdict(
    parent: Mapping[str, Any],
    spec: KeepingSpec,
    entries: Iterable[Mapping[str, Any]],
    older: Sequence[ReadyVersion],
    now: datetime,
) -> Verdict:
    """Return what the rule of a model deletes of `entries`, and of the versions in the archive."""
    if spec.retention is None:
        return Verdict()
    shown = {entry["version"]: entry for entry in entries}
    # What is to be laid aside is not among those that the rule is about, from the moment that somebody wishes it.
    ready = [
        one
        for one in (*ready_versions(shown.values()), *(one for one in older if one.version not in shown))
        if one.version not in spec.archive
    ]
    return judge(spec.retention, ready, aliased=aliases_of(parent), now=now)


def with_returned(versions: Iterable[JsonObject], spec: KeepingSpec, view: KeepingView) -> list[JsonObject]:
    """Return the entries with those that come back from the archive, and those that are not laid aside any more."""
    entries = {entry["version"]: entry for entry in versions}
    entries |= {number: dict(entry) for number, entry in view.recalled.items() if number not in entries}
    return [
        {**entry, "state": VersionState.READY.value}
        if entry["state"] == VersionState.ARCHIVED and number not in spec.archive
        else entry
        for number, entry in sorted(entries.items())
    ]


def keep(  # noqa: PLR0913 - all that decides what becomes of versions
    *,
    parent: Mapping[str, Any],
    spec: KeepingSpec,
    versions: Sequence[JsonObject],
    aliases: Mapping[str, Any],
    wished: Collection[str],
    view: KeepingView,
    now: datetime,
) -> Keeping:
    """Return the entries as they are to be, and the next step of those that are to go.

    Parameters
    ----------
    versions
        What `with_returned` gave.
    aliases
        What the aliases mean from now on.
    wished
        Keys of versions that the spec itself asks for: as long as it does, their entries stay.
    """
    old: Mapping[str, Any] = parent.get("status") or {}
    before: Sequence[Mapping[str, Any]] = old.get("versions") or ()
    parent = {**parent, "status": {**old, "aliases": aliases}}
    aliased = aliases_of(parent)
    entries = {entry["version"]: entry for entry in versions}
    recalled = entries.keys() - {entry["version"] for entry in before}
    rule = verdict(parent, spec, entries.values(), view.older, now)
    refusals = [*_refused_wishes(spec, entries, aliased, _name(parent)), *_store_refusals(spec, entries, view, rule)]
    doomed = _doomed(parent, spec, entries, view, rule)
    kept = [
        _tombstone(entry) if number in view.cleared else _next(entry, spec, aliased, doomed, now)
        for number, entry in sorted(entries.items())
    ]
    clear = tuple(
        VersionClearing(model_name=_name(parent), version=entry["version"], tombstone=_tombstone(entry))
        for entry in kept
        if entry["state"] == VersionState.DELETING
    )
    # What changes is told before it leaves the status.
    quiet = kept == list(before) and aliases == (old.get("aliases") or {})
    named = named_versions(parent, spec) | {entry["version"] for entry in kept if entry["key"] in wished}
    movable = _to_file(kept, named)
    filed = movable if quiet else []
    gone = {entry["version"] for entry in filed}
    # Nobody tells the operator of what it wrote itself.
    unfinished = not quiet and bool(movable or spec != KeepingSpec())
    waits = [*([HELD_SECONDS] if view.held else []), *([0.0] if unfinished else [])]
    if rule.again is not None:
        waits.append(rule.again)
    return Keeping(
        versions=[entry for entry in kept if entry["version"] not in gone],
        fields={
            **_archived(parent, more=len(filed) - len(recalled), uri=view.archive_uri),
            "retention": _preview(spec, rule),
        },
        conditions=_conditions(refusals),
        events=(*_told_refusals(parent, refusals), *_story(before, kept)),
        clear=clear,
        file=(VersionFiling(model_name=_name(parent), entries=tuple(filed)),) if filed else (),
        requeue_after=min(waits, default=None),
    )


def _next(
    entry: JsonObject, spec: KeepingSpec, aliased: Mapping[int, str], doomed: Mapping[int, str], now: datetime
) -> JsonObject:
    number, state = entry["version"], entry["state"]
    if number in doomed:
        going = VersionState.DELETING.value
        return {**entry, "state": going, "deletedTime": timestamp(now), "deletedBy": doomed[number]}
    if state == VersionState.READY and number in spec.archive and number not in aliased:
        return {**entry, "state": VersionState.ARCHIVED.value}
    return entry


def _doomed(
    parent: Mapping[str, Any], spec: KeepingSpec, entries: Mapping[int, JsonObject], view: KeepingView, rule: Verdict
) -> dict[int, str]:
    """Return the versions to delete from now on, and who wants that."""
    aliased = aliases_of(parent)
    managers = _managers(parent)
    found = {}
    if spec.retention is not None and not spec.retention.dry_run:
        found = dict.fromkeys(rule.due, RULE)
    found |= {number: managers.get(number, "unknown") for number in spec.delete if number not in aliased}
    return {
        number: by
        for number, by in found.items()
        if number in view.free and number in entries and can_go(entries[number])
    }


def _managers(parent: Mapping[str, Any]) -> dict[int, str]:
    """Return who wrote each number of `spec.delete`, as far as the API server knows."""
    found: dict[int, str] = {}
    for entry in parent["metadata"].get("managedFields") or ():
        numbers = ((entry.get("fieldsV1") or {}).get("f:spec") or {}).get("f:delete") or {}
        named = (value[2:] for value in numbers if value.startswith("v:"))
        found |= {int(number): str(entry.get("manager") or "") for number in named if number.isdecimal()}
    return found


def archived_count(parent: Mapping[str, Any]) -> int:
    """Return how many entries of a model are in the archive only."""
    return int(((parent.get("status") or {}).get("archivedEntries") or {}).get("count") or 0)


def can_go(entry: Mapping[str, Any]) -> bool:
    """Return whether a version may be deleted as it is now: one that is being made has to be whole, or fail, before."""
    return entry["state"] not in GOING | {VersionState.PENDING.value}


def _tombstone(entry: Mapping[str, Any]) -> JsonObject:
    kept = {name: value for name, value in entry.items() if name not in _LOST}
    return {**kept, "state": VersionState.DELETED.value}


def _refused_wishes(
    spec: KeepingSpec, entries: Mapping[int, JsonObject], aliased: Mapping[int, str], name: str
) -> Iterable[_Refusal]:
    for where, numbers, done in (("spec.delete", spec.delete, GOING), ("spec.archive", spec.archive, ASIDE)):
        for number in numbers:
            if number not in entries:
                words = f"{where}: there is no version {number} of {name}: take it out of the list"
                yield _Refusal(reason=Reason.VERSION_NOT_FOUND, message=words)
            elif number in aliased and entries[number]["state"] not in done:
                words = (
                    f"{where}: {name}:{number} has the alias {aliased[number]}: give the alias to another version "
                    f"first, or take {number} out of the list"
                )
                yield _Refusal(reason=Reason.VERSION_ALIASED, message=words)


def _store_refusals(
    spec: KeepingSpec, entries: Mapping[int, JsonObject], view: KeepingView, rule: Verdict
) -> Iterable[_Refusal]:
    asked = {*spec.delete, *rule.due}
    for number, why in sorted(view.held.items()):
        if number in asked and number in entries:
            words = f"{entries[number]['id']} stays as it is: its files are {why}; it is looked at again every hour"
            yield _Refusal(reason=Reason.VERSION_RETAINED, message=words)
    for number, why in sorted(view.trouble.items()):
        if number in entries and entries[number]["state"] == VersionState.DELETING and number not in view.cleared:
            words = f"the files of {entries[number]['id']} could not be deleted, which is tried again: {why}"
            yield _Refusal(reason=Reason.VERSION_NOT_DELETED, message=words)


def _conditions(refusals: Sequence[_Refusal]) -> tuple[Condition, ...]:
    if not refusals:
        return ()
    words = "; ".join(refusal.message for refusal in refusals[:NAMED])
    if len(refusals) > NAMED:
        words += f"; and {len(refusals) - NAMED} more"
    return (Condition(type=Type.CLEARED.value, status=False, reason=refusals[0].reason.value, message=words),)


def _told_refusals(parent: Mapping[str, Any], refusals: Sequence[_Refusal]) -> Iterable[Event]:
    before = find(parent.get("status") or {}, Type.CLEARED.value)
    (now,) = _conditions(refusals) or (None,)
    if now is not None and (before is None or before.get("message") != now.message):
        yield Event(type="Warning", reason=now.reason, message=now.message)


def _story(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Iterable[Event]:
    states = {entry["version"]: entry["state"] for entry in before}
    for entry in after:
        state = entry["state"]
        if state == states.get(entry["version"]):
            continue
        if state == VersionState.ARCHIVED:
            words = f"{entry['id']} is laid aside, as spec.archive says; its files stay"
            yield Event(type="Normal", reason=Reason.VERSION_ARCHIVED.value, message=words)
        elif state == VersionState.DELETED and entry["version"] in states:
            asked = "spec.retention" if entry.get("deletedBy") == RULE else f"spec.delete, by {entry.get('deletedBy')},"
            words = f"the files of {entry['id']} are deleted, as {asked} asks; its manifest stays"
            yield Event(type="Normal", reason=Reason.VERSION_DELETED.value, message=words)


def _preview(spec: KeepingSpec, rule: Verdict) -> JsonObject | None:
    if spec.retention is None or not spec.retention.dry_run:
        return None
    return {"count": len(rule.due), "versions": list(rule.due[:SHOWN])}


def _archived(parent: Mapping[str, Any], *, more: int, uri: str) -> JsonObject:
    return {"archivedEntries": {"count": archived_count(parent) + more, "uri": uri}} if more else {}


def _to_file(versions: Sequence[JsonObject], named: frozenset[int]) -> list[JsonObject]:
    """Return the entries that leave the status, oldest first: none, or as many as make room for some time."""
    busy = {VersionState.PENDING.value, VersionState.DELETING.value}
    movable = [entry for entry in versions if entry["version"] not in named and entry["state"] not in busy]
    size = len(canonical_json(list(versions)))
    if len(movable) <= MOST_RECENT and size <= MOST_BYTES:
        return []
    filed: list[JsonObject] = []
    for entry in movable[:-1]:
        if len(movable) - len(filed) <= LEAST_RECENT and size <= MOST_BYTES // 2:
            break
        filed.append(entry)
        size -= len(canonical_json(entry)) + 1
    return filed


def _name(parent: Mapping[str, Any]) -> str:
    return str(parent["spec"]["modelName"])
