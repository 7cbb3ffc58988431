"""The reference pages in docs/kinds/ are what the generator makes now, and their examples work."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from tests.support.schemas import schema, walk
from tools import crd_docs
from trainyard_operator.api.compute_cluster import ComputeClusterSpec
from trainyard_operator.api.registered_model import RegisteredModelSpec
from trainyard_operator.api.training_job import TrainingJobSpec

PARSERS = {"TrainingJob": TrainingJobSpec, "ComputeCluster": ComputeClusterSpec, "RegisteredModel": RegisteredModelSpec}
pages = pytest.mark.parametrize("page", crd_docs.ALL, ids=lambda page: page.name)


def example(page):
    return yaml.safe_load((crd_docs.EXAMPLES / f"{page.name}.yaml").read_text())


def test_the_committed_pages_are_fresh():
    stale = [
        page.name for page in crd_docs.ALL if (crd_docs.PAGES / f"{page.name}.md").read_text() != crd_docs.render(page)
    ]
    assert stale == [], "run python -m tools.crd_docs"


def test_there_is_no_page_of_anything_else():
    assert {path.stem for path in crd_docs.PAGES.glob("*.md")} == {page.name for page in crd_docs.ALL}


@pages
def test_an_example_meets_the_schema_and_has_no_unknown_field(page):
    document = example(page)
    jsonschema.Draft7Validator(schema(page.kind.plural)).validate(document)
    known = {path for path, _ in walk(schema(page.kind.plural))}
    assert unknown_fields(document["spec"], "spec", known) == []


@pages
def test_an_example_can_work(page):
    PARSERS[page.kind.kind].parse(example(page)["spec"])


@pages
def test_a_page_tells_every_field_rule_and_word(page):
    text = crd_docs.render(page)
    for path, node in walk(schema(page.kind.plural)):
        for part in ("spec.", "status."):
            if path.startswith(part) and not path.endswith(("[]", "{}")):
                assert f"| `{path.removeprefix(part)}` |" in text
        for rule in node.get("x-kubernetes-validations", []):
            assert rule["message"] in text
    for _, words in page.vocabularies:
        for word in words:
            assert f"| `{word}` | {word.explanation} |" in text


def test_a_stale_page_is_reported_and_then_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(crd_docs, "PAGES", tmp_path / "kinds")
    monkeypatch.setattr(crd_docs, "ROOT", tmp_path.parent)
    monkeypatch.setattr(crd_docs, "render", lambda page: page.name)
    assert crd_docs.main(["--check"]) == 1
    assert "is stale" in capsys.readouterr().out
    assert crd_docs.main([]) == 0
    assert crd_docs.main(["--check"]) == 0
    assert (tmp_path / "kinds" / "trainingjob.md").read_text() == "trainingjob"


def unknown_fields(value, path, known):
    if isinstance(value, list):
        return [found for item in value for found in unknown_fields(item, f"{path}[]", known)]
    if not isinstance(value, dict) or f"{path}{{}}" in known:
        return []
    return [
        found
        for name, child in value.items()
        for found in (
            [f"{path}.{name}"] if f"{path}.{name}" not in known else unknown_fields(child, f"{path}.{name}", known)
        )
    ]
