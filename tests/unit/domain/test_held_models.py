"""Models with a `when`: registered where the run's metrics satisfy it, held back where they do not."""

from __future__ import annotations

import pytest

from tests.unit.domain.builders import NOW, UID, job, model, pod, saved, training_job, version, view
from trainyard_operator.api.names import object_name
from trainyard_operator.domain.conditions import find
from trainyard_operator.domain.registry import version_key
from trainyard_operator.domain.training_job import plan_training_job

GOOD = {"metric": "accuracy", "atLeast": 0.9}
OBJECT = object_name("digits")
WORDS = "spec.models: digits is not registered: its `when` asks for accuracy at least 0.9, and the run's is 0.85"


def digits(**over):
    return {"name": "digits", "path": "outputs/m.pkl", "when": GOOD, **over}


def ended(*paths, metrics=None, models=None, **said):
    """Return the surroundings of a run whose script succeeded with `metrics`."""
    done = saved(*paths, metrics=metrics or {}, **said)
    return view(job=job(complete=True), pods=[pod(exit_code=0)], saved=done, models=models or {})


def step(parent, seen):
    """Plan once and return the plan with the parent as it then is."""
    plan = plan_training_job(parent, seen, NOW)
    return plan, {**parent, "status": plan.status} if plan.status is not None else parent


def registered(status):
    found = find(status, "ModelRegistered")
    return found["status"], found["reason"], found["message"]


def test_a_run_that_satisfies_registers():
    plan, _ = step(training_job(models=[digits()]), ended("outputs/m.pkl", metrics={"accuracy": 0.95}))
    assert [request.model for request in plan.register] == [OBJECT]


def test_a_run_that_does_not_satisfy_completes_without_and_says_so_once():
    parent = training_job(models=[digits()])
    plan, parent = step(parent, ended("outputs/m.pkl", metrics={"accuracy": 0.85}))
    assert (plan.register, plan.create) == ((), ())
    status = parent["status"]
    assert status["phase"] == "Completed"
    assert registered(status) == ("False", "ConditionNotMet", WORDS)
    assert find(status, "Complete")["message"].endswith("did not register digits")
    assert status["heldModels"] == [{"name": "digits", "path": "outputs/m.pkl", "when": GOOD, "message": WORDS}]
    assert [(e.type, e.reason, e.message) for e in plan.events if e.reason == "ConditionNotMet"] == [
        ("Normal", "ConditionNotMet", WORDS)
    ]
    # At rest: not even the manifest is asked for again.
    assert step(parent, view())[0].status is None


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        pytest.param({"accuracy": "NaN"}, "and the run's is NaN", id="NaN"),
        pytest.param({"loss": 0.1}, "logged no metric of that name: it logged loss", id="missing"),
    ],
)
def test_what_cannot_be_judged_does_not_satisfy(metrics, words):
    _, parent = step(training_job(models=[digits()]), ended("outputs/m.pkl", metrics=metrics))
    assert parent["status"]["phase"] == "Completed"
    assert words in registered(parent["status"])[2]


def test_a_path_that_is_not_there_does_not_matter_where_the_condition_is_not_met():
    _, parent = step(training_job(models=[digits(path="outputs/best")]), ended(metrics={"accuracy": 0.1}))
    assert parent["status"]["phase"] == "Completed"


def test_other_models_of_the_run_are_registered_before_it_completes():
    parent = training_job(models=[digits(), {"name": "any", "path": "outputs/m.pkl"}])
    plan, parent = step(parent, ended("outputs/m.pkl", metrics={"accuracy": 0.85}))
    assert parent["status"]["phase"] == "Finalizing"
    (request,) = plan.register
    known = model(version(1, key=request.key, name="any"), name="any", object_name=request.model)
    plan, parent = step(parent, ended("outputs/m.pkl", metrics={"accuracy": 0.85}, models={object_name("any"): known}))
    assert parent["status"]["phase"] == "Completed"
    assert [entry["id"] for entry in parent["status"]["models"]] == ["any:1"]
    assert registered(parent["status"])[:2] == ("False", "ConditionNotMet")
    assert [event.reason for event in plan.events] == ["Completed", "ModelRegistered", "ConditionNotMet"]


def test_the_condition_of_the_spec_holds_for_a_wish_of_the_script_too_and_its_other_wishes_need_none():
    wishes = [{"name": "digits", "path": "outputs/m.pkl"}, {"name": "free", "path": "outputs/m.pkl"}]
    seen = ended("outputs/m.pkl", metrics={"accuracy": 0.1})
    seen.saved.manifest["models"] = wishes
    plan, _ = step(training_job(models=[digits()]), seen)
    assert [request.model for request in plan.register] == [object_name("free")]


def completed(*models, metrics):
    """Return a run that completed with nothing to register, to whose spec `models` were added, and what it saved."""
    _, parent = step(training_job(), ended("outputs/m.pkl", metrics=metrics))
    return {**parent, "spec": {**parent["spec"], "models": list(models)}}, view(
        saved=saved("outputs/m.pkl", metrics=metrics)
    )


def test_a_model_added_after_the_end_is_held_back_as_well_and_the_run_is_at_rest_then():
    parent, seen = completed(digits(), metrics={"accuracy": 0.85})
    plan, parent = step(parent, seen)
    assert parent["status"]["phase"] == "Completed"
    assert registered(parent["status"]) == ("False", "ConditionNotMet", WORDS)
    assert [event.reason for event in plan.events] == ["ConditionNotMet"]
    assert step(parent, view())[0].status is None


@pytest.mark.parametrize(
    "when", [pytest.param({"metric": "accuracy", "atLeast": 0.8}, id="eased"), pytest.param(None, id="taken away")]
)
def test_a_condition_that_is_eased_later_lets_the_model_be_registered(when):
    parent, seen = completed(digits(), metrics={"accuracy": 0.85})
    _, parent = step(parent, seen)
    parent["spec"]["models"] = [{name: value for name, value in digits(when=when).items() if value is not None}]
    plan, parent = step(parent, seen)
    assert [request.key for request in plan.register] == [
        version_key(run_uid=UID, model_name="digits", path="outputs/m.pkl")
    ]
    assert "heldModels" not in parent["status"]
    assert registered(parent["status"])[1] == "RegisteringModel"


def test_a_condition_that_is_tightened_later_takes_no_version_back():
    known = {OBJECT: model(version(1, key=version_key(run_uid=UID, model_name="digits", path="outputs/m.pkl")))}
    parent = training_job(models=[digits()])
    _, parent = step(parent, ended("outputs/m.pkl", metrics={"accuracy": 0.85}, models=known))
    assert [entry["version"] for entry in parent["status"]["models"]] == [1]
    assert registered(parent["status"])[0] == "True"


def test_a_status_without_room_for_words_has_them_in_its_condition_and_event():
    many = [digits(name=f"{number:02}" + "d" * 200, path=f"outputs/{'p' * 900}") for number in range(16)]
    metrics = {"accuracy": 0.85, **{f"{number:02}" + "x" * 240: 1 for number in range(60)}}
    plan, parent = step(training_job(models=many), ended(metrics=metrics))
    assert all("message" not in entry for entry in parent["status"]["heldModels"])
    (event,) = (event for event in plan.events if event.reason == "ConditionNotMet")
    assert "asks for accuracy at least 0.9" in event.message
    assert step(parent, view())[0].status is None


def test_what_is_held_back_is_remembered_while_the_store_is_away():
    parent, seen = completed(digits(), metrics={"accuracy": 0.85})
    _, parent = step(parent, seen)
    parent["spec"]["models"] += [{"name": "more", "path": "outputs/m.pkl"}]
    plan, after = step(parent, view())
    assert after["status"]["heldModels"] == parent["status"]["heldModels"]
    assert "ConditionNotMet" not in [event.reason for event in plan.events]
