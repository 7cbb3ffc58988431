"""What is left of Azure ML's names, each against a real API server, the operator as a process and a real S3 server."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.integration.test_sdk import HISTORY, SYSTEM, allow
from tests.support.lab import BODY
from trainyard.core import Run
from trainyard.errors import ConfigError, Conflict, Forbidden, NotFound
from trainyard.remote.environment import Environment
from trainyard.remote.estimator import Estimator
from trainyard.remote.experiment import Experiment
from trainyard.remote.model import Model
from trainyard.remote.workspace import Workspace

PROPERTIES = json.dumps({"properties": {"by": "the script"}, "time": 3}).encode() + b"\n"
FILES = {
    "logs/train.log": b"Predict the test set\n",
    "logs/prepare.log": b"ready\n",
    "outputs/deep/weights.bin": b"weights",
    "metrics.jsonl": HISTORY + PROPERTIES,
}


@pytest.fixture
async def workspace(served, lab):
    """The workspace of the lab's namespace."""
    found = await asyncio.to_thread(Workspace.get, lab.namespace)
    yield found
    found.close()


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A folder with a script, below the current one."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/train.py").write_text("print('hello')")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def submit(workspace, experiment="digits", **given):
    return Experiment(workspace, experiment).submit(Estimator("code"), **given)


async def test_runs_are_found_by_tags_properties_and_status(workspace, lab, code):
    def begin():
        first = submit(workspace, tags={"who": "ann"})
        second = submit(workspace)
        submit(workspace, "others", tags={"who": "ann"})
        first.cancel()
        first.wait_for_completion(raise_on_error=False, timeout_seconds=60)
        second.add_properties({"team": "a"})
        with pytest.raises(Conflict, match="property 'team' is 'a' already"):
            second.add_properties({"team": "b"})
        return first, second

    def look(first, second):
        runs = Experiment(workspace, "digits").get_runs
        assert [run.id for run in runs()] == ["digits-2", "digits-1"]
        assert [run.id for run in runs("azureml.scriptrun", "who")] == ["digits-1"]
        assert [run.id for run in runs(tags={"who": "bob"})] == []
        assert [run.id for run in runs(properties={"team": "a"})] == ["digits-2"]
        assert [run.id for run in runs(properties={"uid": first.uid}, status="Canceled")] == ["digits-1"]
        assert [run.id for run in runs(type="hyperdrive")] == []
        assert second.get_properties()["by"] == "the script"
        assert second.get_properties()["team"] == "a"
        assert list(second.get_children(recursive=True)) == []
        for run in (Run.get(workspace, "digits-2"), Run(second.experiment, "digits-2")):
            assert (run.uid, run.experiment.name, isinstance(run, Run)) == (second.uid, "digits", True)

    first, second = await asyncio.to_thread(begin)
    await lab.play(second.id, files=FILES)
    await asyncio.to_thread(look, first, second)


async def test_files_and_logs_of_a_run_come_where_they_are_wanted(workspace, lab, code):
    def look(run):
        names = ["logs/prepare.log", "logs/train.log", "outputs/deep/weights.bin", "outputs/m.pkl"]
        assert run.get_file_names() == names
        assert run.download_files("outputs/", "a", append_prefix=False) == ["a/deep/weights.bin", "a/m.pkl"]
        assert run.download_files("outputs/m", output_directory="b", output_paths=["model.pkl"]) == ["b/model.pkl"]
        assert (code / "b/model.pkl").read_bytes() == BODY
        with pytest.raises(ConfigError, match="output_paths has 1 paths, and 2 files begin with 'outputs/'"):
            run.download_files("outputs/", output_paths=["one"])
        assert run.get_all_logs("c") == ["c/logs/prepare.log", "c/logs/train.log"]
        details = run.get_details_with_logs()
        assert details["logFiles"] == {"logs/prepare.log": "ready\n", "logs/train.log": "Predict the test set\n"}
        assert details.status == "Completed"
        assert run.get_detailed_status()["status"] == "Completed"
        with pytest.raises(Forbidden, match=r"outputs/x\.pkl: what a run has is what its script left"):
            run.upload_file("outputs/x.pkl", "b/model.pkl")

    run = await asyncio.to_thread(submit, workspace)
    await lab.play(run.id, files=FILES)
    await asyncio.to_thread(look, run)


async def test_versions_of_models_have_properties_and_tags_that_may_change(workspace, control_plane, lab, code):
    rules = [{"apiGroups": ["trainyard.dev"], "resources": ["registeredmodels"], "verbs": ["get"]}]
    allow(control_plane, lab.namespace, user=None, rules=rules, name="reads-models")

    def look(run):
        given = {"tags": {"area": "digits"}, "properties": {"data": "mnist"}, "description": "the first"}
        first = run.register_model("sklearn_mnist", "outputs/m.pkl", timeout_seconds=60, **given)
        assert (first.tags, first.properties["data"], first.description) == ({"area": "digits"}, "mnist", "the first")
        (code / "other.pkl").write_bytes(b"other")
        second = Model.register(workspace, "other.pkl", "sklearn_mnist", properties={"data": "own"}, timeout_seconds=60)
        first.add_tags({"area": "post", "seen": None})
        second.add_tag("by", "ann")
        assert Model(workspace, "sklearn_mnist", version=1).tags == {"area": "post", "seen": ""}
        assert [m.id for m in Model.list(workspace, tags=["by"])] == ["sklearn_mnist:2"]
        assert [m.id for m in Model.list(workspace, run_id=run.id)] == ["sklearn_mnist:1"]
        assert Model(workspace, "sklearn_mnist", properties=[["data", "mnist"]]).version == 1
        with pytest.raises(Conflict, match="registered with the tag area"):
            first.remove_tags(["area"])
        first.update(tags={})
        assert Model(workspace, id="sklearn_mnist:1").tags == {"area": "digits"}
        for _ in range(2):
            path = Model.get_model_path("sklearn_mnist", version=1, _workspace=workspace)
            assert path == "trainyard-models/sklearn_mnist/1/m.pkl"
            assert (code / path).read_bytes() == BODY
        assert Model.get_model_path("sklearn_mnist") == path
        with pytest.raises(NotFound, match="Model not found in cache or in root at"):
            Model.get_model_path("sklearn_mnist", version=2)

    run = await asyncio.to_thread(submit, workspace)
    await lab.play(run.id, files=FILES)
    await asyncio.to_thread(look, run)


async def test_workspaces_are_made_listed_and_refused(served, control_plane, lab, monkeypatch, capsys):
    def walk():
        name = f"{lab.namespace}-new"
        made = Workspace.create(name, location="westeurope", exist_ok=False)
        assert capsys.readouterr().out == f"The workspace {name} is the namespace {name} of {made.location}\n"
        assert made.gateway.files(area="data", prefix="") == []
        made.close()
        binding = control_plane.kubectl("get", "rolebinding", "trainyard-model-reader", "-n", name, "-o=json")
        assert json.loads(binding)["subjects"] == [
            {"kind": "ServiceAccount", "name": "trainyard-user", "namespace": name}
        ]
        with pytest.raises(Conflict, match="exist_ok=True"):
            Workspace.create(name)
        assert Workspace.create(name, exist_ok=True, show_output=False).name == name
        with pytest.raises(ConfigError, match="key_vault: a workspace has no such thing"):
            Workspace.create(name, key_vault="x")
        listed = Workspace.list()
        assert [ws.name for ws in listed[name]] == [name]
        assert not {SYSTEM, "kube-system"} & listed.keys()
        assert made.compute_targets() == {}
        assert list(made.datastores) == ["workspaceblobstore"]

        # Somebody who has a Role in that namespace, and none for namespaces.
        rules = [{"apiGroups": ["trainyard.dev"], "resources": ["trainingjobs"], "verbs": ["list"]}]
        allow(control_plane, name, user="ann", rules=rules, name="ann")
        monkeypatch.setattr("trainyard.remote.workspace.connect", as_ann)
        assert Workspace.create(name, exist_ok=True, show_output=False).name == name
        with pytest.raises(Forbidden, match=r"ask whoever runs the cluster for `kubectl create namespace elsewhere`"):
            Workspace.create("elsewhere", exist_ok=True)
        with pytest.raises(Forbidden, match=r"name yours with Workspace\.get\(name=…\)"):
            Workspace.list()

    def as_ann(**given):
        from trainyard.remote.api import connect

        api, place = connect(**given)
        api.client.set_default_header("Impersonate-User", "ann")
        return api, place

    await asyncio.to_thread(walk)


async def test_environments_are_kept_for_others_by_version(workspace):
    def walk():
        with pytest.raises(NotFound, match="no environment tutorial in the workspace, it has: none"):
            Environment.get(workspace, "tutorial")
        first = Environment("tutorial", pip_packages=["pandas==2.3.3"], environment_variables={"A": 1})
        assert first.register(workspace).version == "1"
        assert Environment("tutorial", pip_packages=["pandas==2.3.3"], environment_variables={"A": "1"}).register(
            workspace
        ).version == "1"  # fmt: skip
        second = Environment("tutorial", conda_packages=["pandas"], image="registry/image:1")
        assert second.register(workspace).version == "2"
        assert Environment.get(workspace, "tutorial").to_spec() == second.to_spec()
        assert Environment.get(workspace, "tutorial", version=1).to_spec() == first.to_spec()
        with pytest.raises(NotFound, match="no version 3, it has: 1, 2"):
            Environment.get(workspace, "tutorial", version="3")
        assert [(name, env.version) for name, env in workspace.environments.items()] == [("tutorial", "2")]
        with pytest.raises(ConfigError, match="environment's name is 'a/b'"):
            Environment("a/b").register(workspace)

    await asyncio.to_thread(walk)
