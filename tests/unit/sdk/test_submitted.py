"""Runs seen from outside, against an API server that says what the test wishes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from trainyard.errors import ConfigError, Conflict, Forbidden, ModelPathNotFound, NotFound, RunFailed, Timeout
from trainyard.remote.experiment import Experiment, training_job
from trainyard.remote.submitted import SubmittedRun
from trainyard.remote.view import EXPERIMENT_LABEL, PROPERTIES_ANNOTATION, TAGS_ANNOTATION


def job(phase, name="digits-1", *, created="2026-11-26T00:00:00Z", **status):
    return {
        "metadata": {
            "name": name, "namespace": "team", "uid": f"uid-{name}", "generation": 2, "creationTimestamp": created,
        },
        "spec": {"experiment": "digits", "models": []},
        "status": {"phase": phase, "attempt": 2, "jobName": name, "observedGeneration": 2, **status},
    }  # fmt: skip


class Objects:
    """One TrainingJob, which goes from one of `jobs` to the next as it is watched."""

    namespace, api = "team", None

    def __init__(self, *jobs, ending=None):
        self.jobs, self.ending, self.changes = list(jobs), ending, []

    def get(self, _plural, _name):
        return self.jobs[0]

    def list(self, _plural, *, field_selector=""):
        self.selected = field_selector
        return self.jobs

    def names(self, _plural):
        return [job["metadata"]["name"] for job in self.jobs]

    def patch(self, _plural, _name, change):
        self.changes.append(change)
        return self.jobs[0]

    def update(self, _plural, _name, change_of):
        change = change_of(self.jobs[0])
        return self.jobs[0] if change is None else self.patch(_plural, _name, change)

    def watch(self, _plural, _name, *, timeout):
        yield from self.jobs
        if self.ending is not None:
            raise self.ending


class Files:
    def __init__(self, *names):
        self.names = names

    def files(self, *, area, prefix):
        assert (area, prefix) == ("runs", "uid-digits-1/attempts/2/")
        return [{"path": name} for name in self.names]


def run_of(*jobs, files=(), ending=None):
    workspace = SimpleNamespace(
        objects=Objects(*jobs, ending=ending), gateway=Files(*files), name="team", is_local=False
    )
    return SubmittedRun(Experiment(workspace, "digits"), "digits-1"), workspace.objects


DONE = job("Completed", completionTime="2026-11-26T01:00:00Z")


def test_waiting_ends_with_the_run():
    run, _ = run_of(job("Queued"), job("Running"), DONE)
    assert run.status == "Queued"
    assert run.wait_for_completion()["endTimeUtc"] == "2026-11-26T01:00:00Z"
    assert run.status == "Completed"


def test_a_run_that_failed_is_an_error_with_its_reason_unless_that_is_not_wanted():
    failed = job("Failed", failure={"reason": "UserError", "message": "exit code 1", "logTail": "ValueError"})
    with pytest.raises(
        RunFailed, match=r"run digits-1 is Failed. UserError: exit code 1\nThe end of its log:\nValueError"
    ):
        run_of(failed)[0].wait_for_completion()
    assert run_of(failed)[0].wait_for_completion(raise_on_error=False)["status"] == "Failed"


def test_an_interrupt_ends_the_waiting_and_not_the_run(capsys):
    run, objects = run_of(job("Running"), ending=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run.wait_for_completion()
    assert (
        "The run goes on. Look at it with: kubectl --namespace team get --watch trainingjob digits-1"
        in capsys.readouterr().out
    )
    assert objects.changes == []


def test_a_wait_that_is_too_short_says_so():
    run, objects = run_of(job("Running"), ending=Timeout("x"))
    with pytest.raises(Timeout, match="run digits-1 is Running after 5 s; it goes on"):
        run.wait_for_completion(timeout_seconds=5)
    assert objects.changes == []


def test_canceling_and_tagging_change_the_object():
    run, objects = run_of(job("Running"))
    run.cancel()
    run.tag("why", None)
    assert objects.changes == [
        {"spec": {"cancel": True}},
        {"metadata": {"annotations": {TAGS_ANNOTATION: '{"why": ""}'}}},
    ]
    with pytest.raises(ConfigError, match="give text"):
        run.tag("why", [1])


def test_a_model_is_appended_and_waited_for():
    entry = {"name": "m", "path": "outputs/m.pkl", "version": 3, "id": "m:3"}
    run, objects = run_of(DONE, {**DONE, "status": {**DONE["status"], "models": [entry]}}, files=["outputs/m.pkl"])
    version = {"version": 3, "id": "m:3", "state": "Ready"}
    model = {"spec": {"modelName": "m"}, "status": {"versions": [version]}}
    objects.get = lambda plural, _name: DONE if plural == "trainingjobs" else model
    assert run.register_model("m", "m.pkl", tags={"a": 1}).id == "m:3"
    assert objects.changes == [{"spec": {"models": [{"name": "m", "path": "outputs/m.pkl", "tags": {"a": "1"}}]}}]


@pytest.mark.parametrize(
    ("after", "error", "said"),
    [
        pytest.param(
            job("Completed", conditions=[
                {"type": "ModelRegistered", "status": "False", "reason": "ModelNotRegistered", "message": "was deleted"}
            ]),
            RunFailed, "m was not registered: was deleted", id="refused",
        ),
        pytest.param(job("Canceled"), RunFailed, "will not be registered: the run has ended", id="canceled"),
    ],
)  # fmt: skip
def test_a_model_that_will_not_be_is_said(after, error, said):
    run, _ = run_of(after, files=["outputs/m.pkl"])
    with pytest.raises(error, match=said):
        run.register_model("m", "m.pkl")


def test_a_path_that_is_not_there_is_said_with_what_is():
    run, objects = run_of(DONE, files=["outputs/deep/m.pkl", "manifest.json"])
    with pytest.raises(ModelPathNotFound, match=r"model_path outputs/m\.pkl .*did you mean outputs/deep/m\.pkl\?"):
        run.register_model("m", "m.pkl")
    assert objects.changes == []


def test_a_run_that_has_not_begun_has_no_files():
    waiting = job("Queued")
    del waiting["status"]["jobName"]
    run, _ = run_of(waiting)
    assert (run.get_file_names(), run.get_logs(), run.get_metrics()) == ([], "", {})


def test_runs_are_listed_newest_first():
    jobs = [
        job("Completed", "digits-1", created="2026-11-26T00:00:00Z"),
        job("Completed", "digits-3", created="2026-11-26T00:00:02Z"),
        job("Completed", "digits-2", created="2026-11-26T00:00:02Z"),
    ]
    other = {**job("Completed", "other-1"), "spec": {"experiment": "other"}}
    experiment = Experiment(SimpleNamespace(objects=Objects(*jobs, other), name="team"), "digits")
    assert [run.number for run in experiment.get_runs()] == [3, 2, 1]
    assert experiment.workspace.objects.selected == "spec.experiment=digits"
    assert [e.name for e in Experiment.list(experiment.workspace)] == ["digits", "other"]


def with_annotations(document, **annotations):
    return {**document, "metadata": {**document["metadata"], "annotations": annotations}}


LOOKED_FOR = with_annotations(
    job("Failed", source={"sha256": "5a"}),
    **{TAGS_ANNOTATION: '{"who": "ann", "seen": ""}', PROPERTIES_ANNOTATION: '{"team": "a"}'},
)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        pytest.param({}, True, id="all"),
        pytest.param({"tags": "who"}, True, id="a tag by its name"),
        pytest.param({"tags": {"who": "ann", "seen": None}}, True, id="tags with their values"),
        pytest.param({"tags": {"who": "bob"}}, False, id="a tag with another value"),
        pytest.param({"properties": {"team": "a", "sourceSha256": "5a"}}, True, id="properties, given and known"),
        pytest.param({"properties": "commit"}, False, id="a property that it lacks"),
        pytest.param({"status": "Failed"}, True, id="status"),
        pytest.param({"status": "Completed"}, False, id="another status"),
        pytest.param({"type": "azureml.scriptrun"}, True, id="Azure ML's type of a script"),
        pytest.param({"type": "hyperdrive"}, False, id="another type"),
    ],
)
def test_runs_are_looked_for(asked, found):
    experiment = Experiment(SimpleNamespace(objects=Objects(LOOKED_FOR), name="team"), "digits")
    assert bool(list(experiment.get_runs(**asked))) is found


def test_properties_can_be_added_and_not_changed():
    run, objects = run_of(LOOKED_FOR)
    run.add_properties({"n": 1})
    assert objects.changes == [{"metadata": {"annotations": {PROPERTIES_ANNOTATION: '{"n": "1", "team": "a"}'}}}]
    with pytest.raises(Conflict, match="'team' is 'a' already: use a tag"):
        run.add_properties({"team": "b"})


def test_a_run_cannot_be_given_files_from_outside_and_says_what_can_be_done():
    run, _ = run_of(DONE)
    for call in (
        lambda: run.upload_file("outputs/m.pkl", "m.pkl"),
        lambda: run.upload_files(["outputs/m.pkl"], ["m.pkl"]),
        lambda: run.upload_folder("outputs/m.pkl", "."),
    ):
        with pytest.raises(
            Forbidden, match=r"outputs/m\.pkl: what a run has .* Model\.register\(workspace, path, name\)"
        ):
            call()


def test_details_have_the_status_both_ways():
    run, _ = run_of(DONE)
    assert run.get_details().status == run.get_details()["status"] == "Completed"
    assert run.get_detailed_status() == {"status": "Completed", "details": [""]}
    assert list(run.get_children(recursive=True, status="Failed")) == []


def test_a_run_is_shown_with_everything_escaped():
    failed = job("Failed", conditions=[{"type": "Ready", "status": "False", "message": "<script>alert(1)</script>"}])
    shown = run_of(failed)[0]._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown


@pytest.mark.parametrize("name", ["ab", "-ab", "a" * 37, "a b", None])
def test_names_of_experiments_are_checked(name):
    with pytest.raises(ConfigError, match="3 to 36 letters"):
        Experiment(None, name)


def test_a_training_job_has_its_experiment_as_a_label_and_its_tags_as_an_annotation():
    document = training_job({"x": 1}, experiment="digits", tags={"a": "b"})
    assert document["metadata"] == {
        "labels": {EXPERIMENT_LABEL: "digits"}, "annotations": {TAGS_ANNOTATION: '{"a": "b"}'},
    }  # fmt: skip
    assert "annotations" not in training_job({}, experiment="digits", tags={})["metadata"]


def test_a_run_that_was_deleted_is_said():
    run, _ = run_of(job("Running"), ending=NotFound("trainingjobs/digits-1 was deleted"))
    with pytest.raises(NotFound, match="was deleted"):
        run.wait_for_completion()
