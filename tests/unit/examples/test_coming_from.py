"""What the page for people from elsewhere says is here is here: fields of the kinds, and names of Python."""

from __future__ import annotations

import re

import pytest

import trainyard
from tests.support import schemas
from tools import sdk_docs

FIELDS = {
    plural: {path for path, _ in schemas.walk(schemas.schema(plural))}
    for plural in ("trainingjobs", "computeclusters", "registeredmodels")
}
CODE = re.compile(r"`([^`]+)`")


def here(repository):
    """Return what the page's middle columns have in backticks."""
    rows = re.findall(r"^\| .* \| (.*) \| .* ?\|$", (repository / "docs" / "coming-from.md").read_text(), re.MULTILINE)
    return [code for row in rows for code in CODE.findall(row)]


def unknown(words):
    """Return the fields that no TrainingJob has, and the names that the package has not."""
    names = set(trainyard.__all__) | {found.name for page in sdk_docs.ALL for found in sdk_docs.documented(page)}
    for found in (found for page in sdk_docs.ALL for found in sdk_docs.documented(page) if found.is_class):
        names |= {f"{found.name}.{one.name}" for one in (*sdk_docs.methods(found), *sdk_docs.properties(found))}
    fields = [word for word in words if word.startswith(("spec.", "status."))]
    python = [word for word in words if re.fullmatch(r"[A-Z][A-Za-z]+(\.[a-z_]+)?", word)]
    assert len(fields) > 20
    assert len(python) > 20
    return [word for word in fields if word not in FIELDS["trainingjobs"]], [
        word for word in python if word not in names
    ]


def test_every_field_and_name_is_there(repository):
    assert unknown(here(repository)) == ([], [])


@pytest.mark.parametrize("field", ["vmPriority", "vmSize", "scale.idleSecondsBeforeScaleDown"])
def test_the_fields_of_a_cluster_are_there(repository, field):
    page = CODE.findall((repository / "docs" / "coming-from.md").read_text())
    assert any(code.partition(":")[0] == field for code in page)
    assert f"spec.{field}" in FIELDS["computeclusters"]


def test_a_field_that_is_not_there_is_found(repository):
    assert unknown([*here(repository), "spec.nothing", "Run.nothing"]) == (["spec.nothing"], ["Run.nothing"])
