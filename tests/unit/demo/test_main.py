"""The demo as a whole: its exit code says whether there is a model that can be used."""

from __future__ import annotations

import io

import pytest

import demo.__main__ as program
from demo.console import Console
from trainyard.remote.config import WorkspaceConfig
from trainyard.remote.workspace import Workspace

UID = "0b1f5a52-9d0e-4f0c-8a3b-6c1f4a9be001"


class Objects:
    """The objects of a namespace in which one run of the example goes as it is told to."""

    api = None

    def __init__(self, *, statuses, versions, pool):
        self.pool = pool
        self.statuses = statuses
        version = {"id": "sklearn_mnist:1", "state": versions}
        self.models = [{"spec": {"modelName": "sklearn_mnist"}, "status": {"versions": [version]}}]

    def names(self, _plural):
        return ["mnist"]

    def list(self, plural):
        return {"registeredmodels": self.models}[plural]

    def get(self, _plural, name):
        return run_of(name, self.statuses[-1])

    def watch(self, plural, name):
        if plural == "computeclusters":
            yield from ({"metadata": {"name": name}, "status": status} for status in self.pool)
            return
        for status in self.statuses:
            if status is KeyboardInterrupt:
                raise KeyboardInterrupt
            yield run_of(name, status)


def run_of(name, status):
    spec = {
        "experiment": "sklearn-mnist",
        "models": [{"name": "sklearn_mnist", "path": "outputs/sklearn_mnist_model.pkl"}],
    }
    return {"metadata": {"name": name, "uid": UID}, "spec": spec, "status": status}


class OneCluster:
    """A cluster with that namespace."""

    def __init__(self, *, statuses, versions="Ready", pool=()):
        self.workspace = Workspace.__new__(Workspace)
        self.workspace.objects = Objects(statuses=statuses, versions=versions, pool=pool)
        self.workspace._settings = WorkspaceConfig(workspace_name="team")
        self.applied = []

    def run_kubectl(self, *arguments):
        self.applied.append(arguments)
        return "trainingjob.trainyard.dev/mnist-2 created\n"


COMPLETED = {
    "phase": "Completed",
    "attempt": 2,
    "jobName": "mnist-2-0a1b2c3d-2",
    "metrics": {"accuracy": 0.9253, "regularization rate": 0.8},
    "models": [
        {"name": "sklearn_mnist", "path": "outputs/sklearn_mnist_model.pkl", "id": "sklearn_mnist:1", "version": 1}
    ],
}
FAILED = {"phase": "Failed", "failure": {"reason": "ScriptFailed", "message": "exit code 3", "logTail": "Oh no"}}


@pytest.fixture
def example(tmp_path, repository):
    """Give the example with little data."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-labels.gz").write_bytes(b"labels")
    name = "training-job.yaml"
    (tmp_path / name).write_bytes((repository / "examples" / "mnist" / name).read_bytes())
    return tmp_path


@pytest.fixture
def run(people, bucket, loop, example):
    """Return a function that runs the demo and returns its exit code and what it printed."""
    history = b'{"metric":"regularization rate","value":0.8}\n{"metric":"accuracy","value":0.9253}\n'
    for path, content in (
        ("metrics.jsonl", history),
        ("source.tar.gz", b"code"),
        ("logs/000001.txt", b"a line"),
        ("outputs/sklearn_mnist_model.pkl", b"a model"),
    ):
        loop(bucket.put(f"runs/team/{UID}/attempts/2/{path}", content))

    def call(cluster, *, pooled=False):
        output = io.StringIO()
        cluster.workspace.gateway = people
        code = program.run(cluster, folder=example, console=Console(stream=output), pooled=pooled)
        return code, output.getvalue()

    return call


def test_a_run_that_completed_is_shown_as_the_tutorial_shows_it(run, bucket, loop):
    cluster = OneCluster(statuses=[{"phase": "Running"}, COMPLETED])
    code, output = run(cluster)
    assert code == 0
    assert (
        "\n{'regularization rate': 0.8, 'accuracy': 0.9253}\n"
        "logs/000001.txt\n"
        "outputs/sklearn_mnist_model.pkl\n"
        "sklearn_mnist\tsklearn_mnist:1\t1\n"
    ) in output
    assert output.splitlines()[-1].startswith("upload ")
    assert loop(bucket.get("data/team/mnist/train-labels.gz", limit=100)) == b"labels"


def test_a_name_that_is_taken_is_not_used_again(run):
    cluster = OneCluster(statuses=[COMPLETED])
    _, output = run(cluster)
    assert [arguments[:2] for arguments in cluster.applied] == [("apply", "-k")]
    assert "trainingjob.trainyard.dev/mnist-2 created" in output


def test_a_pool_that_scales_is_waited_for_until_it_is_empty(run):
    managed = [{"type": "Managed", "status": "True"}]
    pool = [{"nodeStateCounts": {"idle": n}, "conditions": managed} for n in (1, 0)]
    code, output = run(OneCluster(statuses=[COMPLETED], pool=pool), pooled=True)
    assert code == 0
    assert "pool: 1 idle" in output
    assert "pool: no nodes" in output
    assert "the pool was empty again 0 s after that" in output


def test_a_pool_that_keeps_its_nodes_is_a_failure(run, monkeypatch):
    monkeypatch.setattr("demo.pool.GRACE_SECONDS", 0.01)
    pool = [{"nodeStateCounts": {"idle": 1}, "conditions": [{"type": "Managed", "status": "True"}]}]
    code, output = run(OneCluster(statuses=[COMPLETED], pool=pool), pooled=True)
    assert code == 1
    assert "Failed: the pool still has nodes" in output


def test_on_a_pool_the_example_is_the_one_with_a_pool(run):
    cluster = OneCluster(statuses=[COMPLETED])
    folders = []
    cluster.run_kubectl = lambda *arguments: folders.append(arguments) or ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "submit", lambda _c, *, folder, old, new: folders.append(folder.name) or "")
        run(cluster, pooled=True)
    assert folders == ["mnist-karpenter"]


def test_a_run_that_failed_is_explained(run):
    code, output = run(OneCluster(statuses=[FAILED]))
    assert code == 1
    assert "Failed: ScriptFailed: exit code 3\nThe end of its log:\n  | Oh no\n" in output


def test_a_model_that_is_not_ready_is_a_failure(run):
    code, output = run(OneCluster(statuses=[COMPLETED], versions="Pending"))
    assert code == 1
    assert "Failed: the model version sklearn_mnist:1 is Pending, not Ready" in output


def test_an_interrupt_ends_the_watching_and_says_how_to_go_on(run):
    code, output = run(OneCluster(statuses=[{"phase": "Running"}, KeyboardInterrupt]))
    assert code == 130
    assert "The run goes on. Look at it with: kubectl get trainingjob mnist-2 --watch" in output


def test_what_a_person_can_mend_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    assert program.main([]) == 1
    assert capsys.readouterr().err.startswith(f"demo: there is no kubeconfig {tmp_path / 'absent'}: ")
