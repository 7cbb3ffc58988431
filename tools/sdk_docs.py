"""Write docs/reference/: the Python SDK's pages, made from its type hints and docstrings.

Run it as ``python -m tools.sdk_docs`` after a change of either; with ``--check`` it only says whether a page is stale.
The package is read and never imported, so that what it needs has not to be installed.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import griffe

from tools.generated import write_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "reference"
PACKAGE = "trainyard"
INDEX = "README"
SIGNATURE_CHARS = 100
# Names that are public and explain themselves nowhere else than in the language.
_IMPLIED = frozenset({"self", "cls"})
# Only the package itself makes these.
_NOT_MADE = frozenset({"trainyard.run.Run", "trainyard.run.Model"})
# What the package's own modules call of each other, and people do not.
_INTERNAL = frozenset({"of_api", "of_object", "to_input", "to_spec"})


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page: its name and title, and what is on it, by the path below the package."""

    name: str
    title: str
    about: str
    paths: tuple[str, ...]


# Each name of ``trainyard.__all__`` is on one of these. A module brings what is in its ``__all__``, or else all of its
# own public classes and functions.
ALL = (
    Page(
        name="workspace",
        title="Workspace",
        about="A namespace of a cluster that has Trainyard.",
        paths=("Workspace",),
    ),
    Page(
        name="experiment",
        title="Experiment",
        about="The name that runs have in common, and what submits them.",
        paths=("Experiment",),
    ),
    Page(
        name="run",
        title="Run",
        about="The run as the script itself sees it; it needs the standard library alone.",
        paths=("Run", "run.Model"),
    ),
    Page(
        name="submitted-run",
        title="SubmittedRun",
        about="A run as people see it from outside of it.",
        paths=("SubmittedRun",),
    ),
    Page(
        name="compute",
        title="Compute targets",
        about="Autoscaled pools of machines, each of them a ComputeCluster.",
        paths=(
            "ComputeTarget",
            "AmlCompute",
            "BatchAiCompute",
            "remote.compute_status.AmlComputeStatus",
            "remote.compute.ProvisioningConfiguration",
        ),
    ),
    Page(
        name="datastore",
        title="Datastore",
        about="The namespace's folder in the object store, and parts of it as arguments of a script.",
        paths=("Datastore", "DataReference"),
    ),
    Page(
        name="estimator",
        title="What to run",
        about="A folder of code, its entry script, and what that needs.",
        paths=(
            "Estimator",
            "remote.sklearn.SKLearn",
            "ScriptRunConfig",
            "remote.runconfig.RunConfiguration",
            "Environment",
            "remote.conda.CondaDependencies",
        ),
    ),
    Page(
        name="model",
        title="Model",
        about="Numbered versions of registered models.",
        paths=("Model",),
    ),
    Page(
        name="widgets",
        title="Widgets",
        about="A run in a notebook, live.",
        paths=("widgets",),
    ),
    Page(
        name="local",
        title="Without a cluster",
        about="Runs as processes of this machine; see [local.md](../local.md).",
        paths=("local",),
    ),
    Page(
        name="errors",
        title="Errors",
        about="All of them are a `TrainyardError`, and each says in one sentence what to do.",
        paths=("errors",),
    ),
)


@cache
def package() -> griffe.Object:
    """Return the package as it is in the source, with nothing imported."""
    found = griffe.load(PACKAGE, search_paths=[ROOT / "sdk"], docstring_parser="numpy", allow_inspection=False)
    assert isinstance(found, griffe.Module)
    return found


def documented(page: Page) -> Iterator[griffe.Class | griffe.Function]:
    """Yield the classes and functions of a page."""
    for path in page.paths:
        found = _resolved(package()[path])
        members = [found]
        if isinstance(found, griffe.Module):
            listed = [found.members[str(name).strip("'\"")] for name in found.exports or ()]
            own = [member for name, member in found.members.items() if not (member.is_alias or name.startswith("_"))]
            members = [_resolved(member) for member in listed or own]
        for member in members:
            if isinstance(member, (griffe.Class, griffe.Function)):
                yield member


def _resolved(found: griffe.Object | griffe.Alias) -> griffe.Object:
    return found.final_target if isinstance(found, griffe.Alias) else found


def methods(cls: griffe.Class) -> Iterator[griffe.Function]:
    """Yield the methods that people call."""
    for name, member in _members(cls).items():
        if isinstance(member, griffe.Function) and not name.startswith("_") and name not in _INTERNAL:
            yield member


def properties(cls: griffe.Class) -> Iterator[griffe.Attribute]:
    """Yield what is read and not called: properties, and fields of a dataclass."""
    for name, member in _members(cls).items():
        if not isinstance(member, griffe.Attribute) or name.startswith("_"):
            continue
        if "property" in member.labels or (_is_dataclass(cls) and member.annotation is not None):
            yield member


def _members(cls: griffe.Class) -> dict[str, griffe.Object | griffe.Alias]:
    # What a base class brings that is on no page is told here.
    hidden = [base for base in cls.mro() if base.path.startswith(PACKAGE) and base.path not in _documented()]
    found = dict(cls.members)
    for base in hidden:
        found = {**base.members, **found}
    return found


def meaning(cls: griffe.Class, read: griffe.Attribute) -> str:
    """Return what is said of a property: by itself, or by its class among the attributes."""
    said = _names(sections(cls, griffe.DocstringSectionKind.attributes))
    return " ".join(_text(read)) or said.get(read.name, "")


def constructor(cls: griffe.Class) -> griffe.Function | None:
    """Return what people call to make one; None where only the package makes them."""
    found = cls.members.get("__init__")
    if not isinstance(found, griffe.Function) or _is_dataclass(cls) or cls.path in _NOT_MADE:
        return None
    return found


def _is_dataclass(cls: griffe.Class) -> bool:
    return "dataclass" in cls.labels


def parameters(function: griffe.Function) -> list[griffe.Parameter]:
    """Return what a caller may give."""
    return [
        parameter
        for parameter in function.parameters
        if parameter.name not in _IMPLIED and not parameter.name.startswith("_") and not _is_rest(parameter)
    ]


def _is_rest(parameter: griffe.Parameter) -> bool:
    return parameter.kind in {griffe.ParameterKind.var_positional, griffe.ParameterKind.var_keyword}


def sections(found: griffe.Object, kind: griffe.DocstringSectionKind) -> list[griffe.DocstringNamedElement]:
    """Return the entries of all sections of a kind in the docstring."""
    parsed = found.docstring.parsed if found.docstring else ()
    return [entry for section in parsed if section.kind is kind for entry in section.value]


def render(page: Page) -> str:
    """Return the Markdown of a page."""
    parts = [
        "<!-- Made by tools/sdk_docs.py from sdk/trainyard: change the docstrings there, then run `make docs`. -->",
        f"# {page.title}",
        page.about,
    ]
    for found in documented(page):
        parts += _class(found) if isinstance(found, griffe.Class) else _function(found, level=2)
    return "\n\n".join(parts) + "\n"


def render_index() -> str:
    """Return the Markdown of the list of pages."""
    rows = (
        (f"[{page.title}]({page.name}.md)", ", ".join(f"`{found.name}`" for found in documented(page)), page.about)
        for page in ALL
    )
    return (
        "\n\n".join(
            (
                "<!-- Made by tools/sdk_docs.py: change that file, then run `make docs`. -->",
                "# Reference of the Python SDK",
                "What the SDK is for, and how its parts go together, is in [sdk.md](../sdk.md).",
                _table(("page", "has", "is"), rows),
            )
        )
        + "\n"
    )


def _class(cls: griffe.Class) -> list[str]:
    made = constructor(cls)
    bases = [base.name for base in cls.mro() if base.path in _documented()][:1]
    parts = [f"## {cls.name}", f"`from {_home(cls)} import {cls.name}`"]
    if bases:
        parts.append(f"A {', '.join(_linked(base) for base in bases)}, with all that it has.")
    if made:
        parts.append(_signature(cls.name, made))
    parts += _text(cls)
    if made:
        parts += _parameters(cls, made)
    parts += _raises(cls)
    rows = [(f"`{one.name}`", _hint(one.annotation), meaning(cls, one)) for one in properties(cls)]
    if rows:
        parts.append(_table(("property", "type", "is"), rows))
    for method in methods(cls):
        parts += _function(method, level=3, owner=cls.name)
    return parts


def _function(function: griffe.Function, *, level: int, owner: str = "") -> list[str]:
    alone = {"staticmethod", "classmethod"} & function.labels
    name = f"{owner}.{function.name}" if owner and alone else function.name
    return [
        f"{'#' * level} {name}",
        _signature(name, function),
        *_text(function),
        *_parameters(function, function),
        *(f"Returns: {entry.description}" for entry in sections(function, griffe.DocstringSectionKind.returns)),
        *_raises(function),
    ]


def _signature(name: str, function: griffe.Function) -> str:
    words: list[str] = []
    for parameter in parameters(function):
        if parameter.kind is griffe.ParameterKind.keyword_only and "*" not in words:
            words.append("*")
        hint = f": {parameter.annotation}" if parameter.annotation is not None else ""
        default = "" if parameter.required else f"{' = ' if hint else '='}{_default(function, parameter)}"
        words.append(f"{parameter.name}{hint}{default}")
    end = ")" if function.returns is None or function.name == "__init__" else f") -> {function.returns}"
    line = f"{name}({', '.join(words)}{end}"
    if len(line) > SIGNATURE_CHARS:
        line = "\n".join((f"{name}(", *(f"    {word}," for word in words), end))
    return f"```text\n{line}\n```"


def _default(function: griffe.Function, parameter: griffe.Parameter) -> str:
    default = parameter.default
    if isinstance(default, griffe.ExprName) and default.canonical_path.startswith(f"{PACKAGE}."):
        constant = function.modules_collection[default.canonical_path]
        return str(constant.value if isinstance(constant, griffe.Attribute) else default)
    return str(default)


def _names(entries: Iterable[griffe.DocstringNamedElement]) -> dict[str, str]:
    return {name.strip(): entry.description for entry in entries for name in entry.name.split(",")}


def described(found: griffe.Object) -> dict[str, str]:
    """Return what a docstring says of parameters."""
    return _names(sections(found, griffe.DocstringSectionKind.parameters))


def _parameters(found: griffe.Object, function: griffe.Function) -> list[str]:
    said = described(found)
    rows = []
    for one in parameters(function):
        default = "required" if one.required else f"`{_default(function, one)}`"
        rows.append((f"`{one.name}`", _hint(one.annotation), default, said.get(one.name, "")))
    return [_table(("parameter", "type", "default", "is"), rows)] if rows else []


def _raises(found: griffe.Object) -> list[str]:
    entries = sections(found, griffe.DocstringSectionKind.raises)
    rows = [(_linked(str(entry.annotation)), entry.description) for entry in entries]
    return [_table(("raises", "when"), rows)] if rows else []


def _text(found: griffe.Object) -> list[str]:
    parsed = found.docstring.parsed if found.docstring else ()
    return [_plain(section.value) for section in parsed if section.kind is griffe.DocstringSectionKind.text]


def _home(cls: griffe.Class) -> str:
    modules = [path for page in ALL for path in page.paths if isinstance(_resolved(package()[path]), griffe.Module)]
    for where in (PACKAGE, *(f"{PACKAGE}.{path}" for path in modules)):
        found = package().modules_collection[where].members.get(cls.name)
        if found is not None and _resolved(found).path == cls.path:
            return where
    return cls.module.path


def exported() -> list[str]:
    """Return the names of ``trainyard.__all__``."""
    return [str(name).strip("'\"") for name in package().exports or ()]


@cache
def _places() -> dict[str, str]:
    return {found.name: page.name for page in ALL for found in documented(page)}


@cache
def _documented() -> frozenset[str]:
    return frozenset(found.path for page in ALL for found in documented(page))


def _linked(name: str) -> str:
    page = _places().get(name)
    return f"[`{name}`]({page}.md#{name.lower()})" if page else f"`{name}`"


def _hint(annotation: object) -> str:
    return f"`{annotation}`" if annotation is not None else ""


def _plain(text: str) -> str:
    # What numpydoc marks with two backticks, Markdown marks with one.
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return _plain(" ".join(text.split())).replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` compare them."""
    texts = {INDEX: render_index(), **{page.name: render(page) for page in ALL}}
    pages = {PAGES / f"{name}.md": text for name, text in texts.items()}
    return write_pages(
        pages, arguments=arguments, root=ROOT, description="Write the reference pages of docs/reference/."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
