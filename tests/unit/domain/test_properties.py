"""What holds for every object that the schemas admit, whatever surrounds it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.schemas import objects, schema, statuses
from tests.unit.domain.builders import NOW, SETTINGS, cluster, job, model, pod, saved, termination, version, view
from trainyard_operator.api.names import COMPUTE_CLUSTER, FINALIZER, REGISTERED_MODEL, TRAINING_JOB
from trainyard_operator.api.reasons import TrainingJobReason
from trainyard_operator.api.sizes import Catalogue
from trainyard_operator.domain.admission import Gate
from trainyard_operator.domain.cluster_status import Shortage
from trainyard_operator.domain.compute_cluster import ClusterView, Unplaced, plan_compute_cluster
from trainyard_operator.domain.queueing import Entry, Estimate, Place, Queue
from trainyard_operator.domain.registered_model import ModelView, Sealed, plan_registered_model
from trainyard_operator.domain.run_view import ConfigMapSource, RunData, StoreTrouble
from trainyard_operator.domain.training_job import plan_training_job
from trainyard_operator.providers.base import Surroundings
from trainyard_operator.providers.choice import read_cluster

thorough = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

JUNK_TERMINATION = termination(
    exitCode="x", signal=True, reason=7, message=None, metrics=[1], warnings={}, logTail=b"".hex(), manifestSha256=3
)
pods = st.sampled_from(
    [
        (),
        (pod(node=None, unschedulable="0/1 nodes"),),
        (pod(preparing=True),),
        (pod(running=True),),
        (pod(waiting=("ErrImagePull", "x" * 5000)),),
        (pod(exit_code=0, termination=termination(metrics={"accuracy": 0.9})),),
        (pod(exit_code=3, termination=termination(reason="ScriptFailed", exitCode=3)),),
        (pod(exit_code=1, termination=JUNK_TERMINATION),),
        (pod(exit_code=137, kubelet_reason="OOMKilled", deleting=True, disrupted="gone"), pod(name="second")),
    ]
)
QUEUED = Gate(
    open=False,
    reason=TrainingJobReason.WAITING_FOR_TURN,
    message="3 of 9 in the queue of lab",
    place=Place(position=3, pending=9),
    estimate=Estimate(earliest=NOW, likely=NOW + timedelta(minutes=5)),
)
views = st.builds(
    view,
    job=st.sampled_from(
        [
            None,
            job(),
            job(suspended=True),
            job(complete=True),
            job(failed="BackoffLimitExceeded"),
            job(failed="PodFailurePolicy"),
            job(stopped="Suspended"),
            job(stopped="RunTimeout"),
            job(stopped="Canceled"),
            job(stopped="NodeLost"),
            job(attempt=2),
            job(attempt=2, failed="BackoffLimitExceeded"),
        ]
    ),
    pods=pods,
    cluster=st.sampled_from([None, cluster()]),
    machines=st.sampled_from(["spec.vmSize is unknown", read_cluster(cluster(), Catalogue())]),
    gate=st.sampled_from([None, Gate(open=True), QUEUED]),
    source=st.sampled_from([None, ConfigMapSource(files=None), ConfigMapSource(files=frozenset({"train.py"}))]),
    live=st.sampled_from([None, {"state": "Running", "metrics": {"a": 1}, "progress": {"percent": 250}}]),
    saved=st.sampled_from([None, saved("outputs/m.pkl"), StoreTrouble(message="away", final=False)]),
    models=st.just({}),
    data=st.sampled_from([None, RunData(left=False), RunData(left=True), RunData(left=False, trouble="away")]),
)  # fmt: skip


def settle(plan_once, parent):
    """Plan until nothing changes, as the reconcile loop does with a world that stands still.

    Every status on the way must be one that the API server takes.
    """
    plural = next(k.plural for k in (TRAINING_JOB, REGISTERED_MODEL, COMPUTE_CLUSTER) if k.kind == parent["kind"])
    admitted = jsonschema.Draft7Validator(schema(plural)["properties"]["status"])
    for _ in range(5):
        plan = plan_once(parent)
        if plan.status is None:
            return plan
        admitted.validate(plan.status)
        parent = {**parent, "status": plan.status}
    pytest.fail("the plan keeps changing its own status")


def living(kind):
    """Return objects of `kind` as the API server holds them before their first reconcile, or after one of ours."""
    return objects(kind).map(lambda obj: {**obj, "status": {}})


@thorough
@given(parent=living(TRAINING_JOB), seen=views)
def test_planning_a_run_is_a_function_and_comes_to_rest(parent, seen):
    assert plan_training_job(parent, seen, NOW) == plan_training_job(parent, seen, NOW)
    resting = settle(lambda obj: plan_training_job(obj, seen, NOW), parent)
    assert resting.events == ()


@thorough
@given(parent=living(TRAINING_JOB), situations=st.lists(views, max_size=6))
def test_a_run_that_ended_stays_as_it_ended_whatever_happens_around_it(parent, situations):
    ended = None
    for number, seen in enumerate(situations):
        plan = plan_training_job(parent, seen, NOW + timedelta(minutes=number))
        if plan.status is not None:
            parent = {**parent, "status": plan.status}
        phase = parent["status"].get("phase")
        assert ended is None or phase == ended
        ended = phase if phase in {"Completed", "Failed", "Canceled"} else None


@thorough
@given(parent=living(TRAINING_JOB), situations=st.lists(views, max_size=12))
def test_attempts_are_made_one_after_the_other_each_once_and_no_more_than_allowed(parent, situations):
    made = []
    for number, seen in enumerate(situations):
        now = NOW + timedelta(hours=number)
        # The Job of the attempt that was made last, or found first, is there, whatever has become of it.
        last = made[-1] if made else parent["status"].get("attempt")
        there = seen.job if seen.job is None or last is None else relabeled(seen.job, last)
        plan = plan_training_job(parent, replace(seen, job=there), now)
        for child in plan.create:
            if child["kind"] == "Job":
                made.append(int(child["metadata"]["labels"]["trainyard.dev/attempt"]))
                # None is made before the end of the one before it was written down.
                before = parent["status"].get("attempts") or []
                assert all("endTime" in entry for entry in before)
                assert plan.status["attempt"] == made[-1]
        if plan.status is not None:
            parent = {**parent, "status": plan.status}
    first = made[0] if made else 1
    assert made == list(range(first, first + len(made)))
    assert parent["status"].get("failures", 0) <= parent["spec"].get("retries", 0) + 1


def relabeled(found, attempt):
    """Return a Job as the one of an attempt."""
    return {**found, "metadata": {**found["metadata"], "labels": {"trainyard.dev/attempt": str(attempt)}}}


@thorough
@given(
    parent=living(TRAINING_JOB), seen=views, keeper=st.sampled_from(["trainyard.dev/run-data", "foregroundDeletion"])
)
def test_a_run_that_is_being_deleted_gets_no_child_and_comes_to_rest(parent, seen, keeper):
    meta = {**parent["metadata"], "deletionTimestamp": "2026-11-23T12:00:00Z", "finalizers": [keeper]}
    going = {**parent, "metadata": meta}
    assert plan_training_job(going, seen, NOW).create == ()
    settle(lambda obj: plan_training_job(obj, seen, NOW), going)


def with_any_status(kind):
    """Return objects of `kind` with whatever status the schema admits, as somebody with the right to may write it."""
    return st.builds(lambda obj, status: {**obj, "status": status}, objects(kind), statuses(kind))


@thorough
@given(parent=with_any_status(TRAINING_JOB), seen=views)
def test_no_status_that_the_schema_admits_upsets_the_planner(parent, seen):
    plan_training_job(parent, seen, NOW)


@thorough
@given(parent=with_any_status(REGISTERED_MODEL))
def test_planning_a_model_never_fails_and_comes_to_rest(parent):
    seen = ModelView(folder_uri="s3://b/m/", sealed={1: Sealed(manifest_sha256="d" * 64, files=1, bytes=1)})
    settle(lambda obj: plan_registered_model(obj, seen, NOW), parent)


CATALOGUE = Catalogue.parse({"SMALL": {"cpu": "2", "memory": "8Gi"}, "standard_d2_v2": {"cpu": "2", "memory": "7Gi"}})
NODES = (
    {"metadata": {"name": "n"}},
    {"metadata": {"name": "m", "labels": {"a": "b"}}, "status": {}},
    {
        "metadata": {"name": "gone", "labels": {}, "deletionTimestamp": "2026-11-23T12:00:00Z"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    },
)
ENTRY = Entry(uid="u", namespace="default", name="r", priority=0, created="2026-11-23T11:00:00Z", since=NOW)
JUNK_POOL = {"metadata": {"name": "p", "uid": "u"}, "spec": None, "status": {"conditions": [{"type": "Ready"}, {}]}}
LATE_CLAIM = {"metadata": {"name": "c", "uid": "u", "creationTimestamp": "2026-11-20T12:00:00Z"}}
cluster_views = st.builds(
    ClusterView,
    catalogue=st.just(CATALOGUE),
    nodes=st.sampled_from([(), NODES]),
    runs_on=st.sampled_from([{}, {"n": ["r"], "gone": ["other/r"]}]),
    queue=st.sampled_from([Queue(), Queue(waiting=[ENTRY]), Queue(admitted={"u": ENTRY})]),
    unplaced=st.sampled_from([(), (Unplaced(entry=ENTRY, job={"metadata": {"name": "j"}}, since=NOW),)]),
    surroundings=st.sampled_from(
        [
            Surroundings(),
            Surroundings(installed=False),
            Surroundings(pool=JUNK_POOL),
            Surroundings(claims=({"metadata": {"name": "c"}},)),
            Surroundings(pool=JUNK_POOL, claims=(LATE_CLAIM,)),
        ]
    ),
    shortages=st.sampled_from([(), (Shortage(code="InsufficientCapacity", message="x" * 900, first=NOW, last=NOW),)]),
    pods=st.sampled_from([None, SETTINGS]),
)


@thorough
@given(parent=with_any_status(COMPUTE_CLUSTER), seen=cluster_views)
def test_planning_a_cluster_never_fails_and_comes_to_rest(parent, seen):
    settle(lambda obj: plan_compute_cluster(obj, seen, NOW), parent)


@thorough
@given(parent=living(COMPUTE_CLUSTER), seen=cluster_views)
def test_a_cluster_that_is_being_deleted_comes_to_rest_too(parent, seen):
    meta = {**parent["metadata"], "deletionTimestamp": "2026-11-23T12:00:00Z", "finalizers": [FINALIZER]}
    settle(lambda obj: plan_compute_cluster(obj, seen, NOW), {**parent, "metadata": meta})


def test_a_sealed_model_is_at_rest():
    parent = model(version(1))
    seen = ModelView(folder_uri="s3://b/m/")
    settle(lambda obj: plan_registered_model(obj, seen, NOW), parent)
