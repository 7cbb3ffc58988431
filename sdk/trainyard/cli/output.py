"""``-o``: tables for people; for scripts the Kubernetes objects themselves, or their names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

JsonObject = Mapping[str, Any]
Command = TypeVar("Command", bound=Callable[..., Any])


def output_option(*forms: str, default: str = "table") -> Callable[[Command], Command]:
    """Return the option ``-o``, with `default` and `forms` as its words."""
    words = (default, *forms)
    return click.option(
        "-o",
        "--output",
        type=click.Choice(words),
        default=default,
        help=f"What to print: {', '.join(words)}.",
    )


def say(lines: Sequence[str] | str) -> None:
    """Print lines."""
    for line in [lines] if isinstance(lines, str) else lines:
        click.echo(line)


def note(text: str) -> None:
    """Print a line that is for people alone, so that it is in no pipe."""
    click.echo(text, err=True)


def print_object(found: JsonObject, form: str) -> None:
    """Print one object."""
    if form == "name":
        say(name_of(found))
    else:
        say(dumped(plain(found), form))


def print_objects(found: Sequence[JsonObject], form: str) -> None:
    """Print a list of objects, as kubectl does."""
    if form == "name":
        say([name_of(entry) for entry in found])
    else:
        whole = {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [plain(entry) for entry in found]}
        say(dumped(whole, form))


def name_of(found: JsonObject) -> str:
    """Return what kubectl calls an object."""
    group = str(found["apiVersion"]).split("/", 1)[0]
    return f"{str(found['kind']).lower()}.{group}/{found['metadata']['name']}"


def plain(found: JsonObject) -> dict[str, Any]:
    """Return an object without the notes on who manages which field, which kubectl leaves out as well."""
    metadata = {name: value for name, value in found["metadata"].items() if name != "managedFields"}
    return {**found, "metadata": metadata}


def dumped(document: Any, form: str) -> str:
    """Return a document as JSON or YAML."""
    if form == "json":
        return json.dumps(document, indent=4, ensure_ascii=False)
    import yaml

    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip("\n")
