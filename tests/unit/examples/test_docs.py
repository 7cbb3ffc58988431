"""The documentation says what is so: links lead somewhere, examples are valid, and lists are whole."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.support import schemas
from trainyard_operator.api import reasons
from trainyard_operator.api.names import COMPUTE_CLUSTER, REGISTERED_MODEL, TRAINING_JOB

ROOT = Path(__file__).resolve().parents[3]
EVERYWHERE = ["*.md", "docs/**/*.md", "examples/**/*.md"]
PAGES = {str(path.relative_to(ROOT)): path for pattern in EVERYWHERE for path in sorted(ROOT.glob(pattern))}
OURS = {name: path for name, path in PAGES.items() if not name.startswith(("docs/kinds/", "docs/reference/"))}
KINDS = {kind.kind: kind for kind in (TRAINING_JOB, COMPUTE_CLUSTER, REGISTERED_MODEL)}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TARGET = re.compile(r"\bmake ([a-z][a-z0-9-]*)")


def blocks(language):
    """Return the blocks of a language in all pages, as parameters of a test."""
    found = []
    for name, path in OURS.items():
        bodies = [body for kind, body in FENCE.findall(path.read_text()) if kind == language]
        found += [pytest.param(body, id=f"{name}-{number}") for number, body in enumerate(bodies, 1)]
    return found


def anchors(page):
    """Return the anchors that GitHub gives the headings of a page."""
    text = FENCE.sub("", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}


@pytest.mark.parametrize("name", PAGES)
def test_links_within_the_repository_lead_somewhere(name):
    page = PAGES[name]
    broken = []
    for link in LINK.findall(CODE.sub("", FENCE.sub("", page.read_text()))):
        if link.startswith(("https://", "http://")):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        if not file.is_relative_to(ROOT) or not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("script", blocks("sh"))
def test_shell_blocks_are_shell(script):
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False, timeout=60)
    assert done.stderr == ""


@pytest.mark.parametrize("script", blocks("python"))
def test_python_blocks_are_python(script):
    compile(script, "block", "exec")


@pytest.mark.parametrize("name", OURS)
def test_targets_of_make_that_are_named_exist(name):
    there = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = OURS[name].read_text()
    code = [*(body for _, body in FENCE.findall(text)), *CODE.findall(FENCE.sub("", text))]
    assert {target for piece in code for target in TARGET.findall(piece)} - there == set()


def strict(node):
    """Return a schema that refuses what the API server would silently drop."""
    closed = dict(node)
    if "properties" in node:
        closed["properties"] = {name: strict(child) for name, child in node["properties"].items()}
        closed["additionalProperties"] = False
    if isinstance(node.get("items"), dict):
        closed["items"] = strict(node["items"])
    if isinstance(node.get("additionalProperties"), dict):
        closed["additionalProperties"] = strict(node["additionalProperties"])
    return closed


@pytest.mark.parametrize(
    "text",
    [
        *blocks("yaml"),
        *(
            pytest.param((ROOT / "examples" / name).read_text(), id=name)
            for name in (
                "mnist/training-job.yaml",
                "mnist/compute-cluster.yaml",
                "quickstart/digits.yaml",
                "gitops/team/compute-cluster.yaml",
                "gitops/team/model.yaml",
                "gitops/team/runs/digits-1/run.yaml",
            )
        ),
    ],
)
def test_objects_of_our_kinds_fit_their_schemas(text):
    for document in yaml.safe_load_all(text):
        if "kind" not in document:  # Values of the chart.
            jsonschema.validate(document, json.loads((ROOT / "helm/trainyard/values.schema.json").read_text()))
            continue
        schema = strict(schemas.schema(KINDS[document["kind"]].plural))
        schema["properties"]["metadata"]["additionalProperties"] = True
        jsonschema.validate(document, schema)


def test_a_misspelt_field_would_not_fit():
    document = {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingJob", "spec": {"sauce": {}, "source": {}}}
    with pytest.raises(jsonschema.ValidationError, match="sauce"):
        test_objects_of_our_kinds_fit_their_schemas(yaml.safe_dump(document))


def test_a_misspelt_value_would_not_fit():
    with pytest.raises(jsonschema.ValidationError, match="subject"):
        test_objects_of_our_kinds_fit_their_schemas("workspaces: [{namespace: a, subject: []}]")


def test_every_page_is_found_from_the_readme():
    """A page that no other leads to is read by nobody."""
    seen, left = set(), ["README.md"]
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        for link in LINK.findall(CODE.sub("", FENCE.sub("", PAGES[name].read_text()))):
            target = (PAGES[name].parent / link.partition("#")[0]).resolve()
            below = sorted(target.glob("*.md")) if target.is_dir() else [target]
            left += [path for path in map(relative, below) if path in PAGES]
    assert set(PAGES) - seen == set()


def relative(path):
    """Return a path as the keys of `PAGES` are."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""


@pytest.mark.parametrize(
    "words", [reasons.TrainingJobReason, reasons.ComputeClusterReason, reasons.RegisteredModelReason]
)
def test_operations_goes_through_every_reason(words):
    text = (ROOT / "docs" / "operations.md").read_text()
    assert [word.value for word in words if f"`{word.value}`" not in text] == []


def test_concepts_explains_every_phase():
    text = (ROOT / "docs" / "concepts.md").read_text()
    assert [phase.value for phase in reasons.Phase if f"| {phase.value} |" not in text] == []


def test_metrics_that_operations_names_are_those_that_the_operator_has():
    source = "".join(path.read_text() for path in (ROOT / "operator").rglob("*.py"))
    named = set(re.findall(r"`(trainyard_[a-z_]+)`", (ROOT / "docs" / "operations.md").read_text()))
    exported = set(re.findall(r'(?:Counter|Gauge|Histogram)\(\s*(?:name=)?"(trainyard_[a-z_]+)"', source))
    assert {name.removesuffix("_total") for name in named} == exported


def test_the_picture_of_the_layers_is_what_import_linter_holds():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    expected = [[name.strip().rpartition(".")[2] for name in layer.split("|")] for layer in layers]
    (picture,) = (
        body
        for _, body in FENCE.findall((ROOT / "docs" / "architecture.md").read_text())
        if body.startswith(" __main__")
    )
    rows = [re.split(r"\s{2,}", line.strip())[0] for line in picture.splitlines()]
    assert [[name.strip() for name in row.split("│")] for row in rows if row != "│"] == expected


def test_every_decision_is_in_the_list_of_decisions():
    folder = ROOT / "docs" / "decisions"
    listed = LINK.findall((folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("0*.md"))
