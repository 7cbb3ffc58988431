"""Write docs/kinds/: one reference page a kind, made from `crds/`, the operator's reasons and an example.

Run it as ``python -m tools.crd_docs`` after a change of either; with ``--check`` it only says whether a page is stale.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tools.generated import write_pages
from trainyard_operator.api import reasons
from trainyard_operator.api.names import COMPUTE_CLUSTER, REGISTERED_MODEL, TRAINING_JOB, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from trainyard_operator.api.reasons import Word

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "tools" / "kind_examples"
PAGES = ROOT / "docs" / "kinds"
JsonObject = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a kind's page is made from, besides its schema."""

    kind: Kind
    vocabularies: tuple[tuple[str, type[Word]], ...]

    @property
    def name(self) -> str:
        """Name of the page, without its suffix."""
        return self.kind.kind.lower()


ALL = (
    Page(
        kind=TRAINING_JOB,
        vocabularies=(
            ("Phases", reasons.Phase),
            ("Conditions", reasons.TrainingJobCondition),
            ("Reasons", reasons.TrainingJobReason),
        ),
    ),
    Page(
        kind=COMPUTE_CLUSTER,
        vocabularies=(
            ("Conditions", reasons.ComputeClusterCondition),
            ("Reasons", reasons.ComputeClusterReason),
        ),
    ),
    Page(
        kind=REGISTERED_MODEL,
        vocabularies=(
            ("States of a version", reasons.VersionState),
            ("Conditions", reasons.RegisteredModelCondition),
            ("Reasons", reasons.RegisteredModelReason),
        ),
    ),
)


def render(page: Page) -> str:
    """Return the Markdown of one kind's page."""
    source = f"crds/{page.kind.plural}.yaml"
    definition = yaml.safe_load((ROOT / source).read_text())
    names = definition["spec"]["names"]
    (version,) = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    example = (EXAMPLES / f"{page.name}.yaml").read_text().rstrip()
    parts = [
        f"<!-- Made by tools/crd_docs.py from {source}: change that file, then run `python -m tools.crd_docs`. -->",
        f"# {page.kind.kind}",
        schema["description"],
        f"`apiVersion: {page.kind.api_version}`; namespaced; short name `{names['shortNames'][0]}`.",
        f"```yaml\n{example}\n```",
        "## Spec",
        schema["properties"]["spec"]["description"],
        _fields(schema["properties"]["spec"]),
        "### Rules",
        "The API server refuses an object, or a change of one, that breaks one of these:",
        "\n".join(f"- {_sentence(rule['message'])}" for rule in _rules(schema)),
        "## Status",
        schema["properties"]["status"]["description"],
        _fields(schema["properties"]["status"]),
        "## Columns",
        f"`kubectl get {names['shortNames'][0]}` shows these; those marked *wide* with `-o wide`.",
        _columns(version["additionalPrinterColumns"]),
    ]
    for title, words in page.vocabularies:
        parts += [f"## {title}", _vocabulary(words)]
    return "\n\n".join(parts) + "\n"


def _fields(schema: JsonObject) -> str:
    rows = (
        (f"`{path}`", _type(node), _default(node, required=required), _bounds(node), node["description"])
        for path, node, required in _walk(schema)
    )
    return _table(("Field", "Type", "Default", "Bounds", "Meaning"), rows)


def _walk(schema: JsonObject, path: str = "") -> Iterator[tuple[str, JsonObject, bool]]:
    for name, node in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here, node, name in schema.get("required", ())
        yield from _walk(node, here)
        yield from _walk(node.get("items", {}), f"{here}[]")
        yield from _walk(node.get("additionalProperties", {}), f"{here}{{}}")


def _rules(schema: JsonObject) -> Iterator[JsonObject]:
    yield from schema.get("x-kubernetes-validations", ())
    children = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for child in children:
        if isinstance(child, dict):
            yield from _rules(child)


def _type(node: JsonObject) -> str:
    if node.get("x-kubernetes-int-or-string"):
        return "quantity"
    if node.get("x-kubernetes-preserve-unknown-fields"):
        return "scalar" if node.get("nullable") else "number or string"
    if node["type"] == "array":
        return f"list of {_type(node['items'])}s"
    if node["type"] == "object" and "additionalProperties" in node:
        return f"map to {_type(node['additionalProperties'])}"
    return "time" if node.get("format") == "date-time" else str(node["type"])


def _default(node: JsonObject, *, required: bool) -> str:
    if "default" in node:
        return f"`{node['default']!s}`" if node["default"] != "" else "empty"
    return "required" if required else ""


def _bounds(node: JsonObject) -> str:
    if "enum" in node:
        return "one of " + ", ".join(f"`{word}`" for word in node["enum"])
    if node.get("format") == "date-time":
        return ""
    values = node.get("additionalProperties")
    inner = _bounds(values) if values and not values.get("x-kubernetes-preserve-unknown-fields") else ""
    bounds = [
        _range(node, "minLength", "maxLength", "characters"),
        _range(node, "minItems", "maxItems", "entries"),
        _range(node, "minProperties", "maxProperties", "entries"),
        _range(node, "minimum", "maximum", ""),
        f"matches `{node['pattern']}`" if "pattern" in node else "",
        f"values: {inner}" if inner else "",
    ]
    return "; ".join(bound for bound in bounds if bound)


def _range(node: JsonObject, low: str, high: str, unit: str) -> str:
    if high not in node:
        return ""
    # The largest whole number that every JSON reader keeps is no bound that a person needs to know.
    most = "" if node[high] == 2**53 - 1 else f"{node[high]}"
    least = node.get(low, 0)
    if least == 1 - 2**53 and not most:
        return ""
    if unit and not least:
        return f"at most {most} {unit}"
    return f"{least} to {most} {unit}".rstrip() if most else f"at least {least}"


def _columns(columns: list[JsonObject]) -> str:
    rows = (
        (column["name"].upper(), "wide" if column.get("priority") else "", column["description"]) for column in columns
    )
    return _table(("Column", "", "Meaning"), rows)


def _vocabulary(words: type[Word]) -> str:
    return _table(("Word", "Meaning"), ((f"`{word}`", word.explanation) for word in words))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` compare them."""
    pages = {PAGES / f"{page.name}.md": render(page) for page in ALL}
    return write_pages(pages, arguments=arguments, root=ROOT, description="Write the reference pages of docs/kinds/.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
