"""The kinds' schemas, and hypothesis strategies of objects that the API server would admit under them."""

from __future__ import annotations

import re
from copy import deepcopy
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hypothesis import strategies as st

from trainyard_operator.api import conda

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trainyard_operator.api.names import Kind

CRDS = Path(__file__).resolve().parents[2] / "crds"
JsonObject = dict[str, Any]

_MOST = 4  # entries of a generated list or map: enough for every kind of clash, and quick
_CHARACTERS = st.characters(exclude_categories=["Cs"])
_TIMES = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)).map(  # noqa: DTZ001
    lambda time: time.replace(microsecond=0).isoformat() + "Z"
)
_UIDS = st.uuids().map(str)
_NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
_SEGMENTS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=12),
).filter(lambda segment: segment not in {".", ".."} and not segment.startswith("-"))
_PATHS = st.lists(_SEGMENTS, min_size=1, max_size=3).map("/".join)


_FOLDERS = st.one_of(st.just(""), _PATHS, _PATHS.map(lambda path: path + "/"))
_DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
_URLS = _NAMES.map("https://{}/code.git".format)
_OTHER_SOURCES = st.one_of(
    st.fixed_dictionaries({"configMapRef": st.fixed_dictionaries({"name": _NAMES})}),
    st.fixed_dictionaries({"archive": st.fixed_dictionaries({"path": _PATHS, "sha256": _DIGESTS})}),
    st.fixed_dictionaries({"git": st.fixed_dictionaries({"url": _URLS, "revision": _NAMES, "path": _FOLDERS})}),
)
_CHANNELS = st.from_regex(conda.CHANNEL, fullmatch=True).filter(
    lambda t: len(t) <= conda.MAX_CHANNEL and t != "defaults"
)
_CONDA_PACKAGES = st.from_regex(conda.PACKAGE, fullmatch=True).filter(lambda text: len(text) <= conda.MAX_PACKAGE)
_REQUIREMENTS = st.builds("{}{}".format, _NAMES, st.sampled_from(["", "==1.0", ">=2,<3", "[extra]~=1.4", " != 2"]))

_EKS = st.fixed_dictionaries(
    {
        "clusterName": _NAMES,
        "nodeRoleArn": _NAMES.map("arn:aws:iam::111122223333:role/{}".format),
        "subnets": st.lists(st.from_regex(r"subnet-[0-9a-f]{8}", fullmatch=True), min_size=1, max_size=2, unique=True),
    }
)


@cache
def definition(plural: str) -> JsonObject:
    """Return the CustomResourceDefinition in `crds/` of the kind with this plural."""
    document: JsonObject = yaml.safe_load((CRDS / f"{plural}.yaml").read_text())
    return document


def schema(plural: str) -> JsonObject:
    """Return the schema of the kind's objects."""
    (version,) = definition(plural)["spec"]["versions"]
    found: JsonObject = version["schema"]["openAPIV3Schema"]
    return found


def walk(node: JsonObject, path: str = "") -> Iterator[tuple[str, JsonObject]]:
    """Yield every node of a schema with its path; ``[]`` stands for a list's items, ``{}`` for a map's values."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}" if path else name)
    if "items" in node:
        yield from walk(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from walk(node["additionalProperties"], f"{path}{{}}")


@cache
def objects(kind: Kind) -> st.SearchStrategy[JsonObject]:
    """Return a strategy of whole objects of `kind`, without status, as the API server would store them."""
    return st.builds(
        lambda name, namespace, uid, created, spec: {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid,
                "generation": 1,
                "resourceVersion": "1",
                "creationTimestamp": created,
            },
            "spec": spec,
        },
        _NAMES,
        _NAMES,
        _UIDS,
        _TIMES,
        specs(kind),
    )


@cache
def specs(kind: Kind) -> st.SearchStrategy[JsonObject]:
    """Return a strategy of specs of `kind` that meet the schema and its CEL rules, defaults filled in."""
    values = _values(schema(kind.plural)["properties"]["spec"])
    rules: dict[str, Callable[[Any, Any], Any]] = {
        "trainingjobs": _obey_training_job_rules,
        "computeclusters": _obey_compute_cluster_rules,
        "registeredmodels": _obey_registered_model_rules,
    }
    return st.builds(rules[kind.plural], values, st.data())


@cache
def statuses(kind: Kind) -> st.SearchStrategy[JsonObject]:
    """Return a strategy of statuses of `kind` that meet the schema."""
    return _values(schema(kind.plural)["properties"]["status"])


def _values(node: JsonObject) -> st.SearchStrategy[Any]:
    if "default" in node and node.get("type") == "string":
        return st.one_of(st.just(node["default"]), _strings(node))
    if node.get("x-kubernetes-int-or-string"):
        return st.one_of(st.integers(node["minimum"], node["maximum"]), _strings(node))
    if node.get("x-kubernetes-preserve-unknown-fields"):
        numbers = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
        others = st.one_of(st.booleans(), st.none()) if node.get("nullable") else st.nothing()
        return st.one_of(_strings(node), numbers, others)
    return {
        "string": _strings,
        "integer": lambda it: st.integers(it["minimum"], it["maximum"]),
        "number": lambda it: st.floats(it["minimum"], it["maximum"]),
        "boolean": lambda _: st.booleans(),
        "array": _arrays,
        "object": _objects,
    }[node["type"]](node)


def _strings(node: JsonObject) -> st.SearchStrategy[str]:
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if node.get("format") == "date-time":
        return _TIMES
    least, most = node.get("minLength", 0), node["maxLength"]
    if "pattern" not in node:
        return st.text(_CHARACTERS, min_size=least, max_size=min(most, 20))
    fits = st.from_regex(re.compile(node["pattern"]), fullmatch=True, alphabet=_CHARACTERS)
    return fits.filter(lambda text: least <= len(text) <= most)


def _arrays(node: JsonObject) -> st.SearchStrategy[list[Any]]:
    keys = node.get("x-kubernetes-list-map-keys")
    return st.lists(
        _values(node["items"]),
        min_size=node.get("minItems", 0),
        max_size=min(node["maxItems"], _MOST),
        unique_by=(lambda item: tuple(item[key] for key in keys)) if keys else None,
        unique=node.get("x-kubernetes-list-type") == "set",
    )


def _objects(node: JsonObject) -> st.SearchStrategy[JsonObject]:
    if "additionalProperties" in node:
        keys = st.one_of(_NAMES, st.text(_CHARACTERS, min_size=1, max_size=12))
        values = _values(node["additionalProperties"])
        least = node.get("minProperties", 0)
        return st.dictionaries(keys, values, min_size=least, max_size=min(node["maxProperties"], _MOST))
    if "oneOf" in node:
        choices = [name for choice in node["oneOf"] for name in choice["required"]]
        rest = {name: child for name, child in node["properties"].items() if name not in choices}
        parts = [
            {"properties": {**rest, name: node["properties"][name]}, "required": [*node["required"], name]}
            for name in choices
        ]
        return st.one_of(*map(_objects, parts))
    children = node.get("properties", {})
    always = {name for name, child in children.items() if name in node.get("required", ()) or "default" in child}
    return st.fixed_dictionaries(
        {name: _values(child) for name, child in children.items() if name in always},
        optional={name: _values(child) for name, child in children.items() if name not in always},
    )


def _obey_training_job_rules(spec: JsonObject, data: st.DataObject) -> JsonObject:
    spec = deepcopy(spec)
    if data.draw(st.booleans(), label="inline"):
        inline = data.draw(st.dictionaries(_PATHS, st.text(_CHARACTERS, max_size=20), min_size=1, max_size=_MOST))
        spec["source"] = {"inline": inline}
        spec["entryScript"] = data.draw(st.sampled_from(sorted(inline)))
    else:
        spec["source"], spec["entryScript"] = data.draw(_OTHER_SOURCES), data.draw(_SEGMENTS)
    for item in spec.get("inputs", []):
        _obey_input_rules(item, data)
    if spec.pop("rerunOf", None) and data.draw(st.booleans(), label="rerun"):
        for name in ("source", "parameters", "arguments", "inputs", "environment"):
            spec.pop(name, None)
        spec.update(rerunOf=data.draw(_NAMES), entryScript="train.py")
    names = [item["name"] for item in spec.get("inputs", [])]
    if names and data.draw(st.booleans(), label="refer to an input"):
        spec.setdefault("arguments", []).append(f"$(inputs.{data.draw(st.sampled_from(names))})")
    models = {}
    for item in spec.get("models", []):
        item["path"] = data.draw(st.one_of(st.just("outputs"), _PATHS.map(lambda path: f"outputs/{path}")))
        models[item["name"], item["path"]] = item
        if "when" in item:
            _obey_condition_rules(item["when"])
    if models:
        spec["models"] = list(models.values())
    environment = spec.get("environment", {})
    if "variables" in environment:
        fine = [item for item in environment["variables"] if not item["name"].startswith("TRAINYARD_")]
        for item in fine:
            given = [name for name in ("value", "secretKeyRef", "configMapKeyRef") if name in item]
            kept = data.draw(st.sampled_from(given)) if given else None
            for name in given:
                if name != kept:
                    del item[name]
        environment["variables"] = fine
    if "conda" in environment:
        for name, texts in (("channels", _CHANNELS), ("packages", _CONDA_PACKAGES)):
            environment["conda"][name] = data.draw(st.lists(texts, min_size=1, max_size=_MOST))
    if "pip" in environment:
        environment["pip"] = data.draw(st.lists(_REQUIREMENTS, max_size=_MOST))
    if "requirements" in environment:
        files = sorted(spec["source"].get("inline", {}))
        if {"configMapRef", "archive", "git"} & set(spec["source"]):
            files = ["requirements.txt"]
        if files:
            environment["requirements"] = data.draw(st.sampled_from(files))
        else:
            del environment["requirements"]
    resources = spec.get("resources", {})
    if "limits" in resources and "requests" in resources:
        del resources[data.draw(st.sampled_from(["limits", "requests"]))]
    return spec


def _obey_input_rules(item: JsonObject, data: st.DataObject) -> None:
    kinds: dict[str, st.SearchStrategy[JsonObject]] = {
        "datastore": st.fixed_dictionaries({"path": _FOLDERS}),
        "s3": st.just(item.get("s3") or {"uri": "s3://bucket/a", "region": "us-east-1"}),
        "pvc": st.fixed_dictionaries({"claimName": _NAMES, "path": _FOLDERS}),
    }
    kind = data.draw(st.sampled_from(sorted(kinds)))
    for name in kinds:
        item.pop(name, None)
    item[kind] = data.draw(kinds[kind])
    if kind == "pvc":
        item.pop("sizeLimit", None)


def _obey_condition_rules(when: JsonObject) -> None:
    if not when.keys() & {"atLeast", "atMost"}:
        when["atLeast"] = 0
    if when.keys() >= {"atLeast", "atMost"}:
        when["atLeast"], when["atMost"] = sorted([when["atLeast"], when["atMost"]])


def _obey_input_cache_rules(spec: JsonObject, data: st.DataObject) -> None:
    where = ("hostPath", "persistentVolumeClaim")
    given = [name for name in where if name in spec["inputCache"]]
    if given:
        kept = data.draw(st.sampled_from(given))
        spec["inputCache"] = {name: it for name, it in spec["inputCache"].items() if name not in where or name == kept}
    else:
        del spec["inputCache"]


def _obey_compute_cluster_rules(spec: JsonObject, data: st.DataObject) -> JsonObject:
    spec = deepcopy(spec)
    if "inputCache" in spec:
        _obey_input_cache_rules(spec, data)
    provider = spec["provider"]
    if provider["type"] != "Existing":
        provider.pop("existing", None)
        if provider["type"] == "EKS":
            provider.pop("karpenter", None)
            provider.setdefault("eks", data.draw(_EKS))
            provider["eks"]["subnets"] = provider["eks"]["subnets"] or ["subnet-0a1b2c3d"]
        else:
            provider.pop("eks", None)
            reference = {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": data.draw(_NAMES)}
            provider["karpenter"] = {"nodeClassRef": reference}
            if spec["vmPriority"] == "LowPriority" and data.draw(st.booleans(), label="falls back"):
                provider["karpenter"]["fallbackToDedicatedAfterSeconds"] = data.draw(st.integers(10, 86400))
        spec["vmSize"] = data.draw(st.sampled_from(["SMALL", "standard_d2_v2", "no-such-size"]))
        spec.setdefault("scale", {"maxNodes": data.draw(st.integers(0, 4)), "idleSecondsBeforeScaleDown": 120})
        spec["scale"]["minNodes"] = data.draw(st.integers(0, spec["scale"]["maxNodes"]))
        return spec
    provider.pop("karpenter", None)
    provider.pop("eks", None)
    provider["adopt"] = False
    spec["vmPriority"] = "Dedicated"
    if "scale" in spec:
        spec["scale"]["minNodes"] = 0
    existing = provider.setdefault("existing", {})
    if "nodeSelector" in existing:
        keys = st.from_regex(r"([a-z]{1,8}(\.[a-z]{1,8})?/)?[A-Za-z0-9]{1,8}", fullmatch=True)
        existing["nodeSelector"] = {data.draw(keys): value for value in existing["nodeSelector"].values()}
    if "clusterAutoscaler" in existing:
        existing["clusterAutoscaler"]["nodeGroups"] = existing["clusterAutoscaler"]["nodeGroups"] or ["group"]
    for item in existing.get("tolerations", []):
        if "key" not in item:
            item["operator"] = "Exists"
        if item["operator"] == "Exists":
            item.pop("value", None)
        if item.get("effect") != "NoExecute":
            item.pop("tolerationSeconds", None)
    return spec


def _obey_registered_model_rules(spec: JsonObject, data: st.DataObject) -> JsonObject:
    spec = deepcopy(spec)
    if "aliases" in spec:
        names = st.from_regex(r"[a-z]([A-Za-z0-9_.-]{0,20}[a-z])?", fullmatch=True).filter(
            lambda name: name != "latest"
        )
        numbers = st.integers(1, 6)
        spec["aliases"] = data.draw(st.dictionaries(names, numbers, max_size=_MOST), label="aliases")
    for item in spec.get("imports", []):
        item["datastorePath"] = data.draw(st.one_of(_PATHS, _PATHS.map(lambda path: path + "/")))
    return spec
