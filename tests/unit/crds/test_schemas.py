"""The schemas in `crds/`: structural, described, bounded."""

from __future__ import annotations

import re

import pytest

from tests.support.schemas import CRDS, definition, schema, walk
from trainyard_operator.api.names import COMPUTE_CLUSTER, REGISTERED_MODEL, TRAINING_JOB
from trainyard_operator.api.reasons import EnvironmentState, Phase, VersionState

KINDS = [TRAINING_JOB, COMPUTE_CLUSTER, REGISTERED_MODEL]
# Kubernetes allows nothing else to be said of metadata here.
NODES = [
    pytest.param(node, id=f"{kind.plural}-{path}")
    for kind in KINDS
    for path, node in walk(schema(kind.plural))
    if not path.startswith("metadata")
]
FREE_VALUES = {
    "trainingjobs": ["spec.parameters{}", "status.metrics{}"],
    "computeclusters": [],
    "registeredmodels": ["spec.imports[].metrics{}", "status.versions[].metrics{}"],
}
RULES = [
    pytest.param(rule, id=f"{kind.plural}-{path}-{index}")
    for kind in KINDS
    for path, node in walk(schema(kind.plural))
    for index, rule in enumerate(node.get("x-kubernetes-validations", []))
]


def test_the_folder_holds_our_three_kinds_and_nothing_else():
    assert {path.name for path in CRDS.iterdir()} == {f"{kind.plural}.yaml" for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_a_definition_says_the_names_that_the_operator_uses(kind):
    document = definition(kind.plural)
    assert document["metadata"]["name"] == f"{kind.plural}.{kind.group}"
    assert document["spec"]["group"] == kind.group
    assert document["spec"]["scope"] == "Namespaced"
    assert document["spec"]["names"]["kind"] == kind.kind
    assert document["spec"]["names"]["plural"] == kind.plural
    assert document["spec"]["names"]["categories"] == ["trainyard"]
    (version,) = document["spec"]["versions"]
    assert (version["name"], version["served"], version["storage"]) == (kind.version, True, True)
    assert version["subresources"] == {"status": {}}


@pytest.mark.parametrize("node", NODES)
def test_a_field_is_described_in_sentences(node):
    description = node["description"]
    assert re.match(r"[A-Z]", description)
    assert description.endswith(".")
    assert len(description.split()) >= 2


@pytest.mark.parametrize("node", NODES)
def test_a_field_is_bounded(node):
    needed = {
        "string": {"maxLength"},
        "array": {"maxItems", "items", "x-kubernetes-list-type"},
        "integer": {"minimum", "maximum"},
        "number": {"minimum", "maximum"},
        "boolean": set(),
        "object": {"maxProperties"} if "additionalProperties" in node else {"properties"},
        None: {"maxLength", "pattern"},
    }[node.get("type")]
    assert needed <= node.keys()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_unknown_fields_are_kept_only_as_values_that_json_has_no_one_type_for(kind):
    free = [path for path, node in walk(schema(kind.plural)) if "x-kubernetes-preserve-unknown-fields" in node]
    assert free == FREE_VALUES[kind.plural]


@pytest.mark.parametrize(
    "node",
    [node for kind in KINDS for _, node in walk(schema(kind.plural)) if "pattern" in node],
    ids=lambda it: it["pattern"],
)
def test_a_pattern_covers_the_whole_text(node):
    assert node["pattern"].startswith("^")
    assert node["pattern"].endswith("$")
    re.compile(node["pattern"])


# A file of source may hold any byte; every other text of a spec may become an argument, a label or a line of a table.
TEXTS = [
    pytest.param(node, id=f"{kind.plural}-{path}")
    for kind in KINDS
    for path, node in walk(schema(kind.plural)["properties"]["spec"], "spec")
    if node.get("type") == "string" and "enum" not in node and path != "spec.source.inline{}"
]


@pytest.mark.parametrize("node", TEXTS)
def test_a_text_of_a_spec_cannot_hold_a_nul_which_the_operator_would_refuse(node):
    assert not re.fullmatch(node["pattern"], "a\x00")


@pytest.mark.parametrize(
    "node", [node for kind in KINDS for _, node in walk(schema(kind.plural)) if "required" in node]
)
def test_a_required_field_exists(node):
    assert set(node["required"]) <= set(node["properties"])


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_names_the_field_and_the_fix(rule):
    assert re.search(r"\b(spec|metadata)\.[a-zA-Z]+", rule["message"])
    assert re.search(r"[;,] [a-z]|must ", rule["message"])
    assert len(rule["message"]) <= 250


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_columns_show_fields_that_exist(kind):
    (version,) = definition(kind.plural)["spec"]["versions"]
    paths = {path for path, _ in walk(schema(kind.plural))} | {"metadata.creationTimestamp"}
    for column in version["additionalPrinterColumns"]:
        path = re.sub(r"\[[^]]*\]", "[]", column["jsonPath"].removeprefix("."))
        assert path in paths, column
        assert column["description"].endswith(".")
    for field in version.get("selectableFields", []):
        assert field["jsonPath"].removeprefix(".") in paths


def test_training_jobs_are_listed_with_what_people_look_for():
    (version,) = definition("trainingjobs")["spec"]["versions"]
    columns = version["additionalPrinterColumns"]
    assert [column["name"] for column in columns if not column.get("priority")] == [
        "Phase", "Progress", "Metric", "Model", "Age",
    ]  # fmt: skip
    assert [column["name"] for column in columns if column.get("priority")] == [
        "Reason", "Cluster", "Experiment", "Node", "Duration",
    ]  # fmt: skip


def test_the_words_of_a_status_are_those_of_the_operator():
    job = schema("trainingjobs")["properties"]["status"]["properties"]
    model = schema("registeredmodels")["properties"]["status"]["properties"]
    assert job["phase"]["enum"] == list(Phase)
    assert job["phases"]["items"]["properties"]["name"]["enum"] == list(Phase)
    assert job["environment"]["properties"]["state"]["enum"] == list(EnvironmentState)
    assert model["versions"]["items"]["properties"]["state"]["enum"] == list(VersionState)
