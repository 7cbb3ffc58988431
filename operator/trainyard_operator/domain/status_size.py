"""Keeping the status of a run small, whatever a script logs and however long the words are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from trainyard_operator.domain.conditions import shorten

JsonObject = dict[str, Any]

MAX_STATUS_BYTES = 32 * 1024
_CONDITION_CHARS = 256


def fit(status: JsonObject) -> JsonObject:
    """Return `status` in at most 32 KiB of JSON.

    What is least missed goes first, since manifest and log have all of it: the log's tail, the ends of long
    conditions, why models are held back, tags, metrics, and the places of models, which their RegisteredModel has too.
    """
    if size_of(status) <= MAX_STATUS_BYTES:
        return status
    smaller = dict(status)
    for less in _reductions(smaller):
        smaller |= less
        over = size_of(smaller) - MAX_STATUS_BYTES
        if over <= 0:
            break
    return {name: value for name, value in smaller.items() if value not in ({}, None)}


def size_of(status: JsonObject) -> int:
    """Return how many bytes of JSON `status` is."""
    return len(json.dumps(status, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass"))


def _reductions(status: JsonObject) -> Iterator[JsonObject]:
    if "failure" in status:
        yield {"failure": {name: value for name, value in status["failure"].items() if name != "logTail"}}
    yield {"conditions": [_shortened(condition) for condition in status.get("conditions") or ()]}
    yield {"heldModels": [_without(model, "message") for model in status.get("heldModels") or ()] or None}
    for name in ("tags", "metrics"):
        while status.get(name):
            yield {name: _without_last(status[name], over=size_of(status) - MAX_STATUS_BYTES)}
    yield {"models": [_without(model, "uri") for model in status.get("models") or ()] or None}


def _shortened(condition: JsonObject) -> JsonObject:
    return {**condition, "message": shorten(condition["message"], _CONDITION_CHARS)}


def _without_last(values: JsonObject, *, over: int) -> JsonObject:
    kept = dict(values)
    while kept and over > 0:
        name, value = kept.popitem()
        over -= size_of({name: value}) - 1
    return kept


def _without(model: JsonObject, name: str) -> JsonObject:
    return {key: value for key, value in model.items() if key != name}
