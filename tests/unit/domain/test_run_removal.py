"""When the object of a run goes, and what has to go before it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.unit.domain.builders import NOW, UID, job, pod, training_job, view
from trainyard_operator.domain.conditions import find, timestamp
from trainyard_operator.domain.run_view import RunData
from trainyard_operator.domain.training_job import plan_training_job

FINALIZER = "trainyard.dev/run-data"
ENDED = {"phase": "Failed", "conditions": [], "completionTime": timestamp(NOW)}
EMPTY, FULL = RunData(left=False), RunData(left=True)


def run(*, status=None, deleting=False, guarded=True, **spec):
    parent = training_job(status=status, **{"deletionPolicy": "Delete", **spec})
    meta = parent["metadata"]
    if guarded:
        meta["finalizers"] = ["someone.else/first", FINALIZER]
    if deleting:
        meta["deletionTimestamp"] = timestamp(NOW)
    return parent


def finalizers(plan):
    return [p.body["metadata"]["finalizers"] for p in plan.patch if "finalizers" in p.body["metadata"]]


@pytest.mark.parametrize("phase", ["Completed", "Failed", "Canceled"])
def test_a_run_goes_once_its_time_after_the_end_is_over(phase):
    done = str(phase == "Completed")
    parent = training_job(
        status={**ENDED, "phase": phase, "conditions": [{"type": "Complete", "status": done}]},
        ttlSecondsAfterFinished=60,
    )
    early = plan_training_job(parent, view(), NOW + timedelta(seconds=20))
    assert (early.delete, early.status, early.requeue_after) == ((), None, 40)
    late = plan_training_job(parent, view(), NOW + timedelta(seconds=60))
    (deletion,) = late.delete
    assert (deletion.kind.kind, deletion.name, deletion.uid) == ("TrainingJob", "run-a", UID)


def test_the_time_begins_with_the_plan_that_ends_the_run_and_costs_nothing_where_none_is_given():
    assert (
        plan_training_job(training_job(entryScript="../x", ttlSecondsAfterFinished=0), view(), NOW).requeue_after == 0
    )
    ended = training_job(status=ENDED)
    assert plan_training_job(ended, view(), NOW + timedelta(days=900)).requeue_after is None


def test_a_run_that_goes_on_has_no_time_to_go():
    going = training_job(status={"phase": "Running", "conditions": []}, ttlSecondsAfterFinished=0)
    plan = plan_training_job(going, view(job=job(), pods=[pod(running=True)]), NOW + timedelta(days=1))
    assert plan.delete == ()


def test_a_finalizer_is_there_only_while_the_data_is_to_go_with_the_object():
    assert finalizers(plan_training_job(run(guarded=False), view(), NOW)) == [[FINALIZER]]
    assert finalizers(plan_training_job(run(), view(), NOW)) == []
    kept = plan_training_job(run(deletionPolicy="Retain", status=ENDED), view(), NOW)
    assert finalizers(kept) == [["someone.else/first"]]
    assert finalizers(plan_training_job(training_job(), view(), NOW)) == []


def test_a_pod_is_stopped_before_anything_of_its_run_is_deleted():
    parent = run(deleting=True)
    plan = plan_training_job(parent, view(job=job(), pods=[pod(running=True)], data=FULL), NOW)
    assert plan.patch[0].body["spec"] == {"suspend": True}
    assert not plan.erase
    stopping = view(job=job(stopped="Canceled"), pods=[pod(running=True, deleting=True)], data=FULL)
    plan = plan_training_job(parent, stopping, NOW)
    assert (plan.patch, plan.erase) == ((), False)
    assert plan.requeue_after


def test_data_goes_first_and_then_the_finalizer():
    parent = run(deleting=True, status=ENDED)
    plan = plan_training_job(parent, view(data=FULL), NOW)
    assert plan.erase
    assert finalizers(plan) == []
    plan = plan_training_job(parent, view(data=EMPTY), NOW)
    assert not plan.erase
    assert finalizers(plan) == [["someone.else/first"]]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(RunData(left=False, trouble="no route to the store"), id="the store is away"),
        pytest.param(RunData(left=True, trouble="access denied to the store"), id="the store refuses"),
    ],
)
def test_a_store_that_does_not_delete_is_told_once_and_asked_again(data):
    parent = run(deleting=True, status=ENDED)
    plan = plan_training_job(parent, view(data=data), NOW)
    assert "the store" in find(plan.status, "DataDeleted")["message"]
    assert [event.reason for event in plan.events] == ["DataNotDeleted"]
    assert finalizers(plan) == []
    told = {**parent, "status": plan.status}
    again = plan_training_job(told, view(data=data), NOW + timedelta(seconds=10))
    assert (again.status, again.events) == (None, ())
    assert again.requeue_after is not None


def test_a_policy_that_is_taken_back_lets_the_object_go_with_its_data_in_place():
    plan = plan_training_job(run(deleting=True, deletionPolicy="Retain"), view(data=FULL), NOW)
    assert not plan.erase
    assert finalizers(plan) == [["someone.else/first"]]


def test_an_object_that_others_keep_gets_nothing_new_once_it_is_being_deleted():
    parent = run(deleting=True, guarded=False)
    plan = plan_training_job(parent, view(), NOW)
    assert (plan.create, plan.patch, plan.status, plan.erase) == ((), (), None, False)
