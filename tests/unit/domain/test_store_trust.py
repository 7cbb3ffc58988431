"""What a RegisteredModel says of the object store: its trust, and its failures."""

from __future__ import annotations

import pytest

from tests.unit.domain.builders import NOW, model, version
from trainyard_operator.api.names import object_name
from trainyard_operator.api.reasons import RegisteredModelReason as Reason
from trainyard_operator.domain.plan import Plan
from trainyard_operator.domain.registered_model import ModelView, plan_registered_model
from trainyard_operator.domain.store_trust import Trust

NAME = object_name("sklearn_mnist")


def plan(parent, **seen):
    return plan_registered_model(parent, ModelView(folder_uri="s3://b/models/default/sklearn_mnist/", **seen), NOW)


def after(parent, **seen):
    return {**parent, "status": plan(parent, **seen).status}


def conditions(obj):
    return {c["type"]: (c["status"], c["reason"]) for c in obj["status"]["conditions"]}


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.CONDITIONAL_WRITES, "True"),
        (Reason.CONDITIONAL_WRITES_IGNORED, "False"),
        (Reason.CONDITIONAL_WRITES_REFUSED, "False"),
    ],
)
def test_a_model_says_how_far_its_store_can_be_trusted(reason, status):
    trust = Trust(reason=reason)
    done = after(model(version(1), object_name=NAME), trust=trust)
    assert conditions(done) == {"Ready": ("True", "VersionReady"), "StoreTrusted": (status, reason)}
    assert plan(done, trust=trust) == Plan()


def test_until_the_store_was_asked_again_the_last_answer_stays():
    done = after(model(version(1), object_name=NAME), trust=Trust(reason=Reason.CONDITIONAL_WRITES_IGNORED))
    assert plan(done) == Plan()


def test_a_model_that_was_never_told_says_nothing():
    assert conditions(after(model(version(1), object_name=NAME))) == {"Ready": ("True", "VersionReady")}


def test_a_version_that_waits_for_the_store_says_why_and_tells_it_once():
    parent = model(version(1, state="Pending"), object_name=NAME)
    first = plan(parent, trouble="m/1: Access Denied (HTTP 403)")
    ready = first.status["conditions"][0]
    assert (ready["status"], ready["reason"]) == ("False", "StoreFailing")
    assert "Access Denied" in ready["message"]
    assert [event.reason for event in first.events] == ["StoreFailing"]
    assert len(first.copy) == 1
    again = plan({**parent, "status": first.status}, trouble="m/1: Access Denied (HTTP 403)")
    assert (again.status, again.events, len(again.copy)) == (None, (), 1)
    assert plan({**parent, "status": first.status}).status["conditions"][0]["reason"] == "VersionPending"


def test_a_version_that_is_ready_does_not_speak_of_a_trouble_that_is_over():
    done = after(model(version(1), object_name=NAME), trouble="old")
    assert conditions(done) == {"Ready": ("True", "VersionReady")}
