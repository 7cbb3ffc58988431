"""The strategies that other tests rest on give objects that the schemas admit."""

from __future__ import annotations

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.schemas import objects, schema, statuses
from trainyard_operator.api.names import COMPUTE_CLUSTER, REGISTERED_MODEL, TRAINING_JOB

KINDS = [TRAINING_JOB, COMPUTE_CLUSTER, REGISTERED_MODEL]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
@settings(deadline=None)  # other tests share the processors
@given(data=st.data())
def test_an_object_meets_its_schema(kind, data):
    jsonschema.Draft7Validator(schema(kind.plural)).validate(data.draw(objects(kind)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
@settings(deadline=None)  # other tests share the processors
@given(data=st.data())
def test_a_status_meets_its_schema(kind, data):
    jsonschema.Draft7Validator(schema(kind.plural)["properties"]["status"]).validate(data.draw(statuses(kind)))
