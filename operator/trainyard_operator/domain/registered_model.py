"""Planning a RegisteredModel: bring every taken version number to Ready or Failed, and say how the latest one is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.reasons import RegisteredModelCondition as Type
from trainyard_operator.api.reasons import RegisteredModelReason as Reason
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.api.registered_model import RegisteredModelSpec
from trainyard_operator.domain.conditions import Condition, merge, shorten
from trainyard_operator.domain.model_aliases import FIELDS as ALIAS_FIELDS
from trainyard_operator.domain.model_aliases import plan_aliases
from trainyard_operator.domain.model_keeping import ASIDE, KeepingView, keep, with_returned
from trainyard_operator.domain.model_sources import SourcesView, made_from, plan_sources, wished_keys
from trainyard_operator.domain.model_verification import FIELDS as VERIFICATION_FIELDS
from trainyard_operator.domain.model_verification import Findings, plan_verification
from trainyard_operator.domain.plan import Event, Plan, VersionCopy, soonest
from trainyard_operator.domain.store_trust import Trust, trust_conditions

JsonObject = dict[str, Any]

# Until a store that did not answer is asked again.
STORE_SECONDS = 5.0
# Reasons of the Ready condition that are an Event of their own, once.
_TOLD = frozenset({Reason.INVALID_SPEC, Reason.STORE_FAILING})


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """A version whose manifest is written: nothing of it changes any more."""

    manifest_sha256: str
    files: int
    bytes: int
    signed_by: str | None = None  # SHA-256 of the public key


@dataclass(frozen=True, kw_only=True)
class ModelView:
    """What is known of the pending versions of a model, by version number."""

    folder_uri: str  # where the versions' folders are, with a trailing slash
    sealed: Mapping[int, Sealed] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    sources: SourcesView = field(default_factory=SourcesView)
    findings: Findings | None = None  # of the verification that is going
    answers: bool = True  # whether the object store said what it has
    trouble: str = ""  # what the object store does not do, where pending versions wait for it
    trust: Trust | None = None  # what is known of the object store; None where it has not been asked yet
    keeping: KeepingView = field(default_factory=KeepingView)


def plan_registered_model(parent: Mapping[str, Any], view: ModelView, now: datetime) -> Plan:
    """Return the next step of a model: copies for versions without a manifest, states for those that have one."""
    old: Mapping[str, Any] = parent.get("status") or {}
    try:
        spec = RegisteredModelSpec.parse(
            parent["spec"], name=parent["metadata"]["name"], namespace=parent["metadata"].get("namespace")
        )
    except SpecError as error:
        return _written(parent, old, dict(old), _condition(Reason.INVALID_SPEC, str(error)), now)
    settled = [_settle(entry, view) for entry in old.get("versions") or ()]
    sources = plan_sources(parent=parent, spec=spec, versions=settled, view=view.sources)
    if sources.register:
        # A number changes the status: whatever else is to be written waits for the next look.
        return Plan(register=sources.register)
    checked = plan_verification(
        spec=spec.verification,
        model_name=spec.model_name,
        old=old.get("verification"),
        versions=with_returned(settled, spec.keeping, view.keeping),
        findings=view.findings,
        now=now,
    )
    aliases = plan_aliases(parent=parent, wished=spec.aliases, versions=checked.versions, now=now)
    facts = aliases.status.get("aliases", {})
    kept = keep(
        parent=parent,
        spec=spec.keeping,
        versions=checked.versions,
        aliases=facts,
        wished=wished_keys(spec),
        view=view.keeping,
        now=now,
    )
    versions = kept.versions
    copies = tuple(
        VersionCopy(model_name=spec.model_name, version=entry["version"], entry=dict(entry))
        for entry in versions
        if entry["state"] == VersionState.PENDING and entry["version"] not in sources.held and view.answers
    )
    told = {name: value for name, value in old.items() if name not in {*ALIAS_FIELDS, *VERIFICATION_FIELDS}}
    status = {**told, **({"versions": versions} if versions else {}), **aliases.status, **checked.status, **kept.fields}
    status = {name: value for name, value in status.items() if value is not None}
    others = (*aliases.conditions, *sources.conditions, *trust_conditions(old, view.trust), *kept.conditions)
    plan = _written(parent, old, status, _state(versions, view.trouble), now, others=others)
    return Plan(
        copy=copies,
        file=kept.file,
        inspect=checked.inspect,
        status=plan.status,
        clear=kept.clear,
        events=(*plan.events, *aliases.events, *sources.events, *checked.events, *kept.events),
        requeue_after=soonest(
            sources.requeue_after,
            checked.requeue_after,
            kept.requeue_after,
            None if view.answers else STORE_SECONDS,
        ),
    )


def _settle(entry: Mapping[str, Any], view: ModelView) -> JsonObject:
    number = entry["version"]
    if entry["state"] != VersionState.PENDING:
        return dict(entry)
    if number in view.sealed:
        sealed = view.sealed[number]
        return {
            **entry,
            "state": VersionState.READY.value,
            "uri": f"{view.folder_uri}{number}/",
            "manifestSha256": sealed.manifest_sha256,
            "files": sealed.files,
            "bytes": sealed.bytes,
            **({"signature": _signature(view, number, sealed.signed_by)} if sealed.signed_by else {}),
        }
    if number in view.refused:
        return {**entry, "state": VersionState.FAILED.value, "message": shorten(view.refused[number], 512)}
    return dict(entry)


def _signature(view: ModelView, number: int, key_sha256: str) -> JsonObject:
    return {"uri": f"{view.folder_uri}{number}.sig", "keySha256": key_sha256}


_NOTHING = "nothing has been registered under this name yet"


def _state(versions: list[JsonObject], trouble: str) -> Condition:
    latest = next((entry for entry in reversed(versions) if entry["state"] not in ASIDE), None)
    if latest is None:
        words = f"all versions up to {versions[-1]['id']} are archived or deleted" if versions else _NOTHING
        return _condition(Reason.NO_VERSIONS, words)
    if latest["state"] == VersionState.READY:
        return _condition(Reason.VERSION_READY, f"{latest['id']} is ready")
    if latest["state"] == VersionState.CORRUPTED:
        return _condition(Reason.VERSION_CORRUPTED, f"{latest['id']} must not be used: {latest.get('message', '')}")
    if latest["state"] == VersionState.FAILED:
        return _condition(Reason.VERSION_FAILED, f"{latest['id']} could not be made: {latest.get('message', '')}")
    if trouble:
        words = f"{latest['id']} waits for the object store, which is asked again and again: {trouble}"
        return _condition(Reason.STORE_FAILING, words)
    return _condition(Reason.VERSION_PENDING, f"the files of {latest['id']} are being copied")


def _condition(reason: Reason, message: str) -> Condition:
    return Condition(type=Type.READY.value, status=reason == Reason.VERSION_READY, reason=reason.value, message=message)


def _written(  # noqa: PLR0913
    parent: Mapping[str, Any],
    old: Mapping[str, Any],
    new: JsonObject,
    ready: Condition,
    now: datetime,
    *,
    others: Sequence[Condition] = (),
) -> Plan:
    generation = parent["metadata"]["generation"]
    status = {
        **new,
        "observedGeneration": generation,
        "conditions": merge(old=old.get("conditions") or [], wished=[ready, *others], generation=generation, now=now),
    }
    if status == old:
        return Plan()
    return Plan(status=status, events=_story(old, status, ready))


def _story(old: Mapping[str, Any], new: Mapping[str, Any], ready: Condition) -> tuple[Event, ...]:
    before = {entry["version"]: entry["state"] for entry in old.get("versions") or ()}
    events = []
    for entry in new.get("versions") or ():
        state = entry["state"]
        # An entry that came back from the archive, or a version that is not laid aside any more, is no news.
        if before.get(entry["version"]) in {None, VersionState.ARCHIVED, state}:
            continue
        if state == VersionState.READY and before.get(entry["version"]) == VersionState.CORRUPTED:
            words = f"{entry['id']} has the bytes of its manifest again, and is ready"
            events.append(Event(type="Normal", reason=Reason.VERSION_MENDED.value, message=words))
        elif state == VersionState.READY:
            words = f"{entry['id']} is ready: {entry['files']} file(s), {entry['bytes']} bytes, {made_from(entry)}"
            events.append(Event(type="Normal", reason=Reason.VERSION_READY.value, message=words))
        elif state == VersionState.FAILED:
            words = f"{entry['id']} could not be made: {entry.get('message', '')}"
            events.append(Event(type="Warning", reason=Reason.VERSION_FAILED.value, message=words))
        elif state == VersionState.CORRUPTED:
            words = f"{entry['id']} must not be used: {entry.get('message', '')}"
            events.append(Event(type="Warning", reason=Reason.VERSION_CORRUPTED.value, message=words))
    if ready.reason in _TOLD and not any(c.get("reason") == ready.reason for c in old.get("conditions") or ()):
        events.append(Event(type="Warning", reason=ready.reason, message=ready.message))
    return tuple(events)
