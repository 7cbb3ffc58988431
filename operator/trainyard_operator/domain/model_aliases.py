"""The aliases of a model: `spec.aliases` is the wish, `status.aliases` the fact.

An alias moves to versions that are Ready and to no others. What it means it keeps, until it can move or is taken out of
the spec: whoever follows an alias finds what was good once, never nothing, because of a slip in a pull request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from trainyard_operator.api.reasons import RegisteredModelCondition as Type
from trainyard_operator.api.reasons import RegisteredModelReason as Reason
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.domain.conditions import Condition, shorten, timestamp
from trainyard_operator.domain.plan import Event

JsonObject = dict[str, Any]

MAX_HISTORY: Final = 64
MAX_MANAGER: Final = 128
# Of a status, all that this module decides on.
FIELDS: Final = frozenset({"aliases", "refusedAliases", "aliasHistory"})
_LISTED_VERSIONS = 10


@dataclass(frozen=True, kw_only=True)
class AliasPlan:
    """What becomes of a model's aliases: the fields of the status, its condition, and the Events of the changes."""

    status: JsonObject
    conditions: tuple[Condition, ...]
    events: tuple[Event, ...]


def plan_aliases(
    *, parent: Mapping[str, Any], wished: Mapping[str, int], versions: Sequence[Mapping[str, Any]], now: datetime
) -> AliasPlan:
    """Return what the aliases of `parent` mean from now on.

    Parameters
    ----------
    parent
        The RegisteredModel, with the status that it had.
    wished
        Its `spec.aliases`.
    versions
        The entries of its versions as they are now, which may be newer than those of the status.
    now
        The time of changes.
    """
    old: Mapping[str, Any] = parent.get("status") or {}
    facts: Mapping[str, Mapping[str, Any]] = old.get("aliases") or {}
    known = {entry["version"]: entry for entry in versions}
    after: dict[str, JsonObject] = {}
    refused: dict[str, int] = {}
    for name, number in wished.items():
        fact, entry = facts.get(name), known.get(number, {})
        if entry.get("state") == VersionState.READY:
            after[name] = _fact(entry, fact, now)
            continue
        if fact is None or fact["version"] != number:
            refused[name] = number
        if fact is not None:
            after[name] = dict(fact)
    changes = _changes(parent, facts, after, now)
    history = [*(old.get("aliasHistory") or ()), *changes][-MAX_HISTORY:]
    fields = {"aliases": after, "refusedAliases": refused, "aliasHistory": history}
    return AliasPlan(
        status={name: value for name, value in fields.items() if value},
        conditions=_conditions(wished, after, refused, known),
        events=(*map(_told, changes), *_warnings(old, after, refused, known)),
    )


def _fact(entry: Mapping[str, Any], before: Mapping[str, Any] | None, now: datetime) -> JsonObject:
    same = before is not None and before["version"] == entry["version"]
    return {
        "version": entry["version"],
        **{name: entry[name] for name in ("uri", "manifestSha256") if name in entry},
        "since": before["since"] if same and before else timestamp(now),
    }


def _changes(
    parent: Mapping[str, Any],
    before: Mapping[str, Mapping[str, Any]],
    after: Mapping[str, Mapping[str, Any]],
    now: datetime,
) -> list[JsonObject]:
    """Return the entries of the history that lead from the facts `before` to those `after`."""
    changes = []
    for name in sorted({*before, *after}):
        old, new = before.get(name, {}).get("version"), after.get(name, {}).get("version")
        if old == new:
            continue
        # Who takes a field out of an object leaves no trace in its managed fields.
        by = _owner(parent["metadata"], name) if new is not None else None
        change = {"alias": name, "from": old, "to": new, "time": timestamp(now), "by": by}
        changes.append({key: value for key, value in change.items() if value is not None})
    return changes


def _owner(metadata: Mapping[str, Any], alias: str) -> str | None:
    """Return the field manager that has set an alias of the spec last, as the API server notes it."""
    owners = [
        entry
        for entry in metadata.get("managedFields") or ()
        if not entry.get("subresource") and f"f:{alias}" in _owned(entry) and entry.get("manager")
    ]
    latest = max(owners, key=lambda entry: str(entry.get("time", "")), default=None)
    return str(latest["manager"])[:MAX_MANAGER] if latest else None


def _owned(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = (entry.get("fieldsV1") or {}).get("f:spec") or {}
    aliases: Mapping[str, Any] = spec.get("f:aliases") or {}
    return aliases


def _told(change: Mapping[str, Any]) -> Event:
    name, by = change["alias"], f", by {change['by']}" if "by" in change else ""
    if "to" not in change:
        words = f"{name} is no alias any more; it was version {change['from']}"
        return Event(type="Normal", reason=Reason.ALIAS_REMOVED.value, message=words, occasion=change["time"])
    before = f"; it was version {change['from']}" if "from" in change else ""
    words = f"{name} is version {change['to']} now{before}{by}"
    return Event(type="Normal", reason=Reason.ALIAS_MOVED.value, message=words, occasion=change["time"])


def _conditions(
    wished: Mapping[str, int],
    facts: Mapping[str, Mapping[str, Any]],
    refused: Mapping[str, int],
    known: Mapping[int, Mapping[str, Any]],
) -> tuple[Condition, ...]:
    if not wished:
        return ()
    lost = [name for name, fact in facts.items() if not _is_ready(known, fact["version"])]
    if refused:
        reason, words = Reason.ALIAS_REFUSED, [_refusal(name, number, facts, known) for name, number in refused.items()]
    elif lost:
        reason, words = Reason.ALIASED_VERSION_NOT_READY, []
    else:
        said = ", ".join(f"{name} is version {fact['version']}" for name, fact in facts.items())
        return (Condition(type=Type.ALIASES_SET.value, status=True, reason=Reason.ALIASES_SET.value, message=said),)
    words += [_loss(name, facts[name]["version"], known) for name in lost if name not in refused]
    message = "; ".join([*words, _choice(known)])
    return (Condition(type=Type.ALIASES_SET.value, status=False, reason=reason.value, message=message),)


def _warnings(
    old: Mapping[str, Any],
    facts: Mapping[str, Mapping[str, Any]],
    refused: Mapping[str, int],
    known: Mapping[int, Mapping[str, Any]],
) -> tuple[Event, ...]:
    """Return the Events of what is not as it should be, each only when it has just become so."""
    before = old.get("refusedAliases") or {}
    refusals = [_refusal(n, number, facts, known) for n, number in refused.items() if before.get(n) != number]
    was_known = {entry["version"]: entry for entry in old.get("versions") or ()}
    losses = [
        _loss(name, fact["version"], known)
        for name, fact in facts.items()
        if _is_ready(was_known, fact["version"]) and not _is_ready(known, fact["version"])
    ]
    return tuple(
        Event(type="Warning", reason=reason.value, message=shorten("; ".join([*words, _choice(known)])))
        for reason, words in ((Reason.ALIAS_REFUSED, refusals), (Reason.ALIASED_VERSION_NOT_READY, losses))
        if words
    )


def _refusal(
    name: str, number: int, facts: Mapping[str, Mapping[str, Any]], known: Mapping[int, Mapping[str, Any]]
) -> str:
    entry = known.get(number)
    wrong = f"version {number} is {entry['state']}, not Ready" if entry else f"there is no version {number}"
    if name not in facts:
        return f"spec.aliases.{name}: {wrong}, so {name} is not set"
    stays = facts[name]["version"]
    worse = "" if _is_ready(known, stays) else f", which is {_state(known, stays)} itself"
    return f"spec.aliases.{name}: {wrong}, so {name} stays at version {stays}{worse}"


def _loss(name: str, number: int, known: Mapping[int, Mapping[str, Any]]) -> str:
    return f"spec.aliases.{name}: version {number} is {_state(known, number)}, not Ready any more; name another one"


def _choice(known: Mapping[int, Mapping[str, Any]]) -> str:
    ready = sorted((number for number in known if _is_ready(known, number)), reverse=True)
    if not ready:
        return "no version is Ready"
    more = f" and {len(ready) - _LISTED_VERSIONS} older ones" * (len(ready) > _LISTED_VERSIONS)
    return f"Ready are {', '.join(map(str, ready[:_LISTED_VERSIONS]))}{more}"


def _is_ready(known: Mapping[int, Mapping[str, Any]], number: int) -> bool:
    return known.get(number, {}).get("state") == VersionState.READY


def _state(known: Mapping[int, Mapping[str, Any]], number: int) -> str:
    return str(known[number]["state"]) if number in known else "gone"
