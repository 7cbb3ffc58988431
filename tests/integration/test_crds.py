"""The three kinds as a real API server keeps them."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
from hypothesis import HealthCheck, given, settings
from kubernetes.client import CustomObjectsApi
from kubernetes.client.exceptions import ApiException
from kubernetes.config import new_client_from_config

from tests.support.rules import CASES, compute_cluster, registered_model, training_job
from tests.support.schemas import schema, specs, statuses, walk
from trainyard_operator.api.names import COMPUTE_CLUSTER, REGISTERED_MODEL, TRAINING_JOB

KINDS = [TRAINING_JOB, COMPUTE_CLUSTER, REGISTERED_MODEL]
MAKE = {"trainingjobs": training_job, "computeclusters": compute_cluster, "registeredmodels": registered_model}
REAL = settings(deadline=None, derandomize=True, max_examples=20, suppress_health_check=list(HealthCheck))


class Api:
    """Creates and changes objects over one connection: kubectl takes a second each time."""

    def __init__(self, objects):
        self._objects = objects

    def create(self, item, *, dry_run=True):
        """Return what the API server makes of a new object."""
        return self._objects.create_namespaced_custom_object(
            *self._place(item), body=item, dry_run="All" if dry_run else None, field_validation="Strict"
        )

    def replace(self, item, *, status=False, dry_run=True):
        """Return what the API server makes of a change."""
        verb = "replace_namespaced_custom_object_status" if status else "replace_namespaced_custom_object"
        return getattr(self._objects, verb)(
            *self._place(item),
            item["metadata"]["name"],
            body=item,
            dry_run="All" if dry_run else None,
            field_validation="Strict",
        )

    def delete(self, item):
        """Delete an object."""
        self._objects.delete_namespaced_custom_object(*self._place(item), item["metadata"]["name"])

    @staticmethod
    def _place(item):
        (kind,) = (kind for kind in KINDS if kind.kind == item["kind"])
        return kind.group, kind.version, "default", kind.plural


@pytest.fixture(scope="module")
def api(control_plane):
    with new_client_from_config(str(control_plane.kubeconfig)) as client:
        yield Api(CustomObjectsApi(client))
        client.rest_client.pool_manager.clear()


@pytest.fixture
def existing(api):
    """Create an object, and delete it when the test is over."""
    created = []

    def make(item):
        created.append(item)
        return api.create(item, dry_run=False)

    yield make
    for item in created:
        api.delete(item)


def as_floats(document):
    """Make numbers comparable: the API server writes a large float without its exponent."""
    return json.loads(json.dumps(document), parse_int=float)


def message_of(refused):
    return json.loads(refused.value.body)["message"]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.kind.kind}-{case.path}-{case.index}") for case in CASES]
)
def test_a_rule_lets_the_good_pass_and_refuses_the_bad_with_its_message(api, existing, case):
    good, bad, submit = case.good, case.bad, api.create
    if case.before is not None:
        version = {"resourceVersion": existing(case.before)["metadata"]["resourceVersion"]}
        good, bad = ({**item, "metadata": {**item["metadata"], **version}} for item in (good, bad))
        submit = api.replace
    submit(good)
    with pytest.raises(ApiException) as refused:
        submit(bad)
    assert case.message in message_of(refused)


@pytest.mark.parametrize(
    ("item", "field"),
    [
        pytest.param(training_job(parameters={"a": [1]}), "spec.parameters.a", id="a list as a parameter"),
        pytest.param(training_job(parameters={"a": []}), "spec.parameters.a", id="an empty list as a parameter"),
        pytest.param(training_job(parameters={"a": {"b": 1}}), "spec.parameters.a", id="an object as a parameter"),
        pytest.param(training_job(parameters={"a": {}}), "spec.parameters.a", id="an empty object as a parameter"),
        pytest.param(training_job(parameters={"a": "x" * 4097}), "spec.parameters.a", id="a long parameter"),
        pytest.param(training_job(parameters={"a": "x\0"}), "spec.parameters.a", id="NUL in a parameter"),
        pytest.param(training_job(experiment="a b c"), "spec.experiment", id="spaces in an experiment"),
        pytest.param(
            training_job(inputs=[{"name": "a", "datastore": {}}, {"name": "a", "datastore": {"path": "b"}}]),
            'spec.inputs[1]: Duplicate value: {"name":"a"}',
            id="two inputs of a name",
        ),
        pytest.param(
            training_job(environment={"variables": [{"name": "A"}, {"name": "A"}]}),
            'spec.environment.variables[1]: Duplicate value: {"name":"A"}',
            id="two variables of a name",
        ),
        pytest.param(
            training_job(models=[{"name": "a", "path": "outputs"}, {"name": "a", "path": "outputs"}]),
            "spec.models[1]: Duplicate value",
            id="a model twice",
        ),
        pytest.param(training_job(resources={"limits": {"cpu": "two"}}), "spec.resources.limits.cpu", id="a quantity"),
        pytest.param(registered_model(modelName="a/b"), "spec.modelName", id="a model that would be a folder"),
    ],
)
def test_the_schema_refuses_and_names_the_field(api, item, field):
    with pytest.raises(ApiException) as refused:
        api.create(item)
    assert field in message_of(refused)


def test_defaults_are_filled_in(api):
    item = api.create(training_job(inputs=[{"name": "a", "datastore": {}}]))
    assert item["spec"]["experiment"] == "default"
    assert item["spec"]["entryScript"] == "train.py"
    assert item["spec"]["inputs"] == [{"name": "a", "datastore": {"path": ""}}]


def test_scalars_of_every_type_are_kept_as_they_are(api):
    parameters = {"float": 0.8, "int": 1, "bool": True, "null": None, "text": 'quote" newline\n $(X) ;', "empty": ""}
    item = api.create(training_job(parameters=parameters))
    assert item["spec"]["parameters"] == parameters


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_what_the_strategies_give_is_admitted_and_kept(api, kind):
    @REAL
    @given(specs(kind))
    def admitted(spec):
        item = {**MAKE[kind.plural](), "spec": deepcopy(spec)}
        assert as_floats(api.create(item)["spec"]) == as_floats(spec)

    admitted()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_nothing_of_a_status_is_pruned(api, existing, kind):
    stored = existing(MAKE[kind.plural]())

    @REAL
    @given(statuses(kind))
    def kept(status):
        item = {**stored, "status": status}
        assert as_floats(api.replace(item, status=True).get("status", {})) == as_floats(status)

    kept()


@pytest.mark.parametrize("metrics", [{"a": "nan"}, {"a": "1.5"}, {"a": [1]}, {"a": {}}, {f"{n}": n for n in range(65)}])
def test_metrics_are_numbers_or_one_of_three_words_and_at_most_64(api, existing, metrics):
    stored = existing(training_job())
    with pytest.raises(ApiException) as refused:
        api.replace({**stored, "status": {"metrics": metrics}}, status=True)
    assert "status.metrics" in message_of(refused)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_explain_tells_every_field(control_plane, kind):
    text = control_plane.kubectl("explain", f"{kind.plural}.spec", "--recursive")
    spec = schema(kind.plural)["properties"]["spec"]
    for path, _ in walk(spec):
        name = path.split(".")[-1].strip("[]{}")
        assert f"{name}\t" in text or name == ""


def test_lists_show_the_run_at_a_glance(api, control_plane, existing):
    stored = existing(training_job(computeClusterRef={"name": "pool"}))
    status = {
        "phase": "Completed",
        "progress": {"percent": 100},
        "metricSummary": "accuracy=0.9255",
        "models": [{"name": "sklearn_mnist", "version": 1, "id": "sklearn_mnist:1"}],
        "nodeName": "node-0",
        "duration": "1m23s",
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Completed",
                "message": "Done.",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
    }
    api.replace({**stored, "status": status}, status=True, dry_run=False)
    header, row = control_plane.kubectl("get", "tj", "case", "-o", "wide").splitlines()
    assert header.split() == [
        "NAME", "PHASE", "PROGRESS", "METRIC", "MODEL", "REASON", "CLUSTER", "EXPERIMENT", "NODE", "DURATION", "AGE",
    ]  # fmt: skip
    assert row.split()[:-1] == [
        "case", "Completed", "100", "accuracy=0.9255", "sklearn_mnist:1", "Completed", "pool", "default", "node-0",
        "1m23s",
    ]  # fmt: skip
    for selector in ("status.phase=Completed", "spec.experiment=default", "spec.computeClusterRef.name=pool"):
        assert "case" in control_plane.kubectl("get", "tj", "--field-selector", selector, "-o", "name")
