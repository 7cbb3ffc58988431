"""The pages in docs/reference/ are what the generator makes now, and what they are made from is whole."""

from __future__ import annotations

import builtins

import griffe
import pytest

import trainyard
from tools import sdk_docs

CLASSES = [found for page in sdk_docs.ALL for found in sdk_docs.documented(page) if found.is_class]
FUNCTIONS = [found for page in sdk_docs.ALL for found in sdk_docs.documented(page) if found.is_function]
CALLS = [
    *((found, found) for found in FUNCTIONS),
    *((made, cls) for cls in CLASSES if (made := sdk_docs.constructor(cls)) and sdk_docs.parameters(made)),
    *((method, method) for cls in CLASSES for method in sdk_docs.methods(cls)),
]


def test_the_committed_pages_are_fresh():
    texts = {page.name: sdk_docs.render(page) for page in sdk_docs.ALL} | {sdk_docs.INDEX: sdk_docs.render_index()}
    there = {path.stem: path.read_text() for path in sdk_docs.PAGES.glob("*.md")}
    assert set(there) == set(texts)
    assert [name for name, text in texts.items() if there[name] != text] == [], "run make docs"


def test_every_name_that_people_import_is_on_a_page():
    assert set(sdk_docs.exported()) == set(trainyard.__all__)
    assert set(trainyard.__all__) - {found.name for found in (*CLASSES, *FUNCTIONS)} == set()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.path)
def test_a_class_and_all_that_it_has_say_what_they_are(cls):
    silent = [one.name for one in (cls, *sdk_docs.methods(cls)) if not (one.docstring and one.docstring.value.strip())]
    silent += [one.name for one in sdk_docs.properties(cls) if not sdk_docs.meaning(cls, one)]
    assert silent == []


@pytest.mark.parametrize(("function", "words"), CALLS, ids=lambda one: one.path)
def test_a_call_has_a_hint_and_a_word_for_each_parameter_and_for_no_other(function, words):
    given = sdk_docs.parameters(function)
    assert [one.name for one in given if one.annotation is None] == []
    assert function.returns is not None
    assert set(sdk_docs.described(words)) == {one.name for one in given}


@pytest.mark.parametrize("words", [words for _, words in CALLS], ids=lambda one: one.path)
def test_an_error_that_a_call_raises_is_pythons_or_on_a_page(words):
    raised = {str(one.annotation) for one in sdk_docs.sections(words, griffe.DocstringSectionKind.raises)}
    assert raised - {found.name for found in CLASSES} - set(dir(builtins)) == set()


def test_a_stale_page_is_reported_and_then_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sdk_docs, "PAGES", tmp_path / "reference")
    monkeypatch.setattr(sdk_docs, "ROOT", tmp_path)
    monkeypatch.setattr(sdk_docs, "render", lambda page: page.name)
    monkeypatch.setattr(sdk_docs, "render_index", lambda: "list")
    assert sdk_docs.main(["--check"]) == 1
    assert "is stale" in capsys.readouterr().out
    assert sdk_docs.main([]) == 0
    assert sdk_docs.main(["--check"]) == 0
    assert (tmp_path / "reference" / "workspace.md").read_text() == "workspace"
