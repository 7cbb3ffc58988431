"""What is kept of an object: ten thousand finished runs have to fit beside each other.

Everything that the planners read stays; managed fields (but for who has set the aliases of a model or deleted its
versions), pod specs and the text of users' scripts go. Keys and short strings are interned, since every object of a
kind repeats the same ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from trainyard.contract import MAX_REQUIREMENTS_BYTES
from trainyard_operator.api.names import (
    DEPLOYMENT,
    JOB,
    NODE,
    NODE_CLAIM,
    POD,
    REGISTERED_MODEL,
    TRAINING_JOB,
    WORKLOAD,
    Kind,
)

JsonObject = dict[str, Any]

_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "finalizers",
    "labels",
    "annotations",
    "ownerReferences",
)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_POD_STATUS = ("phase", "reason", "message", "conditions", "containerStatuses", "initContainerStatuses")
_INTERNED_CHARS = 40


def slim(kind: Kind, obj: JsonObject) -> JsonObject:
    """Return the part of `obj` that the operator works with; `obj` itself is left as it is."""
    cut = _CUTS.get(kind.plural, _whole)
    kept: JsonObject = {"metadata": _metadata(obj["metadata"]), **cut(obj)}
    compacted: JsonObject = compact(kept)
    return compacted


def compact(value: Any) -> Any:
    """Return a copy of `value` whose keys and short strings are shared with all other compacted values."""
    if isinstance(value, dict):
        return {sys.intern(key): compact(item) for key, item in value.items()}
    if isinstance(value, str):
        return sys.intern(value) if len(value) <= _INTERNED_CHARS else value
    if isinstance(value, list):
        return [compact(item) for item in value]
    return value


def _metadata(metadata: JsonObject) -> JsonObject:
    kept = {name: metadata[name] for name in _METADATA if name in metadata}
    annotations = kept.pop("annotations", None)
    rest = {key: text for key, text in (annotations or {}).items() if key != _LAST_APPLIED}
    if rest:
        kept["annotations"] = rest
    return kept


def _whole(obj: JsonObject) -> JsonObject:
    return {"spec": obj.get("spec") or {}, "status": obj.get("status") or {}}


def _training_job(obj: JsonObject) -> JsonObject:
    kept = _whole(obj)
    source = kept["spec"].get("source")
    inline = source.get("inline") if isinstance(source, dict) else None
    if isinstance(inline, dict):
        lengths: JsonObject = {name: len(str(text).encode(errors="surrogatepass")) for name, text in inline.items()}
        file = _requirements_file(kept)
        if isinstance(file, str) and lengths.get(file, MAX_REQUIREMENTS_BYTES + 1) <= MAX_REQUIREMENTS_BYTES:
            lengths[file] = inline[file]
        kept["spec"] = {**kept["spec"], "source": {**source, "inline": lengths}}
    return kept


def _requirements_file(run: JsonObject) -> object:
    """Return the file that decides which environment a run waits for; nobody asks once it has a Job."""
    environment = run["spec"].get("environment")
    return environment.get("requirements") if isinstance(environment, dict) and "jobName" not in run["status"] else None


def _registered_model(obj: JsonObject) -> JsonObject:
    owners = [_owner(entry) for entry in obj["metadata"].get("managedFields") or ()]
    known = [entry for entry in owners if entry is not None]
    return {
        "metadata": {**_metadata(obj["metadata"]), **({"managedFields": known} if known else {})},
        **_whole(obj),
    }


def _owner(entry: JsonObject) -> JsonObject | None:
    """Return what an entry of the managed fields says of aliases and deletions, or None where that is nothing."""
    fields = (entry.get("fieldsV1") or {}).get("f:spec") or {}
    told = {name: fields[name] for name in ("f:aliases", "f:delete") if name in fields}
    if not told:
        return None
    about: JsonObject = {name: entry[name] for name in ("manager", "subresource", "time") if name in entry}
    return {**about, "fieldsV1": {"f:spec": told}}


def _job(obj: JsonObject) -> JsonObject:
    suspended = bool((obj.get("spec") or {}).get("suspend"))
    return {**({"spec": {"suspend": True}} if suspended else {}), "status": obj.get("status") or {}}


def _pod(obj: JsonObject) -> JsonObject:
    status = obj.get("status") or {}
    node = (obj.get("spec") or {}).get("nodeName")
    return {
        "spec": {"nodeName": node} if node else {},
        "status": {name: status[name] for name in _POD_STATUS if name in status},
    }


def _node(obj: JsonObject) -> JsonObject:
    spec = obj.get("spec") or {}
    return {
        "spec": {name: spec[name] for name in ("unschedulable", "taints") if name in spec},
        "status": {"conditions": [_without_heartbeat(c) for c in (obj.get("status") or {}).get("conditions") or []]},
    }


def _deployment(obj: JsonObject) -> JsonObject:
    return {"spec": {"replicas": (obj.get("spec") or {}).get("replicas")}}


def _node_claim(obj: JsonObject) -> JsonObject:
    status = obj.get("status") or {}
    kept = {"nodeName": status["nodeName"]} if status.get("nodeName") else {}
    # Others change as Karpenter counts and probes, and nothing is decided by them.
    up = [_without_heartbeat(c) for c in status.get("conditions") or [] if c.get("type") == "Initialized"]
    return {"status": {**kept, **({"conditions": up} if up else {})}}


def _workload(obj: JsonObject) -> JsonObject:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return {
        "spec": {name: spec[name] for name in ("active",) if name in spec},
        "status": {name: status[name] for name in ("conditions", "admissionChecks") if name in status},
    }


def _without_heartbeat(condition: JsonObject) -> JsonObject:
    # Kubelets renew the heartbeat of every condition every few minutes, and nothing has changed.
    return {name: condition[name] for name in ("type", "status", "reason", "message") if name in condition}


_CUTS: dict[str, Callable[[JsonObject], JsonObject]] = {
    TRAINING_JOB.plural: _training_job,
    REGISTERED_MODEL.plural: _registered_model,
    JOB.plural: _job,
    POD.plural: _pod,
    NODE.plural: _node,
    NODE_CLAIM.plural: _node_claim,
    DEPLOYMENT.plural: _deployment,
    WORKLOAD.plural: _workload,
}
