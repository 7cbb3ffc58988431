"""Repeating a run: what is taken from the other one, and what is said where nothing can be."""

from __future__ import annotations

import pytest

from tests.unit.domain.builders import NOW, SETTINGS, UID, training_job, view
from trainyard_operator.api.reasons import TrainingJobReason as Reason
from trainyard_operator.api.training_job import TrainingJobSpec
from trainyard_operator.domain.environment import EnvironmentRecord, Kept, Pack
from trainyard_operator.domain.job import build_job
from trainyard_operator.domain.rerun import MAX_NOTE_BYTES, NotYet, Repeated, look_up, read_note, whole
from trainyard_operator.domain.run_ending import Failure
from trainyard_operator.domain.training_job import plan_training_job

SHA = "5" * 64
IMAGE = "registry.example.com/trainer@sha256:" + "a" * 64
PACKAGES = {"hash": "e" * 64, "state": "Ready", "logUri": "s3://bucket/envs/default/e/logs/"}
WORDS = {
    "entryScript": "main.py",
    "parameters": {"rate": 0.5},
    "arguments": ["--data", "$(inputs.data)"],
    "inputs": [{"name": "data", "datastore": {"path": "mnist"}}],
    "environment": {"image": "registry.example.com/trainer:1", "variables": [{"name": "A", "value": "b"}]},
    "resources": {"requests": {"cpu": "2"}},
}


def run(name, *, of=None, status=None, **spec):
    made = training_job(status=status, **{"source": None if of else {"inline": {"main.py": 1}}, "rerunOf": of, **spec})
    made["metadata"] |= {"name": name, "uid": f"uid-{name}"}
    return made


def started(phase="Running", **over):
    environment = {"imageDigest": "sha256:" + "a" * 64, "image": IMAGE}
    return {"phase": phase, "source": {"sha256": SHA}, "environment": environment, **over}


def original(**over):
    return run("first", **{"status": started(), **WORDS, **over})


def rerun(**over):
    return run("again", of="first", **over)


def found(wanted, *others, jobs=None):
    by_name = {other["metadata"]["name"]: other for other in others}
    return look_up(wanted, find=by_name.get, job_of=(jobs or {}).get)


def test_a_run_with_a_source_of_its_own_repeats_nothing():
    assert found(original()) is None


def test_a_rerun_takes_code_words_and_the_image_by_its_digest():
    repeated = found(rerun(), original())
    assert (repeated.name, repeated.uid, repeated.sha256) == ("first", "uid-first", SHA)
    spec = TrainingJobSpec.parse(whole(rerun(), repeated)["spec"])
    assert (spec.entry_script, spec.environment.image, spec.environment.variables) == ("main.py", IMAGE, {"A": "b"})
    assert spec.argv == ["--rate", "0.5", "--data", "/inputs/data"]
    assert spec.requests == {"cpu": "2"}


def test_what_a_rerun_says_itself_is_its_own():
    own = {
        "resources": {"limits": {"memory": "1Gi"}},
        "experiment": "other",
        "models": [{"name": "m", "path": "outputs"}],
    }
    spec = TrainingJobSpec.parse(whole(rerun(**own), found(rerun(**own), original(models=[])))["spec"])
    assert (spec.requests, spec.limits, spec.experiment) == ({}, {"memory": "1Gi"}, "other")
    assert [model.name for model in spec.models] == ["m"]


def test_what_is_repeated_is_taken_down_on_the_job_and_read_back():
    repeated = found(rerun(), original())
    parent = whole(rerun(), repeated)
    job = build_job(
        parent=parent,
        spec=TrainingJobSpec.parse(parent["spec"]),
        attempt=1,
        berth=None,
        settings=SETTINGS,
        repeated=repeated,
    )
    assert read_note(job) == repeated
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE


def test_a_run_whose_image_came_from_no_registry_is_repeated_with_the_image_that_it_names():
    status = started(environment={"imageDigest": "sha256:" + "a" * 64})
    spec = whole(rerun(), found(rerun(), original(status=status)))["spec"]
    assert spec["environment"]["image"] == "registry.example.com/trainer:1"


@pytest.mark.parametrize(
    ("others", "words"),
    [
        pytest.param([], "there is no TrainingJob first in namespace default; the run starts when", id="none"),
        pytest.param([original(status=None)], "first has not started yet", id="just created"),
        pytest.param([original(status={"phase": "Queued"})], "first has not started yet", id="queued"),
        pytest.param([original(status=started(environment=None))], "first has not started yet", id="fetching"),
        pytest.param(
            [original(status=started(environment=PACKAGES))], "first has not started yet", id="fetching, with packages"
        ),
        pytest.param([run("first", of="zero")], "there is no TrainingJob zero", id="the first of a chain is not there"),
    ],
)
def test_a_rerun_waits_for_what_may_still_come(others, words):
    missing = found(rerun(), *others)
    assert isinstance(missing, NotYet)
    assert words in missing.message
    plan = plan_training_job(rerun(), view(repeated=missing), NOW)
    assert plan.create == ()
    assert plan.requeue_after is not None
    assert plan.status["phase"] == "Pending"
    assert plan.status["conditions"][0]["reason"] == "SourceNotFound"


@pytest.mark.parametrize(
    ("others", "reason", "words"),
    [
        pytest.param([original(status={"phase": "Failed"})], Reason.SOURCE_INVALID, "first ended before its code", id="failed early"),
        pytest.param([original(status={"phase": "Canceled"})], Reason.SOURCE_INVALID, "first ended before", id="canceled early"),
        pytest.param([run("first", of="again")], Reason.INVALID_SPEC, "again, first repeat each other", id="a circle"),
        pytest.param([original(arguments=["x" * 4096] * 50)], Reason.INVALID_SPEC, "too long", id="long arguments"),
    ],
)  # fmt: skip
def test_a_rerun_of_what_cannot_be_repeated_fails(others, reason, words):
    failure = found(rerun(), *others)
    assert isinstance(failure, Failure)
    assert failure.reason == reason
    assert words in failure.message
    assert plan_training_job(rerun(), view(repeated=failure), NOW).status["failure"]["reason"] == reason


@pytest.mark.parametrize("phase", ["Failed", "Canceled", "Completed"])
def test_a_run_that_ended_in_any_way_can_be_repeated_if_its_code_was_kept(phase):
    assert isinstance(found(rerun(), original(status=started(phase, environment=None))), Repeated)


def test_a_rerun_of_a_rerun_has_the_words_of_the_first_one():
    second = run("again", of="first", status=started())
    third = run("third", of="again")
    assert found(third, second, original()).spec == found(second, original()).spec


def test_a_rerun_of_a_rerun_does_not_need_the_first_one_where_the_second_has_its_job():
    second = run("again", of="first", status=started())
    note = {"trainyard.dev/repeats": found(second, original()).note()}
    job = {"metadata": {"annotations": note}}
    third = run("third", of="again")
    assert found(third, second, jobs={"uid-again": job}).spec["parameters"] == {"rate": 0.5}


def test_the_packages_of_the_first_run_are_noted_through_a_chain_of_reruns():
    wanted = {"hash": PACKAGES["hash"], "logUri": PACKAGES["logUri"]}
    status = started(environment={**PACKAGES, "imageDigest": "sha256:" + "a" * 64, "image": IMAGE})
    repeated = found(rerun(), original(status=status))
    assert repeated.environment == wanted
    job = {"metadata": {"annotations": {"trainyard.dev/repeats": repeated.note()}}}
    assert read_note(job) == repeated
    second = run("again", of="first", status=status)
    assert found(run("third", of="again"), second, jobs={"uid-again": job}).environment == wanted


def test_a_rerun_gets_the_packages_that_are_kept_and_builds_nothing():
    repeated = found(rerun(), original(environment={"requirements": "r.txt"}))
    pack = Pack(path="p", sha256="b" * 64, bytes=1)
    there = Kept(record=EnvironmentRecord(hash=PACKAGES["hash"], pack=pack), logs_uri=PACKAGES["logUri"])
    plan = plan_training_job(rerun(), view(repeated=repeated, preparation=there), NOW)
    (job,) = plan.create
    assert job["metadata"]["annotations"]["trainyard.dev/environment-hash"] == PACKAGES["hash"]
    assert read_note(job) == repeated
    assert plan.status["environment"] == PACKAGES


@pytest.mark.parametrize("text", ["", "no json", "[]", "[1]", "{}", '{"name": 1}'])
def test_an_annotation_of_somebody_elses_is_no_note(text):
    assert read_note({"metadata": {"annotations": {"trainyard.dev/repeats": text}}}) is None
    assert read_note(None) is None


def test_a_note_leaves_room_for_other_annotations():
    assert MAX_NOTE_BYTES < 256 * 1024


def test_a_rerun_that_has_begun_is_planned_without_the_other_run():
    repeated = found(rerun(), original())
    plan = plan_training_job(rerun(), view(repeated=repeated), NOW)
    (job,) = plan.create
    assert read_note(job) == repeated
    assert job["metadata"]["ownerReferences"][0]["uid"] != UID
