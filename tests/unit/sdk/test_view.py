"""A TrainingJob in Azure ML's words."""

from __future__ import annotations

import pytest

from trainyard.remote import view
from trainyard.remote.following import Printer


def job(*, phase=None, cancel=False, tags=None, annotation=None, **status):
    annotations = {} if annotation is None else {view.TAGS_ANNOTATION: annotation}
    document = {
        "metadata": {"name": "digits-3", "namespace": "team", "uid": "u", "annotations": annotations},
        "spec": {"experiment": "digits", "cancel": cancel, "parameters": {"r": 1}},
        "status": {**({"phase": phase} if phase else {}), **({"tags": tags} if tags else {}), **status},
    }
    return document if document["status"] else {key: document[key] for key in ("metadata", "spec")}


@pytest.mark.parametrize(
    ("given", "status"),
    [
        pytest.param({}, "NotStarted", id="nobody has looked at it"),
        pytest.param({"phase": "Pending"}, "Starting", id="accepted"),
        pytest.param({"phase": "Queued"}, "Queued", id="waits"),
        pytest.param({"phase": "Running", "cancel": True}, "CancelRequested", id="is to stop"),
        pytest.param({"phase": "Canceled", "cancel": True}, "Canceled", id="has stopped"),
        pytest.param({"phase": "Completed", "cancel": True}, "Completed", id="was done before it could be stopped"),
    ],
)
def test_phases_are_azure_ml_s_statuses(given, status):
    assert view.status_of(job(**given)) == status


@pytest.mark.parametrize(
    ("experiment", "names", "expected"),
    [
        pytest.param("sklearn-mnist", [], "sklearn-mnist-1", id="the first"),
        pytest.param("sklearn-mnist", ["sklearn-mnist-1", "sklearn-mnist-9"], "sklearn-mnist-10", id="after the last"),
        pytest.param("Sk_Learn", ["other-7", "sk-learn", "sk-learn-x"], "sk-learn-1", id="made fit for a name"),
        pytest.param("___", [], "run-1", id="nothing of it is fit"),
    ],
)
def test_runs_are_numbered_by_their_names(experiment, names, expected):
    name = view.next_name(view.stem_of(experiment), names)
    assert name == expected
    assert view.number_of_name(name) == int(expected.rsplit("-", 1)[1])


def test_tags_from_outside_are_over_those_of_the_script():
    found = job(tags={"a": "1", "b": "1"}, annotation='{"b": "2"}')
    assert view.tags_of(found) == {"a": "1", "b": "2"}
    assert view.with_tags(found, {"c": "ö"}) == {
        "metadata": {"annotations": {view.TAGS_ANNOTATION: '{"b": "2", "c": "ö"}'}}
    }
    assert view.tags_of(job(annotation="torn {")) == {}


@pytest.mark.parametrize(
    ("wanted", "has"),
    [
        pytest.param(None, True, id="none"),
        pytest.param("b", True, id="a name"),
        pytest.param("c", False, id="another name"),
        pytest.param({"a": "1", "b": "2"}, True, id="both"),
        pytest.param({"a": "2"}, False, id="another value"),
    ],
)
def test_runs_are_found_by_their_tags(wanted, has):
    assert view.has_tags(job(tags={"a": "1"}, annotation='{"b": "2"}'), wanted) is has


def test_a_run_is_printed_as_azure_ml_prints_it():
    text = "Run(Experiment: digits,\nId: digits-3,\nType: trainyard.trainingjob,\nStatus: Queued)"
    assert view.text_of(job(phase="Queued")) == text


def test_nothing_of_a_run_becomes_markup():
    waiting = {"type": "Ready", "reason": "Queued", "message": "<script>alert('&')</script>"}
    html = view.html_of(job(phase="Queued", conditions=[waiting]))
    assert "<script>" not in html
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in html
    assert '<td style="text-align:left">digits-3</td>' in html


def test_details_say_why_a_run_failed():
    failure = {"reason": "UserError", "message": "exit code 1", "logTail": "ValueError: C\n"}
    details = view.details_of(job(phase="Failed", completionTime="2026", failure=failure))
    message = "UserError: exit code 1\nThe end of its log:\nValueError: C"
    assert details["error"] == {"error": {"code": "UserError", "message": message}}
    assert (details["status"], details["endTimeUtc"], details["runId"]) == ("Failed", "2026", "digits-3")
    assert "endTimeUtc" not in view.details_of(job(phase="Running"))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        pytest.param("model.pkl", "did you mean outputs/model.pkl?", id="without its folder"),
        pytest.param("outputs/modle.pkl", "did you mean outputs/model.pkl?", id="mistyped"),
        pytest.param("zzz", "it has: logs/train.log, outputs/model.pkl", id="nothing like it"),
    ],
)
def test_what_may_have_been_meant_is_said(path, said):
    assert view.near(path, ["logs/train.log", "outputs/model.pkl"]) == said


def test_nothing_at_all_is_said_too():
    assert view.near("x", []) == "it has: none"


def printed(jobs, *, log=(), stored=""):
    lines = []

    def opened(pod):
        assert pod == "pod-1"
        yield from log

    printer = Printer("digits-3", open_log=opened, stored_log=lambda: stored, write=lines.append)
    printer.begin()
    for one in jobs:
        printer.show(one)
    printer.end(jobs[-1])
    return lines


QUEUED = job(phase="Queued", conditions=[{"type": "Ready", "reason": "Q", "message": "1 run is before it"}])
DONE = job(phase="Completed", conditions=[{"type": "Ready", "reason": "C", "message": "all is saved"}])
SUMMARY = ["", "Execution Summary", "=================", "RunId: digits-3", "all is saved", ""]
HEAD = ["", "Streaming logs/train.log", "========================", ""]


def test_a_run_is_streamed_from_its_id_to_its_summary():
    running = job(phase="Running", podName="pod-1")
    found = printed([QUEUED, QUEUED, running, DONE], log=[b"one\n", b"two \xff\r\n"])
    assert found[:3] == ["RunId: digits-3", "", "Queued: 1 run is before it"]
    at = found.index("Streaming logs/train.log") - 1
    assert found[at:] == [*HEAD, "one", "two �", *SUMMARY]


def test_the_saved_log_is_printed_where_the_pod_could_not_be_asked():
    assert printed([DONE], stored="one\ntwo\n") == ["RunId: digits-3", "", *HEAD, "one", "two", *SUMMARY]


@pytest.mark.parametrize(
    ("local", "command"),
    [
        pytest.param(False, "kubectl --namespace team describe trainingjob digits-3", id="in a cluster"),
        pytest.param(True, "trainyard --local show digits-3", id="without one"),
    ],
)
def test_a_run_says_how_to_look_at_it(local, command):
    assert command in view.html_of(job(phase="Running"), local=local)
