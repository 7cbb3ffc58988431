"""JSON schemas for kubeconform, made from what an API server publishes, so that no download is needed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

GroupVersionKind = tuple[str, str, str]

# Where `write` puts a schema, in kubeconform's own words.
LOCATION = "{{ .Group }}/{{ .ResourceAPIVersion }}/{{ .ResourceKind }}.json"


def kind_of(found: dict[str, Any]) -> GroupVersionKind:
    """Return the group, version and kind of an object."""
    group, _, version = found["apiVersion"].rpartition("/")
    return group, version, found["kind"]


def write(kinds: Iterable[GroupVersionKind], *, folder: Path, get: Callable[[str], str]) -> str:
    """Write a strict schema of each kind and return kubeconform's ``-schema-location``; `get` reads an API path."""
    for group, version, kind in kinds:
        path = f"/openapi/v3/apis/{group}/{version}" if group else f"/openapi/v3/api/{version}"
        schema = standalone(json.loads(get(path)), (group, version, kind))
        # kubeconform calls the group of v1 "v1".
        file = folder / (group or version) / version / f"{kind.lower()}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(schema))
    return f"{folder}/{LOCATION}"


def standalone(document: dict[str, Any], kind: GroupVersionKind) -> dict[str, Any]:
    """Return one kind's schema out of an OpenAPI document, with all that it refers to."""
    schemas = document["components"]["schemas"]
    wanted = dict(zip(("group", "version", "kind"), kind, strict=True))
    (name,) = [n for n, found in schemas.items() if wanted in found.get("x-kubernetes-group-version-kind", [])]
    return {"$ref": f"#/$defs/{name}", "$defs": {n: _strict(found) for n, found in schemas.items()}}


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _strict(value) for key, value in schema.items()}
    if isinstance(reference := schema.get("$ref"), str):
        found["$ref"] = reference.replace("#/components/schemas/", "#/$defs/")
    free = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not free:
        found["additionalProperties"] = False
    return found
