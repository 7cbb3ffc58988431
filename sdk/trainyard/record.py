"""What a run says of itself beside numbers: tags, properties and models, checked the same way wherever they arrive.

The script's own process checks them to complain where the mistake is, the runner because it trusts no line that it
reads, and the operator because it trusts no pod.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from trainyard.contract import (
    MAX_DESCRIPTION_CHARS,
    MAX_MODEL_NAME_CHARS,
    MAX_TAG_CHARS,
    MAX_TAG_KEY_CHARS,
    MAX_TAGS,
    OUTPUTS,
    ModelWish,
    check_relative_path,
    printable,
)
from trainyard.values import described

# A tag of a model's version that begins so is a property: it is given at the registration alone.
PROPERTY = "property/"
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_PLAIN = (str, int, float, bool)


def check_tags(tags: object, *, what: str) -> dict[str, str]:
    """Return `tags` with texts as values; None becomes the empty text.

    Raises
    ------
    ValueError
        With a sentence that begins with `what`.
    """
    if not isinstance(tags, Mapping):
        raise ValueError(f"{what} are {described(tags)}: give a dictionary of names and texts")  # noqa: TRY004
    if len(tags) > MAX_TAGS:
        raise ValueError(f"{what} have {len(tags)} entries: give at most {MAX_TAGS}")
    return dict(_tag(key, value, what=what) for key, value in tags.items())


def with_properties(tags: object, properties: object) -> object:
    """Return the tags that a version is registered with: the properties are among them.

    What is no dictionary is left for `check_model` to complain of.
    """
    there = tags or {}
    if not properties or not isinstance(there, Mapping):
        return tags
    if not isinstance(properties, Mapping):
        return properties
    return {**there, **{f"{PROPERTY}{name}": value for name, value in properties.items()}}


def check_model(model: object, *, what: str = "the model") -> ModelWish:
    """Return the wish to register a model, with its path below ``outputs``.

    Raises
    ------
    ValueError
        With a sentence that begins with `what`.
    """
    if not isinstance(model, Mapping):
        raise ValueError(f"{what} is {described(model)}: give name and path")  # noqa: TRY004
    name = model.get("name")
    if not isinstance(name, str) or len(name) > MAX_MODEL_NAME_CHARS or not _MODEL_NAME.fullmatch(name):
        raise ValueError(
            f"the name of {what} is {described(name)}: give letters, digits, '_', '.' and '-', "
            f"beginning with a letter or digit, at most {MAX_MODEL_NAME_CHARS}"
        )
    wish = ModelWish(name=name, path=outputs_path(model.get("path"), what=f"the path of {what} {name}"))
    description, tags = model.get("description"), model.get("tags")
    if description:
        if not isinstance(description, str):
            raise ValueError(f"the description of {what} {name} is {described(description)}: give text")
        wish["description"] = printable(description)[:MAX_DESCRIPTION_CHARS]
    if tags:
        wish["tags"] = check_tags(tags, what=f"the tags of {what} {name}")
    return wish


def outputs_path(path: object, *, what: str) -> str:
    """Return the place among a run's outputs that `path` names, with or without ``outputs/`` before it.

    Raises
    ------
    ValueError
        With a sentence that begins with `what`.
    """
    if not isinstance(path, str):
        raise ValueError(f"{what} is {described(path)}: give a path such as outputs/model.pkl")  # noqa: TRY004
    relative = path
    while relative.startswith("./"):
        relative = relative[2:]
    clean = check_relative_path(relative, what=what).removesuffix("/")
    found = clean if clean == OUTPUTS or clean.startswith(f"{OUTPUTS}/") else f"{OUTPUTS}/{clean}"
    return check_relative_path(found, what=what)


def _tag(key: object, value: object, *, what: str) -> tuple[str, str]:
    if not isinstance(key, str) or not printable(key) or len(key) > MAX_TAG_KEY_CHARS:
        raise ValueError(f"{what} have the name {described(key)}: give 1 to {MAX_TAG_KEY_CHARS} characters")
    if value is None:
        return printable(key), ""
    if not isinstance(value, _PLAIN):
        raise ValueError(f"{what} have at {key!r} a value {described(value)}: give text")  # noqa: TRY004
    text = printable(str(value))
    if len(text) > MAX_TAG_CHARS:
        raise ValueError(f"{what} have at {key!r} {len(text)} characters: give at most {MAX_TAG_CHARS}")
    return printable(key), text
