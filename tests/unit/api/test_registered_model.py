"""Parsing the spec of a RegisteredModel."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.support.schemas import specs
from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.names import REGISTERED_MODEL, object_name
from trainyard_operator.api.registered_model import RegisteredModelSpec, VerificationSpec


def test_every_field_is_read():
    parsed = RegisteredModelSpec.parse(
        {"modelName": "sklearn_mnist", "description": "Digits.", "tags": {"a": "b"}, "aliases": {"champion": 3}}
    )
    assert parsed == RegisteredModelSpec(
        model_name="sklearn_mnist", description="Digits.", tags={"a": "b"}, aliases={"champion": 3}
    )


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        pytest.param("x", "spec must be an object", id="no object"),
        pytest.param({}, "spec.modelName must be text: it is missing", id="no name"),
        pytest.param({"modelName": "a/b"}, "spec.modelName is 'a/b'", id="name that would be a folder"),
        pytest.param({"modelName": "a\n"}, "spec.modelName is 'a\\n'", id="name with a newline"),
        pytest.param({"modelName": "a" * 256}, "spec.modelName has 256 characters", id="long name"),
        pytest.param({"modelName": "a", "tags": []}, "spec.tags must be an object", id="tags as a list"),
        pytest.param(
            {"modelName": "a", "tags": {1: "b"}}, "spec.tags has the key 1, which is no text", id="number as key"
        ),
        *(
            pytest.param({"modelName": "a", "aliases": aliases}, message, id=f"alias {name}")
            for name, aliases, message in [
                ("list", [], "spec.aliases must be an object"),
                ("slash", {"a/b": 1}, "spec.aliases: the name is 'a/b': it must match"),
                ("newline", {"a\n": 1}, "spec.aliases: the name is 'a\\n'"),
                ("empty", {"": 1}, "spec.aliases: the name is ''"),
                ("long", {"a" * 64: 1}, "spec.aliases: the name has 64 characters"),
                ("latest", {"latest": 1}, "spec.aliases has the name 'latest', which means a version by itself"),
                ("number", {"1.0": 1}, "spec.aliases has the name '1.0', which means a version by itself"),
                ("text", {"a": "3"}, "spec.aliases.a must be a whole number"),
                ("zero", {"a": 0}, "spec.aliases.a is 0: give a number from 1"),
                ("null", {"a": None}, "spec.aliases.a names no version: give a version's number"),
            ]
        ),
        pytest.param({"modelName": "a", "delete": 3}, "spec.delete must be a list", id="one number to delete"),
        pytest.param({"modelName": "a", "delete": [1, "2"]}, "spec.delete[1] must be a whole", id="text to delete"),
        pytest.param({"modelName": "a", "delete": [None]}, "spec.delete[0] is missing", id="nothing to delete"),
        pytest.param({"modelName": "a", "archive": [0]}, "spec.archive[0] is 0: give a number from 1", id="zero"),
        pytest.param({"modelName": "a", "archive": list(range(1, 202))}, "at most 200", id="too many"),
        pytest.param({"modelName": "a", "retention": {}}, "spec.retention.keepLast is missing", id="empty rule"),
        pytest.param(
            {"modelName": "a", "retention": {"keepLast": 0, "keepReadyDays": 1}},
            "spec.retention.keepLast is 0: give a number from 1",
            id="rule that keeps none",
        ),
        pytest.param(
            {"modelName": "a", "retention": {"keepLast": 1, "keepReadyDays": None}},
            "spec.retention.keepReadyDays is missing",
            id="rule without days",
        ),
    ],
)
def test_a_spec_that_cannot_work_is_refused_in_words_that_help(broken, message):
    with pytest.raises(SpecError) as caught:
        RegisteredModelSpec.parse(broken)
    assert message in str(caught.value)


FROM = {"namespace": "lab", "model": "m", "version": 1, "sha256": "a" * 64}
ONE = {"key": "k", "datastorePath": "p"}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        pytest.param({"imports": [ONE, ONE]}, "spec.imports has the key 'k' twice", id="one key for two"),
        pytest.param({"imports": [{"key": "k"}]}, "spec.imports[0].datastorePath must be text", id="no path"),
        pytest.param({"imports": [ONE | {"datastorePath": "../x"}]}, "must stay inside", id="path that leads out"),
        pytest.param({"imports": [ONE | {"datastorePath": "/x"}]}, "absolute path", id="absolute path"),
        pytest.param({"imports": [ONE | {"key": "a/b"}]}, "spec.imports[0].key is 'a/b'", id="key with a slash"),
        pytest.param({"imports": [ONE | {"metrics": {"a": "high"}}]}, "imports[0].metrics.a is 'high'", id="word as metric"),
        pytest.param({"imports": [ONE | {"metrics": {"a": True}}]}, "imports[0].metrics.a is 'True'", id="flag as metric"),
        pytest.param({"promoteFrom": FROM | {"version": None}}, "spec.promoteFrom.version is missing", id="no number"),
        pytest.param({"promoteFrom": FROM | {"sha256": "A"}}, "spec.promoteFrom.sha256 is 'A'", id="no digest"),
        pytest.param({"promoteFrom": FROM | {"namespace": "own"}}, "the model's own namespace", id="from itself"),
        pytest.param({"promoteFrom": FROM | {"namespace": "a/b"}}, "promoteFrom.namespace is 'a/b'", id="two namespaces"),
        pytest.param({"sharedWith": ["*"]}, "spec.sharedWith[0] is '*'", id="shared with all"),
    ],
)  # fmt: skip
def test_a_source_that_cannot_work_is_refused_with_its_field(broken, message):
    with pytest.raises(SpecError) as caught:
        RegisteredModelSpec.parse({"modelName": "m", **broken}, namespace="own")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("verification", "expected"),
    [
        pytest.param(None, VerificationSpec(), id="absent"),
        pytest.param({"everyHours": 8760}, VerificationSpec(every_hours=8760), id="once a year"),
        pytest.param({"request": "é 1"}, VerificationSpec(request="é 1"), id="any text"),
        pytest.param({"everyHours": 0}, "spec.verification.everyHours is 0: give a number from 1 to 8760", id="never"),
        pytest.param({"everyHours": "1"}, "spec.verification.everyHours must be a whole number", id="text as hours"),
        pytest.param({"request": ""}, "spec.verification.request is ''", id="empty request"),
        pytest.param({"request": "a\nb"}, "spec.verification.request is 'a\\nb'", id="request of two lines"),
        pytest.param({"request": 7}, "spec.verification.request must be text", id="number as request"),
        pytest.param([], "spec.verification must be an object", id="list"),
    ],
)
def test_verification_is_read_or_refused_with_its_field(verification, expected):
    spec = {"modelName": "a", "verification": verification}
    if isinstance(expected, VerificationSpec):
        assert RegisteredModelSpec.parse(spec).verification == expected
        return
    with pytest.raises(SpecError) as caught:
        RegisteredModelSpec.parse(spec)
    assert expected in str(caught.value)


def test_an_object_that_is_not_named_after_its_model_is_refused():
    with pytest.raises(SpecError, match="create it under the name sklearn-mnist-d1cf113a and delete this one"):
        RegisteredModelSpec.parse({"modelName": "sklearn_mnist"}, name="sklearn-mnist")


@settings(deadline=None)
@given(specs(REGISTERED_MODEL))
def test_what_the_schema_admits_is_understood(admitted):
    parsed = RegisteredModelSpec.parse(admitted, name=object_name(admitted["modelName"]))
    assert parsed.model_name == admitted["modelName"]
    assert parsed.tags == admitted.get("tags", {})
