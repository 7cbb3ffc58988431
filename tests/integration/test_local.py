"""The same with a cluster and without: one suite for both, and one run whose every trace is compared."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.accounts import make_accounts
from tests.support.kubelet import Kubelet
from trainyard.contract import ENV_CA, ENV_GATEWAY
from trainyard.errors import ConfigError, Conflict, Invalid, ModelPathNotFound, NotFound, RunFailed
from trainyard.local import run as run_here
from trainyard.remote.account import DEFAULT_ACCOUNT
from trainyard.remote.datastore import Datastore
from trainyard.remote.environment import Environment
from trainyard.remote.estimator import Estimator
from trainyard.remote.experiment import Experiment
from trainyard.remote.model import Model
from trainyard.remote.submitted import SubmittedRun
from trainyard.remote.workspace import Workspace
from trainyard_operator.api.names import TRAINING_JOB
from trainyard_operator.storage import layout

SYSTEM = "trainyard-system"
SCRIPT = """
import argparse, os, sys
from pathlib import Path
import words
from trainyard import Run

parser = argparse.ArgumentParser()
parser.add_argument("--data", type=Path)
parser.add_argument("--rate", type=float)
given = parser.parse_args()
run = Run.get_context()
print(words.GREETING, given.rate, sorted(path.name for path in given.data.iterdir()))
print("a warning", file=sys.stderr)
for step in range(3):
    run.log("loss", 1 / (step + 1))
run.log("rate", given.rate)
run.log_list("primes", [2, 3, 5])
run.set_tags({"area": "digits"})
Path("outputs", "below").mkdir(parents=True)
Path("outputs/model.pkl").write_bytes((given.data / "labels.gz").read_bytes() * 2)
Path("outputs/below/notes.txt").write_text(os.environ["TRAINYARD_EXPERIMENT"] + os.environ["TRAINYARD_ATTEMPT"])
print("done")
"""
FILES = {"train.py": SCRIPT, "words.py": "GREETING = 'Grüße'\n"}
NAMES = ["logs/prepare.log", "logs/train.log", "outputs/below/notes.txt", "outputs/model.pkl"]


@pytest.fixture
def runner_pyz(repository, tmp_path):
    """The runner as the trainer image has it."""
    target = tmp_path / "runner.pyz"
    subprocess.run([sys.executable, repository / "trainer-image" / "build_runner.py", target], check=True)
    return target


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Code and data; its `home` is where local runs are kept."""
    for name, text in {"code/train.py": SCRIPT, "code/words.py": FILES["words.py"], "data/labels.gz": "labels"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
async def cluster(control_plane, lab, operator, folder, runner_pyz, monkeypatch):  # noqa: PLR0917
    """A workspace of a real operator, and a node that carries out its runs."""
    address = f"--from-literal={ENV_GATEWAY}=https://to-be-known"
    control_plane.kubectl("create", "configmap", "trainyard-gateway", f"-n={SYSTEM}", address)
    make_accounts(control_plane, lab.namespace)
    rules = "--verb=get", "--resource=registeredmodels.trainyard.dev"
    control_plane.kubectl("create", "role", "reads-models", *rules, f"-n={lab.namespace}")
    account = f"--serviceaccount={lab.namespace}:{DEFAULT_ACCOUNT}"
    control_plane.kubectl(
        "create", "rolebinding", "reads-models", "--role=reads-models", account, f"-n={lab.namespace}"
    )
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    for name in (ENV_GATEWAY, ENV_CA):
        monkeypatch.delenv(name, raising=False)
    try:
        async with operator() as process:
            url = f"https://localhost:{process.gateway_port}"
            get = ("get", "configmap", "trainyard-gateway", f"-n={SYSTEM}", "-o=json")
            while ENV_CA not in json.loads(control_plane.kubectl(*get))["data"]:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.1)
            data = json.dumps({"data": {ENV_GATEWAY: url}})
            control_plane.kubectl("patch", "configmap", "trainyard-gateway", f"-n={SYSTEM}", "-p", data)
            node = Kubelet(lab, control_plane, folder=folder / "node", gateway=url, runner=runner_pyz)
            workspace = await asyncio.to_thread(Workspace.get, lab.namespace)
            try:
                yield workspace, node
            finally:
                await asyncio.to_thread(workspace.close)
    finally:
        control_plane.kubectl("delete", "configmap", "trainyard-gateway", f"-n={SYSTEM}")


async def test_the_suite_with_a_cluster(cluster, folder, capsys):
    workspace, node = cluster
    await asyncio.to_thread(bring_data, workspace, folder)
    run = await asyncio.to_thread(submit, workspace)
    await node.carry_out(run.id)
    await asyncio.to_thread(look, workspace, run, folder, capsys)
    failing = await asyncio.to_thread(submit, workspace, "code", {"--rate": "nothing"})
    await node.carry_out(failing.id)
    await asyncio.to_thread(look_at_failure, failing)
    await asyncio.to_thread(register, workspace, run, folder)


async def test_the_suite_without_a_cluster(folder, capsys):
    workspace = await asyncio.to_thread(Workspace.local)
    await asyncio.to_thread(bring_data, workspace, folder)
    run = await asyncio.to_thread(submit, workspace)
    await asyncio.to_thread(look, workspace, run, folder, capsys)
    failing = await asyncio.to_thread(submit, workspace, "code", {"--rate": "nothing"})
    await asyncio.to_thread(look_at_failure, failing)
    await asyncio.to_thread(register, workspace, run, folder)


def bring_data(workspace, folder):
    datastore = workspace.get_default_datastore()
    assert datastore.upload("data", "mnist", show_progress=False).path_on_datastore == "mnist"
    assert datastore.download(folder / "back", "mnist", overwrite=True, show_progress=False) == 1
    assert (folder / "back/mnist/labels.gz").read_text() == "labels"
    with pytest.raises(ConfigError, match=r"'\.\.'"):
        datastore.path("../other")
    kept = Environment("tables", pip_packages=["tabulate"]).register(workspace)
    assert (kept.version, Environment.get(workspace, "tables").to_spec()) == ("1", {"pip": ["tabulate"]})


def submit(workspace, code="code", params=None):
    experiment = Experiment(workspace, "sklearn-mnist")
    datastore = Datastore.get(workspace, "workspaceblobstore")
    with pytest.raises(ConfigError, match=r"there is no nothing\.py"):
        experiment.submit(Estimator(code, entry_script="nothing.py"))
    with pytest.raises(Invalid, match=r"spec\.models"):
        experiment.submit(Estimator(code, models=[{"name": "m", "path": "elsewhere/m.pkl"}]))
    params = params or {"--data": datastore.path("mnist", "data").as_mount(), "--rate": 0.8}
    models = [{"name": "best", "path": "outputs/model.pkl", "when": {"metric": "loss", "atMost": 0.1}}]
    return experiment.submit(Estimator(code, script_params=params, models=models), tags={"who": "ann"})


def look(workspace, run, folder, capsys):
    capsys.readouterr()
    details = run.wait_for_completion(show_output=True, timeout_seconds=300)
    said = capsys.readouterr().out
    assert (run.id, run.number, run.type, details["status"]) == (
        "sklearn-mnist-1",
        1,
        "trainyard.trainingjob",
        "Completed",
    )
    assert said.startswith("RunId: sklearn-mnist-1\n\n")
    assert "Streaming logs/train.log\n========================\n\nGrüße 0.8 ['labels.gz']\n" in said
    assert "\nExecution Summary\n=================\nRunId: sklearn-mnist-1\n" in said
    assert run.get_metrics() == {"loss": [1.0, 0.5, 1 / 3], "rate": 0.8, "primes": [2, 3, 5]}
    assert run.get_metrics("rate") == {"rate": 0.8}
    assert run.get_file_names() == NAMES
    assert set(run.get_logs().splitlines()) == {"Grüße 0.8 ['labels.gz']", "a warning", "done"}
    assert run.get_tags() == {"who": "ann", "area": "digits"}
    run.tag("why")
    assert run.get_tags()["why"] == ""
    run.add_properties({"reviewed": "yes"})
    assert run.get_properties()["reviewed"] == "yes"
    assert "done" in run.get_details_with_logs()["logFiles"]["logs/train.log"]
    run.download_file("outputs/model.pkl", folder / "got.pkl")
    assert (folder / "got.pkl").read_text() == "labelslabels"
    assert len(run.download_files("outputs/", folder / "all")) == 2
    with pytest.raises(NotFound, match=r"did you mean outputs/model\.pkl"):
        run.download_file("model.pkl")
    experiment = run.experiment
    assert [r.id for r in experiment.get_runs(tags={"who": "ann"})] == [run.id]
    assert list(workspace.experiments) == ["sklearn-mnist"]
    assert repr(SubmittedRun(experiment, run.id)) == repr(run)
    with pytest.raises(NotFound, match="trainingjobs"):
        SubmittedRun(experiment, "sklearn-mnist-9")


def look_at_failure(run):
    with pytest.raises(RunFailed, match=r"is Failed\. ScriptFailed: train\.py ended with exit code 2") as failed:
        run.wait_for_completion(timeout_seconds=300)
    assert "argument --rate: invalid float value: 'nothing'" in str(failed.value)
    assert run.get_file_names() == ["logs/prepare.log", "logs/train.log"]


def register(workspace, run, folder):
    assert workspace.models == {}
    with pytest.raises(ModelPathNotFound, match=r"model_path outputs/n\.pkl"):
        run.register_model("sklearn_mnist", "outputs/n.pkl")
    model = run.register_model("sklearn_mnist", "outputs/model.pkl", tags={"by": "ann"}, timeout_seconds=300)
    assert (model.id, model.version, model.run_id, model.tags) == ("sklearn_mnist:1", 1, run.id, {"by": "ann"})
    assert run.register_model("sklearn_mnist", "outputs/model.pkl", timeout_seconds=300).id == model.id
    assert run.register_model("sklearn_mnist", "outputs/below", timeout_seconds=300).id == "sklearn_mnist:2"
    assert model.download(folder / "models") == str(folder / "models/model.pkl")
    assert (folder / "models/model.pkl").read_text() == "labelslabels"
    with pytest.raises(Conflict, match="exist_ok=True"):
        model.download(folder / "models")
    model.add_tag("seen", "yes")
    assert Model(workspace, "sklearn_mnist", version=1).tags == {"by": "ann", "seen": "yes"}
    path = Model.get_model_path("sklearn_mnist", version=2, _workspace=workspace)
    assert Path(path, "notes.txt").read_text() == "sklearn-mnist1"
    imported = Model.register(workspace, "got.pkl", "sklearn_mnist", timeout_seconds=300)
    assert (
        Model.register(workspace, "got.pkl", "sklearn_mnist", timeout_seconds=300).id
        == imported.id
        == "sklearn_mnist:3"
    )
    assert {m.id for m in Model.list(workspace)} == {"sklearn_mnist:1", "sklearn_mnist:2", "sklearn_mnist:3"}
    change = {"spec": {"aliases": {"champion": 2}}}
    (found,) = workspace.objects.list("registeredmodels")
    workspace.objects.patch("registeredmodels", found["metadata"]["name"], change)
    for seen in workspace.objects.watch("registeredmodels", found["metadata"]["name"], timeout=300):
        if "champion" in seen["status"].get("aliases", {}):
            break
    assert Model(workspace, "sklearn_mnist", alias="champion").version == 2
    with pytest.raises(Conflict, match="has the alias champion"):
        Model(workspace, "sklearn_mnist", version=2).delete()
    model.delete(timeout_seconds=300)
    assert model.state in {"Deleting", "Deleted"}
    assert workspace.models["sklearn_mnist"].id == "sklearn_mnist:3"
    with pytest.raises(NotFound, match="no version 7"):
        Model(workspace, "sklearn_mnist", version=7)


async def test_a_run_leaves_the_same_with_a_cluster_and_without(cluster, lab, folder):
    workspace, node = cluster
    await asyncio.to_thread(bring_data, workspace, folder)
    spec = {
        "experiment": "digits",
        "source": {"inline": FILES},
        "parameters": {"rate": 0.8},
        "arguments": ["--data", "$(inputs.data)"],
        "inputs": [{"name": "data", "datastore": {"path": "mnist"}}],
        "models": [{"name": "sklearn_mnist", "path": "outputs/model.pkl", "tags": {"by": "ann"}}],
    }
    metadata = {"name": "same", "namespace": lab.namespace}
    document = {"apiVersion": TRAINING_JOB.api_version, "kind": "TrainingJob", "metadata": metadata, "spec": spec}
    await lab._client.create(TRAINING_JOB, document)
    there = await node.carry_out("same")
    home = Workspace.local(name=lab.namespace)
    await asyncio.to_thread(bring_data, home, folder)
    done = await asyncio.to_thread(run_here, document, write=lambda _: None)
    here = home.objects.get("trainingjobs", "same")

    prefix = layout.attempt_prefix(lab.namespace, there["metadata"]["uid"], 1)
    page = await lab.objects.list(prefix)
    saved = {info.key.removeprefix(prefix): await lab.objects.get(info.key, limit=1 << 20) for info in page.objects}
    kept = {
        path.relative_to(done.folder).as_posix(): path.read_bytes() for path in done.folder.rglob("*") if path.is_file()
    }
    assert sorted(saved) == sorted(kept)
    for name in ("outputs/model.pkl", "outputs/below/notes.txt"):
        assert saved[name] == kept[name]
    assert lines(saved["logs/train.log"]) == lines(kept["logs/train.log"])
    assert history(saved["metrics.jsonl"]) == history(kept["metrics.jsonl"])
    assert told(json.loads(saved["manifest.json"])) == told(json.loads(kept["manifest.json"]))
    assert ending(there) == ending(here)

    key = layout.model_manifest_key(lab.namespace, "sklearn_mnist", 1)
    sealed = json.loads(await lab.objects.get(key, limit=1 << 20))
    assert of_model(sealed) == of_model(json.loads((folder / "home" / key).read_bytes()))


def lines(log):
    """Return a log's lines: which of two streams comes first is for the script's own buffers to say."""
    return sorted(log.decode().splitlines())


def history(content):
    """Return what was logged, without when."""
    entries = [json.loads(line) for line in content.splitlines()]
    return [{name: value for name, value in entry.items() if name != "time"} for entry in entries]


def told(manifest):
    """Return a manifest without ids, times, what ran the script, and the bucket's name."""
    (data,) = manifest["inputs"]
    run = {name: manifest["run"][name] for name in ("name", "namespace", "experiment")}
    other = ("run", "inputs", "startTime", "endTime", "imageDigest", "image")
    rest = {name: value for name, value in manifest.items() if name not in other}
    return {**rest, "run": run, "inputs": {**data, "uri": data["uri"].split("/data/")[1]}}


def ending(run):
    """Return what the status of a run says at its end."""
    status = run["status"]
    names = ("phase", "metrics", "metricSummary", "tags", "source", "attempt")
    conditions = [{name: c[name] for name in ("type", "status", "reason", "message")} for c in status["conditions"]]
    models = [{name: model[name] for name in ("name", "path", "version", "id")} for model in status["models"]]
    outputs = {name: status["outputs"][name] for name in ("files", "bytes")}
    return {**{name: status[name] for name in names}, "conditions": conditions, "models": models, "outputs": outputs}


def of_model(manifest):
    """Return a model's manifest without ids, times and digests of what has those."""
    other = ("run", "key", "createdTime", "imageDigest", "image", "inputs")
    return {name: value for name, value in manifest.items() if name not in other}


async def test_a_clusters_run_stays_here_with_the_clusters_data(cluster, folder, capsys):
    workspace, _ = cluster

    def walk():
        workspace.get_default_datastore().upload("data", "mnist", show_progress=False)
        reference = workspace.get_default_datastore().path("mnist", "data").as_mount()
        params = {"--data": reference, "--rate": 0.5}
        experiment = Experiment(workspace, "digits")
        run = experiment.submit(Estimator("code", compute_target="local", script_params=params))
        assert run.wait_for_completion(timeout_seconds=300)["status"] == "Completed"
        assert (run.experiment.workspace.is_local, run.experiment.workspace.name) == (True, workspace.name)
        assert list(experiment.get_runs()) == []
        brought = folder / "home" / "data" / workspace.name / "mnist" / "labels.gz"
        before = brought.stat().st_mtime_ns
        (folder / "data/more.gz").write_text("more")
        workspace.get_default_datastore().upload("data", "mnist", show_progress=False)
        second = experiment.submit(Estimator("code", compute_target="local", script_params=params))
        second.wait_for_completion(timeout_seconds=300)
        assert "['labels.gz', 'more.gz']" in second.get_logs()
        assert brought.stat().st_mtime_ns == before

    await asyncio.to_thread(walk)
