"""Whatever a person gets wrong, the run ends with a reason, a sentence and one Event, and nothing else suffers."""

from __future__ import annotations

import json

import pytest

from tests.e2e import scripts
from tests.e2e.yard import Yard, conditions, ready, training_job

pytestmark = pytest.mark.e2e

CASES = [
    pytest.param(training_job(scripts.EXIT_3), "ScriptFailed", ["exit code 3"], id="exit code 3"),
    pytest.param(training_job(scripts.SYNTAX_ERROR), "ScriptFailed", ["exit code 1"], id="a syntax error"),
    pytest.param(
        training_job(scripts.HUNGRY, resources={"requests": {"cpu": "50m"}, "limits": {"memory": "64Mi"}}),
        "OutOfMemory",
        ["64", "spec.resources.limits.memory"],
        id="more memory than its limit",
    ),
    pytest.param(
        training_job(scripts.FINE, inputs=[{"name": "data", "datastore": {"path": "no/such/folder"}}]),
        "InputNotFound",
        ["no/such/folder", "spec.inputs[0].datastore.path"],
        id="an input that does not exist",
    ),
    pytest.param(
        training_job(scripts.FINE, models=[{"name": "m", "path": "outputs/other.bin"}]),
        "ModelPathNotFound",
        ["outputs/other.bin", "outputs/model.bin"],
        id="a model path that does not exist",
    ),
    pytest.param(
        training_job(scripts.NO_OUTPUTS, models=[{"name": "m", "path": "outputs/model.bin"}]),
        "ModelPathNotFound",
        ["saved nothing"],
        id="a model of a run without outputs",
    ),
]


@pytest.fixture(scope="module")
def ended(yard: Yard):
    """Start the runs of all cases at once: they are independent, and mostly wait."""
    names = [yard.apply(case.values[0]) for case in CASES]
    return {name: yard.wait_for_end(name) for name in names}


@pytest.mark.parametrize(("job", "reason", "words"), CASES)
def test_a_run_that_cannot_succeed_fails_once_and_says_why(yard: Yard, ended, job, reason, words):
    name = job["metadata"]["name"]
    failure = ended[name]["status"]["failure"]
    assert failure["reason"] == reason, failure
    assert all(word in failure["message"] for word in words), failure
    assert conditions(ended[name])["Failed"] == "True"
    assert len(yard.items("jobs", "-l", f"trainyard.dev/training-job={name}")) == 1
    assert len(yard.items("pods", "-l", f"trainyard.dev/training-job={name}")) == 1
    warnings = [event for event in yard.wait_for_events(name, reason) if event["type"] == "Warning"]
    assert [event["reason"] for event in warnings] == [reason]
    assert warnings[0].get("count", 1) == 1


def test_a_failing_script_shows_its_last_lines(ended):
    name = CASES[0].values[0]["metadata"]["name"]
    assert "I give up" in ended[name]["status"]["failure"]["logTail"]
    assert ended[name]["status"]["failure"]["exitCode"] == 3


@pytest.mark.parametrize(
    ("job", "words"),
    [
        pytest.param(training_job("", entryScript="../x.py", source={"inline": {"../x.py": ""}}), ["entryScript"], id="an entry script outside"),
        pytest.param(training_job("", entryScript="/train.py"), ["entryScript"], id="an absolute entry script"),
        pytest.param(training_job("", entryScript="other.py"), ["entryScript"], id="an entry script not in the source"),
        pytest.param(training_job(""  , inputs=[{"name": "d", "datastore": {"path": "../other-namespace/"}}]), ["inputs"], id="an input of a neighbour"),
        pytest.param(training_job("", models=[{"name": "m", "path": "/etc/passwd"}]), ["models"], id="a model path outside"),
        pytest.param(training_job("", models=[{"name": "m", "path": "outputs/../x"}]), ["models"], id="a climbing model path"),
        pytest.param(training_job("", name="n" * 60), ["52"], id="a long name"),
        pytest.param(training_job(None, source={}), ["exactly one"], id="no source"),
    ],
)  # fmt: skip
def test_what_the_schema_can_see_is_refused_before_it_costs_anything(yard: Yard, job, words):
    said = yard.refuse(job)
    assert all(word in said for word in words), said


def test_a_run_waits_for_its_config_map_and_starts_when_it_appears(yard: Yard):
    job = training_job(None, source={"configMapRef": {"name": "late-code"}}, entryScript="main.py")
    yard.kubectl("delete", "configmap", "late-code", "--ignore-not-found")
    name = yard.apply(job)
    waiting = yard.wait_for_reason(name, "SourceNotFound")
    assert waiting["status"]["phase"] == "Pending"
    assert "late-code" in ready(waiting)["message"]
    yard.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "late-code", "namespace": "default"},
            "data": {"main.py": scripts.FINE},
        }
    )
    assert yard.wait_for_end(name)["status"]["phase"] == "Completed"


def test_an_entry_script_that_the_config_map_lacks_fails_the_run_and_lists_the_files(yard: Yard):
    code = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "other-code", "namespace": "default"},
        "data": {"main.py": scripts.FINE},
    }
    yard.apply(code)
    name = yard.apply(training_job(None, source={"configMapRef": {"name": "other-code"}}))
    failure = yard.wait_for_end(name)["status"]["failure"]
    assert failure["reason"] == "SourceInvalid"
    assert "main.py" in failure["message"]


def test_a_run_without_its_cluster_waits_for_it(yard: Yard):
    yard.kubectl("delete", "computecluster", "late-cluster", "--ignore-not-found")
    name = yard.apply(training_job(scripts.FINE, computeClusterRef={"name": "late-cluster"}))
    waiting = yard.wait_for_reason(name, "ClusterNotFound")
    assert "late-cluster" in ready(waiting)["message"]
    yard.apply(
        {
            "apiVersion": "trainyard.dev/v1alpha1",
            "kind": "ComputeCluster",
            "metadata": {"name": "late-cluster", "namespace": "default"},
            "spec": {"provider": {"type": "Existing", "existing": {"nodeSelector": {"kubernetes.io/os": "linux"}}}},
        }
    )
    assert yard.wait_for_end(name)["status"]["phase"] == "Completed"
    cluster = ("computecluster", "late-cluster")
    yard.wait("its node to be counted", lambda: yard.get(*cluster)["status"].get("currentNodeCount") == 1)


def test_an_image_that_cannot_be_pulled_is_said_once_and_nothing_is_repeated(yard: Yard):
    name = yard.apply(training_job(scripts.FINE, environment={"image": "localhost/no-such-image:1"}))
    waiting = yard.wait_for_reason(name, "ImagePullFailed")
    assert "localhost/no-such-image:1" in ready(waiting)["message"]
    before = yard.run(name)["metadata"]["resourceVersion"]

    def kubelet_tried_again() -> bool:
        (pod,) = yard.items("pods", "-l", f"trainyard.dev/training-job={name}")
        pulls = [e for e in yard.events(pod["metadata"]["name"]) if e["reason"] in {"Failed", "BackOff"}]
        return sum(event.get("count", 1) for event in pulls) >= 5

    yard.wait("the kubelet to try again", kubelet_tried_again)
    assert yard.run(name)["metadata"]["resourceVersion"] == before
    told = yard.wait_for_events(name, "ImagePullFailed")
    assert [e["reason"] for e in told if e["type"] == "Warning"] == ["ImagePullFailed"]
    yard.kubectl("delete", "tj", name)


@pytest.mark.parametrize(
    "value", ["plain", "it's", 'say "hi"', "two\nlines", "$(HOME)", "$HOME; ls", "`id`", "a b", "ünï"]
)
def test_parameter_values_reach_the_script_unchanged(yard: Yard, value, arguments):
    assert arguments[value] == value


@pytest.fixture(scope="module")
def arguments(yard: Yard, files):
    """Return what one script got for each odd value: one run tells for all."""
    values = ["plain", "it's", 'say "hi"', "two\nlines", "$(HOME)", "$HOME; ls", "`id`", "a b", "ünï"]
    job = training_job(scripts.ARGUMENTS, parameters={f"p{i}": value for i, value in enumerate(values)})
    run = yard.wait_for_end(yard.apply(job))
    assert run["status"]["phase"] == "Completed"
    argv = json.loads(files.read(run, "outputs/argv.json"))
    assert argv[::2] == [f"--p{i}" for i in range(len(values))]
    return dict(zip(values, argv[1::2], strict=True))
