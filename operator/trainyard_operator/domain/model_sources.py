"""Versions that no run of the namespace makes: imports from its datastore, and promotions from other namespaces.

Who may promote is decided here, from the source's own spec: the operator can read every namespace, and the author of a
RegisteredModel must not be able to. Hence a model that is not shared and one that does not exist get the same words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.model_sources import ImportSpec, PromotionSpec
from trainyard_operator.api.names import object_name
from trainyard_operator.api.reasons import RegisteredModelCondition as Type
from trainyard_operator.api.reasons import RegisteredModelReason as Reason
from trainyard_operator.api.reasons import VersionState
from trainyard_operator.api.registered_model import RegisteredModelSpec
from trainyard_operator.domain.conditions import Condition, find
from trainyard_operator.domain.plan import Event, VersionRequest
from trainyard_operator.domain.registry import MAX_ENTRIES, is_full

JsonObject = dict[str, Any]

# How soon a path that was empty, or could not be used, is looked at again.
LOOK_AGAIN_SECONDS = 30.0
_TOLD_PROBLEMS = 3
# What is no refusal, or has an Event of its version already.
_UNTOLD = (Reason.IMPORT_PENDING, Reason.PROMOTION_PENDING, Reason.IMPORT_FAILED, Reason.PROMOTION_FAILED)
# What a promoted version keeps of its source's entry; the manifest keeps all that the source's manifest says.
_KEPT = ("path", "runManifestSha256", "description", "metrics", "tags", "sourceSha256", "imageDigest")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why a version cannot be made now: a reason, and a sentence that names the field and the fix."""

    reason: Reason
    message: str


@dataclass(frozen=True, kw_only=True)
class SourcesView:
    """What is known of the sources of versions that are still to be made.

    `found` and `problems` are of imports without a version, by their key; `models` are the RegisteredModels that are
    promoted from, by namespace and model name, whoever owns them. `unknown` says why the object store does not tell
    which numbers are used, so that none can be given.
    """

    found: frozenset[str] = frozenset()
    problems: Mapping[str, Problem] = field(default_factory=dict)
    models: Mapping[tuple[str, str], Mapping[str, Any] | None] = field(default_factory=dict)
    unknown: str = ""


@dataclass(frozen=True, kw_only=True)
class SourcesPlan:
    """What the sources of a model ask for; `held` are pending versions that must not be copied now."""

    register: tuple[VersionRequest, ...] = ()
    conditions: tuple[Condition, ...] = ()
    events: tuple[Event, ...] = ()
    held: frozenset[int] = frozenset()
    requeue_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Part:
    condition: Condition
    requests: tuple[VersionRequest, ...] = ()
    waits: bool = False  # for what nobody tells of, so that it has to be looked at again


def import_key(key: str) -> str:
    """Return the identity of the version that an entry of `spec.imports` makes."""
    return f"import/{key}"


def promotion_key(promotion: PromotionSpec) -> str:
    """Return the identity of the version that `spec.promoteFrom` makes."""
    return f"promoted/{promotion.namespace}/{promotion.model}/{promotion.version}/{promotion.sha256}"


def missing_imports(spec: RegisteredModelSpec, model: Mapping[str, Any]) -> tuple[ImportSpec, ...]:
    """Return the imports that have no version yet."""
    keys = {entry.get("key") for entry in _versions(model)}
    return tuple(entry for entry in spec.imports if import_key(entry.key) not in keys)


def missing_promotion(spec: RegisteredModelSpec, model: Mapping[str, Any]) -> PromotionSpec | None:
    """Return the promotion where it has no version yet, else None."""
    wish = spec.promote_from
    if wish is None or any(entry.get("key") == promotion_key(wish) for entry in _versions(model)):
        return None
    return wish


def wished_sources(spec: RegisteredModelSpec, model: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """Return namespace and name of each model that a version is, or is to be, copied from."""
    wish = missing_promotion(spec, model)
    pending = [e["promotedFrom"] for e in _versions(model) if e["state"] == VersionState.PENDING if "promotedFrom" in e]
    sources = ((source["namespace"], source["model"]) for source in pending)
    return frozenset([*([(wish.namespace, wish.model)] if wish else []), *sources])


def plan_sources(
    *, parent: Mapping[str, Any], spec: RegisteredModelSpec, versions: Sequence[JsonObject], view: SourcesView
) -> SourcesPlan:
    """Return the versions to take numbers for, and the conditions that say how far imports and promotion are."""
    namespace = parent["metadata"].get("namespace") or ""
    made = {entry["key"]: entry for entry in versions}
    room = 0 if is_full(parent) else MAX_ENTRIES - len(versions)
    parts = []
    if spec.imports:
        parts.append(_imports(spec, made, view, room=room))
        room -= len(parts[0].requests)
    if spec.promote_from is not None:
        parts.append(_promotion(spec.promote_from, made, view, namespace=namespace, room=room))
    held = frozenset(_held(versions, view, namespace=namespace))
    conditions = tuple(part.condition for part in parts)
    waits = bool(held) or any(part.waits for part in parts)
    return SourcesPlan(
        register=tuple(
            VersionRequest(model=parent["metadata"]["name"], key=r.key, entry=r.entry)
            for part in parts
            for r in part.requests
        ),
        conditions=conditions,
        events=tuple(_refusals(parent.get("status") or {}, conditions, parent["metadata"]["generation"])),
        held=held,
        requeue_after=LOOK_AGAIN_SECONDS if waits else None,
    )


def shared_model(found: Mapping[str, Any] | None, *, model_name: str, namespace: str) -> Mapping[str, Any] | None:
    """Return `found`, the RegisteredModel of `model_name`, where its owner shares it with `namespace`, else None."""
    if found is None:
        return None
    try:
        spec = RegisteredModelSpec.parse(found.get("spec"), name=found["metadata"]["name"])
    except SpecError:
        return None
    return found if spec.model_name == model_name and namespace in spec.shared_with else None


def first_source(document: Mapping[str, Any], namespace: str) -> JsonObject:
    """Return what made the files of a version first, from its entry or its manifest; `namespace` is the version's."""
    for name in ("run", "import"):
        if name in document:
            return {name: {**document[name], "namespace": namespace}}
    before = document.get("promotedFrom") or {}
    return {name: before[name] for name in ("run", "import") if name in before}


def wished_keys(spec: RegisteredModelSpec) -> frozenset[str]:
    """Return the keys of the versions that a spec itself asks for."""
    promoted = {promotion_key(spec.promote_from)} if spec.promote_from is not None else set()
    return frozenset({*(import_key(wish.key) for wish in spec.imports), *promoted})


def made_from(entry: Mapping[str, Any]) -> str:
    """Return in a few words what a version was made from."""
    if "promotedFrom" in entry:
        source = entry["promotedFrom"]
        return f"promoted from {source['namespace']}/{source['model']}:{source['version']}"
    if "import" in entry:
        return f"imported from {entry['import']['datastorePath']} of the datastore"
    return f"from run {(entry.get('run') or {}).get('name', '')}"


def _refusals(old: Mapping[str, Any], conditions: Iterable[Condition], generation: int) -> Iterable[Event]:
    """Yield an Event for each condition that has begun to refuse something, or refuses it in a changed spec."""
    for condition in conditions:
        if condition.status or condition.reason in _UNTOLD:
            continue
        before = find(old, condition.type) or {}
        if (before.get("reason"), before.get("observedGeneration")) != (condition.reason, generation):
            yield Event(type="Warning", reason=condition.reason, message=condition.message)


def _imports(spec: RegisteredModelSpec, made: Mapping[str, JsonObject], view: SourcesView, *, room: int) -> _Part:
    problems: list[Problem] = []
    requests: list[VersionRequest] = []
    waiting: list[str] = []
    waits = False
    for wish in spec.imports:
        entry = made.get(import_key(wish.key))
        if entry is not None:
            trouble = _trouble(wish, entry)
            problems += [trouble] if trouble else []
            waiting += [entry["id"]] if entry["state"] == VersionState.PENDING else []
        elif wish.key in view.problems:
            problems.append(view.problems[wish.key])
            waits = True
        elif wish.key in view.found and (
            unnumbered := _unnumbered(f"spec.imports[{wish.key}]", view, room - len(requests))
        ):
            problems.append(unnumbered)
            waits = True
        else:
            requests += [_import_request(wish)] if wish.key in view.found else []
            waiting.append(wish.key)
    return _Part(condition=_imported(problems, waiting, len(spec.imports)), requests=tuple(requests), waits=waits)


def _imported(problems: list[Problem], waiting: list[str], count: int) -> Condition:
    if problems:
        more = len(problems) - _TOLD_PROBLEMS
        words = [problem.message for problem in problems[:_TOLD_PROBLEMS]] + ([f"and {more} more"] if more > 0 else [])
        return _condition(Type.IMPORTED, problems[0].reason, "; ".join(words))
    if waiting:
        return _condition(Type.IMPORTED, Reason.IMPORT_PENDING, f"being copied from the datastore: {waiting[0]}")
    return _condition(Type.IMPORTED, Reason.IMPORTED, f"each of the {count} import(s) has its version")


def _trouble(wish: ImportSpec, entry: Mapping[str, Any]) -> Problem | None:
    """Return what is wrong with an import that has its version."""
    where, source = f"spec.imports[{wish.key}]", entry.get("import") or {}
    change = ""
    if wish.path.rstrip("/") != str(source.get("datastorePath")).rstrip("/"):
        change = f"datastorePath is {wish.path!r}, but {entry['id']} was made from {source.get('datastorePath')!r}"
    elif wish.sha256 is not None and wish.sha256 != source.get("sha256"):
        change = f"sha256 is {wish.sha256}, but {entry['id']} was made for {source.get('sha256') or 'any digest'}"
    if change:
        fix = "a version never changes: put it back, and import the other file under a new key"
        return Problem(reason=Reason.IMPORT_CHANGED, message=f"{where}.{change}: {fix}")
    if entry["state"] == VersionState.FAILED:
        words = f"{where}: {entry['id']} could not be made: {entry.get('message', '')}"
        return Problem(reason=Reason.IMPORT_FAILED, message=words)
    return None


def _import_request(wish: ImportSpec) -> VersionRequest:
    entry: JsonObject = {
        "import": {
            "key": wish.key,
            "datastorePath": wish.path,
            **({"sha256": wish.sha256} if wish.sha256 else {}),
        },
        "path": wish.path,
        **({"description": wish.description} if wish.description else {}),
        **({"metrics": dict(wish.metrics)} if wish.metrics else {}),
        **({"tags": dict(wish.tags)} if wish.tags else {}),
    }
    return VersionRequest(model="", key=import_key(wish.key), entry=entry)


def _promotion(
    wish: PromotionSpec, made: Mapping[str, JsonObject], view: SourcesView, *, namespace: str, room: int
) -> _Part:
    found = view.models.get((wish.namespace, wish.model))
    shared = shared_model(found, model_name=wish.model, namespace=namespace)
    entry = made.get(promotion_key(wish))
    if entry is not None and entry["state"] == VersionState.FAILED:
        words = f"spec.promoteFrom: {entry['id']} could not be made: {entry.get('message', '')}"
        return _Part(condition=_condition(Type.PROMOTED, Reason.PROMOTION_FAILED, words))
    if entry is not None and entry["state"] != VersionState.PENDING:
        return _Part(condition=_condition(Type.PROMOTED, Reason.PROMOTED, f"{wish.id} is {entry['id']} here"))
    under_way = _Part(condition=_condition(Type.PROMOTED, Reason.PROMOTION_PENDING, f"{wish.id} is being copied"))
    if entry is not None and shared is not None:
        return under_way
    refused = _refusal(wish, shared, namespace)
    problem = refused or _unnumbered("spec.promoteFrom", view, room)
    if problem is not None:
        return _Part(condition=_condition(Type.PROMOTED, problem.reason, problem.message), waits=refused is None)
    assert shared is not None
    source = _version(shared, wish.version)
    assert source is not None
    request = VersionRequest(model="", key=promotion_key(wish), entry=_promoted(wish, source))
    return _Part(condition=under_way.condition, requests=(request,))


def _refusal(wish: PromotionSpec, shared: Mapping[str, Any] | None, namespace: str) -> Problem | None:
    where = "spec.promoteFrom"
    if shared is None:
        words = (
            f"{where}: the namespace {wish.namespace} shares no model {wish.model!r} with {namespace}: its people have "
            f"to add {namespace} to spec.sharedWith of their RegisteredModel {object_name(wish.model)}"
        )
        return Problem(reason=Reason.NOT_SHARED, message=words)
    source = _version(shared, wish.version)
    if source is None:
        latest = (shared.get("status") or {}).get("latestVersion")
        there = f"its latest one is {latest}" if latest else "it has none yet"
        words = f"{where}.version is {wish.version}, which {wish.namespace}/{wish.model} has not: {there}"
        return Problem(reason=Reason.SOURCE_NOT_FOUND, message=words)
    state = source.get("state")
    if state != VersionState.READY:
        fix = "it is promoted once it is Ready" if state == VersionState.PENDING else "name a version that is Ready"
        return Problem(reason=Reason.SOURCE_NOT_READY, message=f"{where}: {wish.id} is {state}: {fix}")
    if source.get("manifestSha256") != wish.sha256:
        words = (
            f"{where}.sha256 is {wish.sha256}, but the manifestSha256 of {wish.id} is {source.get('manifestSha256')}: "
            "make sure that it is the version you mean, and give its digest"
        )
        return Problem(reason=Reason.DIGEST_MISMATCH, message=words)
    return None


def _promoted(wish: PromotionSpec, source: Mapping[str, Any]) -> JsonObject:
    """Return the entry of a copy of `source`: what it was made from first stays known."""
    return {
        **{name: source[name] for name in _KEPT if name in source},
        "promotedFrom": {
            "namespace": wish.namespace,
            "model": wish.model,
            "version": wish.version,
            "manifestSha256": wish.sha256,
            **first_source(source, wish.namespace),
        },
    }


def _held(versions: Iterable[Mapping[str, Any]], view: SourcesView, *, namespace: str) -> Iterable[int]:
    """Yield the pending versions whose source is not shared any more."""
    for entry in versions:
        source = entry.get("promotedFrom")
        if source is None or entry["state"] != VersionState.PENDING:
            continue
        found = view.models.get((source["namespace"], source["model"]))
        if shared_model(found, model_name=source["model"], namespace=namespace) is None:
            yield entry["version"]


def _version(model: Mapping[str, Any], number: int) -> Mapping[str, Any] | None:
    return next((entry for entry in _versions(model) if entry.get("version") == number), None)


def _versions(model: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (model.get("status") or {}).get("versions") or ()


def _unnumbered(where: str, view: SourcesView, room: int) -> Problem | None:
    """Return why a version that could be made gets no number, or None."""
    if view.unknown:
        words = f"{where}: the object store does not answer as it should, and is asked again: {view.unknown}"
        return Problem(reason=Reason.STORE_UNAVAILABLE, message=words)
    if room <= 0:
        words = f"{where}: the RegisteredModel has as many versions as it can hold: use a new one, under another name"
        return Problem(reason=Reason.REGISTRY_FULL, message=words)
    return None


def _condition(kind: Type, reason: Reason, message: str) -> Condition:
    done = reason in {Reason.IMPORTED, Reason.PROMOTED}
    return Condition(type=kind.value, status=done, reason=reason.value, message=message)
