"""What a reader of models asks for: which model, where, and which of its versions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from trainyard.contract import check_relative_path
from trainyard_operator.api.fields import MAX_MODEL_NAME, MODEL_NAME
from trainyard_operator.gateway.errors import bad_request

LATEST: Final = "latest"
MAX_ALIAS: Final = 63
_ALIAS = MODEL_NAME
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_VERSIONS = f"use {LATEST}, a number such as 3, or an alias such as @champion"


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """Somebody wants to read a version of a model.

    `namespace` is None for the caller's own; `number` and `alias` are None for the latest version that is Ready.
    """

    model: str
    namespace: str | None = None
    number: int | None = None
    alias: str | None = None
    after: str = ""
    op: Literal["model"] = "model"


def parse_model(document: Mapping[str, Any]) -> ModelRequest:
    """Return what a body with the operation ``model`` asks for; raises a `Refusal` that names the field."""
    model = document.get("model")
    if not isinstance(model, str) or len(model) > MAX_MODEL_NAME or not MODEL_NAME.fullmatch(model):
        raise bad_request(f"model is {model!r}: give a model's name, such as sklearn_mnist", field="model")
    namespace = document.get("namespace")
    if namespace is not None and not (isinstance(namespace, str) and _NAMESPACE.fullmatch(namespace)):
        raise bad_request(f"namespace is {namespace!r}: give a namespace's name, or leave it out", field="namespace")
    after = document.get("after", "")
    if not isinstance(after, str):
        raise bad_request("after must be a string", field="after")
    try:
        check_relative_path(after, what="after", empty=True)
    except ValueError as error:
        raise bad_request(str(error), field="after") from error
    number, alias = _version(document.get("version", LATEST))
    return ModelRequest(model=model, namespace=namespace, number=number, alias=alias, after=after)


def _version(asked: object) -> tuple[int | None, str | None]:
    text = str(asked) if isinstance(asked, int) and not isinstance(asked, bool) else asked
    if text == LATEST:
        return None, None
    if isinstance(text, str) and _NUMBER.fullmatch(text):
        return int(text), None
    if isinstance(text, str) and text.startswith("@") and len(text) <= MAX_ALIAS + 1 and _ALIAS.fullmatch(text[1:]):
        return None, text[1:]
    raise bad_request(f"version is {asked!r}: {_VERSIONS}", field="version")
