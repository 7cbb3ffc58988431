"""Names of kinds and of children."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainyard_operator.api import names
from trainyard_operator.api.names import Kind, job_name, object_name

MODEL_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}", fullmatch=True)
DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@pytest.mark.parametrize(
    ("model_name", "expected"),
    [
        pytest.param("iris", "iris", id="a fit name is kept"),
        pytest.param("iris-v1.2", "iris-v1.2", id="dots may stay where the whole is a fit name"),
        pytest.param("sklearn_mnist", "sklearn-mnist-d1cf113a", id="an underscore"),
        pytest.param("Iris", "iris-65003c7a", id="a capital"),
        pytest.param("a..b", "a-b-f62b4241", id="dots in a row"),
        pytest.param("x-", "x-c8b60efc", id="a hyphen at the end"),
        pytest.param("___", "model-bda25155", id="nothing that may stay"),
        pytest.param("a" * 63, "a" * 63, id="as long as a label may be"),
        pytest.param("a" * 64, "a" * 54 + "-ffe054fe", id="too long"),
    ],
)
def test_an_object_is_named_after_its_model(model_name, expected):
    assert object_name(model_name) == expected


def test_a_name_that_looks_like_a_derived_one_gets_a_digest_of_its_own():
    derived = object_name("sklearn_mnist")
    assert object_name(derived) != derived


@settings(deadline=None)
@given(MODEL_NAMES)
def test_every_model_name_gives_a_fit_object_name(model_name):
    name = object_name(model_name)
    assert len(name) <= 63
    assert DNS_SUBDOMAIN.fullmatch(name)


@settings(deadline=None)
@given(MODEL_NAMES, MODEL_NAMES)
def test_two_models_never_share_an_object(one, other):
    assert (object_name(one) == object_name(other)) == (one == other)


def test_the_longest_training_job_has_a_job_whose_name_is_a_label():
    name = "a" * names.MAX_TRAINING_JOB_NAME
    uid = "0c1a2b3d-0000-4000-8000-000000000000"
    assert job_name(name, uid, 1).endswith("-0c1a2b3d-1")
    assert name.startswith(job_name(name, uid, 1).removesuffix("-0c1a2b3d-1"))
    # The Job controller adds six characters for the name of the pod, which is a host name too.
    assert all(len(job_name(name, uid, attempt)) <= names.MAX_LABEL_VALUE - 6 for attempt in (1, 31, 100_000))
    assert job_name("mnist", uid, 31) == "mnist-0c1a2b3d-31"


@pytest.mark.parametrize(
    ("kind", "api_version"),
    [
        pytest.param(names.TRAINING_JOB, "trainyard.dev/v1alpha1", id="our own"),
        pytest.param(names.JOB, "batch/v1", id="a group of Kubernetes"),
        pytest.param(names.POD, "v1", id="the core group, which has no name"),
    ],
)
def test_a_kind_knows_its_api_version(kind: Kind, api_version):
    assert kind.api_version == api_version
