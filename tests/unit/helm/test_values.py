import json
import re

import jsonschema
import pytest
import yaml

from tests.unit.helm.chart import CHART, VALUE_SETS, render, template

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())

# Generated keys differ with every rendering, and would hide that nothing else does.
WITHOUT_GENERATED_KEYS = {"store": {"embedded": {"existingSecret": "mine"}}}
OUTSIDE = VALUE_SETS["external store"]
IMAGE = {"repository": "example.com/other", "tag": "other", "pullPolicy": "Never"}
CHANGES = {
    **{
        f"{image}.{key}": value
        for image in ("image", "trainer.image", "store.embedded.image")
        for key, value in IMAGE.items()
    },
    "imagePullSecrets": [{"name": "registry"}],
    "replicas": 2,
    "operator.workers": 3,
    "operator.resyncSeconds": 60,
    "operator.logLevel": "DEBUG",
    "operator.defaultRequests.cpu": "1",
    "operator.defaultRequests.memory": "1Gi",
    "operator.disruptionRetries": 7,
    "operator.inputSizeLimit": "1Gi",
    "operator.serviceAccount.annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/other"},
    "resources.requests": {"cpu": "2"},
    "resources.limits": {"memory": "3Gi"},
    "nodeSelector": {"pool": "system"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"podAffinity": {}},
    "podAnnotations": {"example.com/team": "ml"},
    "priorityClassName": "high",
    "crds.enabled": False,
    "crds.keep": False,
    "userRoles.enabled": False,
    "workspaces": [{"namespace": "team-a", "subjects": [{"kind": "User", "name": "ada"}]}],
    "defaultProvider": {"type": "Existing", "existing": {"nodeSelector": {"pool": "trainyard"}}},
    "kueue.enabled": True,
    "metrics.serviceMonitor.enabled": True,
    "metrics.serviceMonitor.labels": {"release": "prometheus"},
    "metrics.serviceMonitor.interval": "15s",
    "metrics.rules.enabled": True,
    "metrics.rules.labels": {"release": "prometheus"},
    "metrics.rules.runbooks": "https://wiki.example.com/runbooks",
    "metrics.dashboard.enabled": True,
    "metrics.dashboard.labels": {"grafana": "yes"},
    "trainer.ownPackages": False,
    "environments.build.resources.requests": {"cpu": "2"},
    "environments.build.resources.limits": {"memory": "3Gi"},
    "environments.build.nodeSelector": {"pool": "builds"},
    "environments.build.tolerations": [{"operator": "Exists"}],
    "environments.build.timeoutSeconds": 60,
    "environments.unusedDays": 7,
    "signing.secretName": "models-key",
    "environments.index.url": "https://index.example.com/simple",
    "environments.index.extraUrls": ["https://other.example.com/simple"],
    "environments.index.username": "me",
    "environments.index.password": "secret",
    "environments.index.ca": "PEM",
    "environments.index.existingSecret": "other",
    "environments.conda.channelAlias": "https://mirror.example.com/conda",
    "environments.conda.username": "me",
    "environments.conda.password": "secret",
    "environments.conda.ca": "PEM",
    "sizes": {"TINY": {"cpu": "1", "memory": "1Gi"}},
    "store.embedded.bucket": "other",
    "store.embedded.existingSecret": "other",
    "store.embedded.metadata": "sidecar",
    "store.embedded.persistence.enabled": False,
    "store.embedded.persistence.keep": False,
    "store.embedded.persistence.size": "1Ti",
    "store.embedded.persistence.storageClassName": "fast",
    "store.embedded.persistence.existingClaim": "mine",
    "store.embedded.resources.requests": {"cpu": "2"},
    "store.embedded.resources.limits": {"memory": "3Gi"},
    "store.external.endpoint": "https://other.example.com",
    "store.external.region": "eu-central-1",
    "store.external.bucket": "other",
    "store.external.existingSecret": "other",
    "store.external.accessKeyKey": "id",
    "store.external.secretKeyKey": "key",
}


def schemas(schema, path=""):
    """Every property of a schema with its path; the items of an array are at ``path[]``."""
    for name, found in schema.get("properties", {}).items():
        at = f"{path}.{name}".strip(".")
        yield at, found
        yield from schemas(found, at)
    if "items" in schema:
        yield f"{path}[]", schema["items"]
        yield from schemas(schema["items"], f"{path}[]")


def leaves(schema, values, path=""):
    """Every value that has a row of its own in the README: (path, default, description)."""
    for name, value in values.items():
        at = f"{path}.{name}".strip(".")
        found = schema["properties"][name]
        if "properties" in found and value:
            yield from leaves(found, value, at)
        else:
            yield at, value, found["description"]


def nested(path, value):
    """``a.b`` and a value as ``{"a": {"b": value}}``."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def merged(values, over):
    """Values with others on top, as helm merges them."""
    both = {k: merged(values[k], v) for k, v in over.items() if isinstance(v, dict) and isinstance(values.get(k), dict)}
    return values | over | both


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("path", "schema"), [("", SCHEMA), *schemas(SCHEMA)], ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_value_is_described_and_nothing_else_is_admitted(path, schema):
    assert schema["description"].endswith(".")
    if "properties" in schema:
        assert schema["additionalProperties"] is False


def test_every_default_has_a_schema_and_every_schema_a_default():
    def paths(values, path=""):
        for name, value in values.items():
            yield f"{path}.{name}".strip(".")
            if isinstance(value, dict):
                yield from paths(value, f"{path}.{name}".strip("."))

    # Below these the schema speaks of what a user may add, not of what is there.
    free = ("global", "affinity.", "tolerations[", "imagePullSecrets[", "workspaces[")
    free += ("environments.build.tolerations[", "environments.index.extraUrls[")
    maps = {"requests", "limits", "sizes"}
    described = {at for at, _ in schemas(SCHEMA) if not at.startswith(free)}
    written = {at for at in paths(VALUES) if not set(at.split(".")[:-1]) & maps}

    assert written == described


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"replica": 2}, "additional properties 'replica' not allowed", id="unknown"),
        pytest.param({"image": {"tga": "x"}}, "at '/image': additional properties 'tga' not allowed", id="typo"),
        pytest.param({"store": {"embeded": {}}}, "at '/store': additional properties 'embeded'", id="typo, deeper"),
        pytest.param({"tolerations": [{"kye": "x"}]}, "at '/tolerations/0'", id="typo in a list"),
        pytest.param({"replicas": "two"}, "at '/replicas': got string, want integer", id="type"),
        pytest.param({"replicas": 0}, "at '/replicas'", id="no replica"),
        pytest.param({"operator": {"logLevel": "LOUD"}}, "'DEBUG', 'INFO', 'WARNING', 'ERROR'", id="log level"),
        pytest.param({"operator": {"defaultRequests": {"gpu": 1}}}, "'/operator/defaultRequests'", id="resource"),
        pytest.param(
            {"operator": {"serviceAccount": {"annotations": {"a": 1}}}},
            "'/operator/serviceAccount/annotations/a'",
            id="annotation",
        ),
        pytest.param({"resources": {"limits": {"memory": "1GB"}}}, "'/resources/limits/memory'", id="quantity"),
        pytest.param({"store": {"embedded": {"bucket": "A"}}}, "at '/store/embedded/bucket'", id="bucket"),
        pytest.param({"store": {"external": {"endpoint": "s3"}}}, "at '/store/external/endpoint'", id="endpoint"),
        pytest.param({"image": {"repository": ""}}, "at '/image/repository'", id="no repository"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(values, message):
    result = template(values)

    assert result.code != 0
    assert message in result.err


@pytest.mark.parametrize("name", VALUE_SETS)
def test_the_value_sets_of_these_tests_are_within_the_schema(name):
    jsonschema.validate(VALUE_SETS[name], SCHEMA)


@pytest.mark.parametrize("path", CHANGES)
def test_every_value_changes_what_is_rendered(path):
    base = OUTSIDE if path.startswith("store.external") else WITHOUT_GENERATED_KEYS
    switch = f"{path.rpartition('.')[0]}.enabled"
    if path.startswith("metrics.") and path != switch:
        base = merged(base, nested(switch, value=True))

    assert render(merged(base, nested(path, CHANGES[path]))) != render(base)


def test_no_value_is_left_out_above():
    # That one needs a second store beside it: see test_store.
    assert {*CHANGES, "store.embedded.enabled"} == {at for at, _, _ in leaves(SCHEMA, VALUES)}


def test_the_table_of_the_readme_is_that_of_the_values():
    readme = (CHART / "README.md").read_text()
    rows = re.findall(r"^\| `(.+?)` \| `(.*)` \| (.+) \|$", readme, flags=re.MULTILINE)

    # The catalogue is a page of its own in values.yaml; the table lists its names.
    shown = {"sizes": list(VALUES["sizes"])}
    assert rows == [(at, json.dumps(shown.get(at, value)), meaning) for at, value, meaning in leaves(SCHEMA, VALUES)]
