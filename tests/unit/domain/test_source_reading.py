"""What a run does about a file of requirements that is in an archive or in git: a pod reads it before the build."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.domain.builders import NOW, PLACES, SETTINGS, training_job
from tests.unit.helm.pod_security import violations
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.environment import Reading
from trainyard_operator.domain.environment_build import BuildSettings
from trainyard_operator.domain.job import build_job
from trainyard_operator.domain.run_view import ArchiveSource, RunView
from trainyard_operator.domain.source_reading import build_reading_job, has_to_be_read, reads_source
from trainyard_operator.domain.training_job import plan_training_job

GIT = {"git": {"url": "https://example.com/a.git", "secretRef": {"name": "reader"}}}
ARCHIVE = {"archive": {"path": "a.zip", "sha256": "ab" * 32}}
INLINE = {"inline": {"train.py": "", "r.txt": ""}}
BUILDS = BuildSettings(
    node_selector={"pool": "builds"}, tolerations=[{"key": "builds", "operator": "Exists"}], timeout_seconds=600
)
THERE = Reading(file="r.txt", settings=BUILDS)


def run(source=None, **over):
    return training_job(source=source or GIT, environment={"requirements": "r.txt"}, **over)


def plan(there, *, parent=None, **over):
    seen = RunView(settings=SETTINGS, places=PLACES, preparation=there, **over)
    return plan_training_job(parent or run(), seen, NOW)


def reading(*, failed=None, complete=False, uid="reader-uid"):
    """Return the Job that reads as the store has it; `failed` is the reason of its Failed condition."""
    spec = TrainingJobSpec.parse(run()["spec"])
    job = build_reading_job(parent=run(), spec=spec, pods=SETTINGS, builds=BUILDS)
    conditions = [{"type": "Failed", "status": "True", "reason": failed, "message": "m"}] if failed else []
    conditions += [{"type": "Complete", "status": "True"}] if complete else []
    return {"metadata": {**job["metadata"], "uid": uid}, "status": {"conditions": conditions}}


def pod(*, state=None, unschedulable=None):
    conditions = []
    if unschedulable:
        conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": unschedulable}]
    status = {"phase": "Pending", "conditions": conditions}
    if state:
        status["containerStatuses"] = [{"name": "read", "image": "trainer:1", "state": state}]
    return {"metadata": {"name": "reader", "namespace": "default", "creationTimestamp": ""}, "status": status}


def ended(message, *, reason="SourceInvalid", killed=False):
    said = {"version": 1, "container": "read", "reason": reason, "message": message, "exitCode": 1}
    why = "OOMKilled" if killed else "Error"
    return {"terminated": {"exitCode": 1, "reason": why, "message": json.dumps(said) if message else ""}}


@pytest.mark.parametrize(
    ("source", "environment", "expected"),
    [
        pytest.param(GIT, {"requirements": "r.txt"}, True, id="git"),
        pytest.param(ARCHIVE, {"requirements": "r.txt"}, True, id="archive"),
        pytest.param(INLINE, {"requirements": "r.txt"}, False, id="inline"),
        pytest.param({"configMapRef": {"name": "c"}}, {"requirements": "r.txt"}, False, id="ConfigMap"),
        pytest.param(GIT, {"pip": ["tabulate"]}, False, id="no file"),
    ],
)
def test_a_pod_reads_what_the_operator_does_not_see(source, environment, expected):
    parent = training_job(source=source, environment=environment)
    assert has_to_be_read(TrainingJobSpec.parse(parent["spec"])) is expected


def test_the_source_is_read_before_the_run_has_a_job():
    wish = plan(THERE)
    (job,) = wish.create
    assert reads_source(job)
    assert job["metadata"]["ownerReferences"][0]["uid"] == run()["metadata"]["uid"]
    assert job["metadata"]["name"].endswith("-0")
    assert "trainyard.dev/attempt" not in job["metadata"]["labels"]
    assert (wish.status["phase"], "environment" in wish.status) == ("Preparing", False)


def test_an_attempt_is_no_reading():
    spec = TrainingJobSpec.parse(run()["spec"])
    made = build_job(parent=run(), spec=spec, attempt=1, berth=None, settings=SETTINGS, environment="e" * 64)
    assert not reads_source(made)


def test_its_pod_is_confined_holds_the_secret_of_git_and_runs_our_own_image_where_builds_go():
    parent = run(inputs=[{"name": "a", "s3": {"uri": "s3://bucket/c", "secretRef": {"name": "other"}}}])
    parent["spec"]["environment"]["image"] = "somebody/else:1"
    (job,) = plan(THERE, parent=parent).create
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert violations(spec) == []
    assert spec["automountServiceAccountToken"] is False
    assert container["image"] == SETTINGS.trainer_image
    assert [v["secret"]["secretName"] for v in spec["volumes"] if "secret" in v] == ["reader"]
    assert [m["mountPath"] for m in container["volumeMounts"] if m["name"] == "secret-0"] == [
        "/var/run/secrets/trainyard-spec/source"
    ]
    assert (spec["nodeSelector"], spec["tolerations"]) == (BUILDS.node_selector, list(BUILDS.tolerations))
    assert job["spec"]["activeDeadlineSeconds"] == 600


@pytest.mark.parametrize(
    ("there", "live", "reason", "words"),
    [
        pytest.param(replace(THERE, by="other"), None, "EnvironmentBuilding", "the run other reads it", id="another"),
        pytest.param(replace(THERE, job=reading()), None, "EnvironmentBuilding", "on its way", id="no pod"),
        pytest.param(
            replace(THERE, job=reading(), pods=[pod(unschedulable="no room")]),
            None,
            "Unschedulable",
            "reader that reads it: no room",
            id="no node",
        ),
        pytest.param(
            replace(THERE, job=reading(), pods=[pod(state={"running": {}})]),
            {"state": "Preparing", "metrics": {}, "message": "fetching main of https://example.com/a.git"},
            "EnvironmentBuilding",
            "reading r.txt of the source: fetching main",
            id="said",
        ),
    ],
)
def test_a_run_tells_how_far_the_reading_is(there, live, reason, words):
    wish = plan(there, live=live)
    assert wish.create == ()
    assert wish.requeue_after is not None
    (ready,) = [c for c in wish.status["conditions"] if c["type"] == "Ready"]
    assert (ready["reason"], words in ready["message"]) == (reason, True), ready


@pytest.mark.parametrize(
    ("there", "reason", "words"),
    [
        pytest.param(
            replace(THERE, job=reading(failed="BackoffLimitExceeded"), pods=[pod(state=ended("no such file"))]),
            Reason.SOURCE_INVALID,
            "no such file",
            id="said by its pod",
        ),
        pytest.param(
            replace(
                THERE,
                job=reading(failed="BackoffLimitExceeded"),
                pods=[pod(state=ended("cannot", reason="NodeLost"))],
            ),
            Reason.ENVIRONMENT_BUILD_FAILED,
            "cannot",
            id="a reason that is none of a reader's",
        ),
        pytest.param(
            replace(THERE, job=reading(failed="BackoffLimitExceeded"), pods=[pod(state=ended("", killed=True))]),
            Reason.ENVIRONMENT_BUILD_FAILED,
            "more memory",
            id="memory",
        ),
        pytest.param(
            replace(THERE, job=reading(failed="DeadlineExceeded")),
            Reason.ENVIRONMENT_BUILD_FAILED,
            "600 s (environments.build.timeoutSeconds",
            id="too slow",
        ),
        pytest.param(
            replace(THERE, job=reading(failed="PodFailurePolicy")),
            Reason.ENVIRONMENT_BUILD_FAILED,
            "r.txt of the source could not be read: PodFailurePolicy: m",
            id="no pod left",
        ),
    ],
)
def test_a_reading_that_fails_fails_the_run_in_words(there, reason, words):
    failure = plan(there).status["failure"]
    assert failure["reason"] == reason
    assert words in failure["message"]


def test_a_reading_whose_text_is_gone_is_done_again():
    wish = plan(replace(THERE, job=reading(complete=True)))
    assert [gone.uid for gone in wish.delete] == ["reader-uid"]
    assert wish.status is None


def test_what_is_not_uploaded_yet_is_waited_for_first():
    wish = plan(THERE, parent=run(ARCHIVE), source=ArchiveSource(uri="s3://b/a.zip"))
    assert (wish.create, wish.status["phase"]) == ((), "Pending")


def test_data_of_a_run_that_is_deleted_goes_after_the_pod_that_reads():
    parent = run(deletionPolicy="Delete")
    parent["metadata"] |= {"deletionTimestamp": "2026-11-23T12:00:00Z", "finalizers": ["trainyard.dev/run-data"]}
    wish = plan(replace(THERE, job=reading()), parent=parent)
    assert [gone.uid for gone in wish.delete] == ["reader-uid"]
    assert not wish.erase


@pytest.mark.parametrize(
    ("job", "ended"),
    [
        pytest.param(reading(), True, id="under way"),
        pytest.param(reading(complete=True), False, id="done"),
        pytest.param(None, False, id="not begun"),
    ],
)
def test_a_run_that_is_canceled_ends_the_reading_of_its_source(job, ended):
    made = plan(replace(THERE, job=job), parent=run(cancel=True))
    assert made.status["phase"] == "Canceled"
    assert [deletion.uid for deletion in made.delete] == (["reader-uid"] if ended else [])
    assert made.create == ()
