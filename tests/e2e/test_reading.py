"""What a person reads with kubectl: tables, descriptions, explanations, waiting."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from tests.e2e import scripts
from tests.e2e.yard import Yard, conditions, training_job, unique

pytestmark = pytest.mark.e2e

MODEL, LATER = unique("readable"), unique("later")


@pytest.fixture(scope="module")
def run(yard: Yard):
    wish = [{"name": MODEL, "path": "outputs/model.bin", "tags": {"kind": "test"}}]
    name = yard.apply(training_job(scripts.FINE, models=wish))
    yard.kubectl("wait", "--for=condition=Complete", f"tj/{name}", "--timeout=420s")
    return yard.run(name)


def test_the_table_of_runs_shows_phase_metric_and_model(yard: Yard, run):
    header, row = yard.kubectl("get", "tj", run["metadata"]["name"]).splitlines()
    assert header.split() == ["NAME", "PHASE", "PROGRESS", "METRIC", "MODEL", "AGE"]
    assert row.split()[:4] == [run["metadata"]["name"], "Completed", "accuracy=0.5", f"{MODEL}:1"]


def test_the_wide_table_adds_reason_experiment_node_and_duration(yard: Yard, run):
    header, row = yard.kubectl("get", "tj", run["metadata"]["name"], "-o", "wide").splitlines()
    assert {"REASON", "CLUSTER", "EXPERIMENT", "NODE", "DURATION"} <= set(header.split())
    assert "end-to-end" in row


def test_events_tell_the_story_once(yard: Yard, run):
    name = run["metadata"]["name"]
    for reason in ("Started", "ModelRegistered", "Completed"):
        events = yard.wait_for_events(name, reason)
    assert sorted(event["reason"] for event in events) == ["Completed", "ModelRegistered", "Started"]
    assert {event.get("count", 1) for event in events} == {1}


def test_a_completed_run_has_the_conditions_that_tools_wait_for(run):
    assert conditions(run) == {"Ready": "True", "Complete": "True", "OutputsSaved": "True", "ModelRegistered": "True"}
    assert run["status"]["observedGeneration"] == run["metadata"]["generation"]


def test_phases_have_times_that_follow_each_other(run):
    phases = run["status"]["phases"]
    assert phases[0]["name"] == "Provisioning"
    assert phases[-1]["name"] == "Completed"
    for earlier, later in pairwise(phases):
        assert earlier["endTime"] == later["startTime"]


def test_the_version_knows_where_it_came_from(yard: Yard, run):
    name = run["status"]["models"][0]["id"]
    (model,) = [m for m in yard.items("rmodel") if m["spec"]["modelName"] == MODEL]
    (version,) = model["status"]["versions"]
    assert version["id"] == name == f"{MODEL}:1"
    assert version["run"]["uid"] == run["metadata"]["uid"]
    assert version["metrics"] == {"accuracy": 0.5}
    assert version["sourceSha256"] == run["status"]["source"]["sha256"]
    assert version["tags"] == {"kind": "test"}
    assert version["uri"].endswith(f"/models/default/{MODEL}/1/")


@pytest.mark.parametrize("kind", ["trainingjob", "computecluster", "registeredmodel"])
def test_every_field_can_be_explained(yard: Yard, kind):
    said = yard.kubectl("explain", f"{kind}.spec", "--recursive")
    assert "<no description>" not in said
    assert "FIELDS:" in said


def test_models_added_to_a_finished_run_are_registered(yard: Yard, run):
    name = run["metadata"]["name"]
    more = [*run["spec"]["models"], {"name": LATER, "path": "outputs/model.bin"}]
    yard.kubectl("patch", "tj", name, "--type=merge", "-p", json.dumps({"spec": {"models": more}}))
    after = yard.wait("the second model", lambda: (r := yard.run(name)) and len(r["status"]["models"]) == 2 and r)
    assert after["status"]["models"][1]["id"] == f"{LATER}:1"
    assert after["status"]["phase"] == "Completed"


def test_a_spec_cannot_be_changed_after_the_fact(yard: Yard, run):
    said = yard.kubectl(
        "patch", "tj", run["metadata"]["name"], "--type=merge", "-p", '{"spec": {"experiment": "other"}}', check=False
    )
    assert "spec.experiment cannot be changed" in said
