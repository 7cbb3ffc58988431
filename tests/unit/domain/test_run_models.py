"""Models that a script wished with `Run.register_model`: registered at its end like those of `spec.models`."""

from __future__ import annotations

import pytest

from tests.unit.domain.builders import NOW, UID, job, model, pod, saved, training_job, version, view
from trainyard_operator.api.names import object_name
from trainyard_operator.domain.conditions import find
from trainyard_operator.domain.registry import version_key
from trainyard_operator.domain.training_job import plan_training_job

WISH = {"name": "digits", "path": "outputs/m.pkl", "description": "the best", "tags": {"kind": "logistic"}}
OBJECT = object_name("digits")
KEY = version_key(run_uid=UID, model_name="digits", path="outputs/m.pkl")


def step(parent, seen):
    """Plan once and return the plan with the parent as it then is."""
    plan = plan_training_job(parent, seen, NOW)
    return plan, {**parent, "status": plan.status} if plan.status is not None else parent


def ended(*paths, models=(WISH,), known=None):
    """Return the surroundings of a run whose script succeeded, with the RegisteredModels that are `known`."""
    done = saved(*paths, models=list(models))
    return view(job=job(complete=True), pods=[pod(exit_code=0)], saved=done, models=known or {})


def test_a_model_of_the_script_becomes_a_version_and_then_part_of_the_status():
    plan, parent = step(training_job(), ended("outputs/m.pkl"))
    assert [child["metadata"]["name"] for child in plan.create] == [OBJECT]
    (request,) = plan.register
    assert (request.model, request.key) == (OBJECT, KEY)
    assert (request.entry["description"], request.entry["tags"]) == ("the best", {"kind": "logistic"})
    sealed = {OBJECT: model(version(1, key=KEY, name="digits"), name="digits", object_name=OBJECT)}
    _, parent = step(parent, ended("outputs/m.pkl", known=sealed))
    assert parent["status"]["phase"] == "Completed"
    assert [entry["id"] for entry in parent["status"]["models"]] == ["digits:1"]
    assert find(parent["status"], "ModelRegistered")["message"] == "registered digits:1"
    assert step(parent, view())[0].status is None


def test_a_version_that_was_corrupted_before_the_run_could_tell_of_it_is_not_registered():
    wrong = version(1, key=KEY, name="digits", state="Corrupted", message="m.pkl has other bytes")
    known = {OBJECT: model(wrong, name="digits", object_name=OBJECT)}
    _, parent = step(training_job(), ended("outputs/m.pkl", known=known))
    failure = parent["status"]["failure"]
    assert failure["reason"] == "ModelNotRegistered"
    assert failure["message"] == "digits:1 is not what it was registered as: m.pkl has other bytes"


def test_a_path_that_the_script_did_not_save_fails_the_run_and_lists_the_files():
    plan, parent = step(training_job(), ended("outputs/other.pkl"))
    assert plan.register == ()
    failure = parent["status"]["failure"]
    assert failure["reason"] == "ModelPathNotFound"
    assert failure["message"] == (
        "Run.register_model: there is no file at outputs/m.pkl for the model digits; the run saved outputs/other.pkl"
    )


@pytest.mark.parametrize(
    ("spec", "origin"),
    [
        pytest.param(
            [{"name": "digits", "path": "outputs/m.pkl", "description": "by the spec"}], "by the spec", id="spec"
        ),
        pytest.param([], "the best", id="script"),
    ],
)
def test_a_model_that_both_wish_is_registered_once_as_the_spec_says(spec, origin):
    plan, _ = step(training_job(models=spec), ended("outputs/m.pkl"))
    assert [request.entry["description"] for request in plan.register] == [origin]


def test_a_model_added_later_is_registered_beside_those_of_the_script():
    entry = {"name": "digits", "path": "outputs/m.pkl", "version": 1, "id": "digits:1", "uri": ""}
    _, parent = step(training_job(), ended("outputs/m.pkl", models=()))
    parent["status"]["models"] = [entry]
    parent["spec"]["models"] = [{"name": "later", "path": "outputs/m.pkl"}]
    plan, after = step(parent, view(saved=saved("outputs/m.pkl", models=[WISH])))
    assert [request.key for request in plan.register] == [
        version_key(run_uid=UID, model_name="later", path="outputs/m.pkl")
    ]
    assert after["status"]["models"] == [entry]


def test_tags_are_in_the_status_while_the_script_runs_and_after_its_end():
    live = {"state": "Running", "metrics": {}, "tags": {"data": "mnist"}}
    _, parent = step(training_job(), view(job=job(), pods=[pod(running=True)], live=live))
    assert parent["status"]["tags"] == {"data": "mnist"}
    done = view(job=job(complete=True), pods=[pod(exit_code=0)], saved=saved(tags={"data": "other"}))
    _, parent = step(parent, done)
    assert parent["status"]["tags"] == {"data": "other"}
