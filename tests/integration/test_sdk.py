"""The SDK as people use it, against a real API server, the operator as a process and a real S3 server."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from tests.support.accounts import allow
from tests.support.lab import BODY
from trainyard.errors import (
    ComputeTargetException,
    ConfigError,
    Conflict,
    Forbidden,
    Invalid,
    ModelPathNotFound,
    NotFound,
    NotInstalled,
    Timeout,
    Unreachable,
)
from trainyard.remote.compute import AmlCompute, BatchAiCompute, ComputeTarget
from trainyard.remote.datastore import Datastore
from trainyard.remote.estimator import Estimator
from trainyard.remote.experiment import Experiment
from trainyard.remote.model import Model
from trainyard.remote.submitted import SubmittedRun
from trainyard.remote.workspace import Workspace
from trainyard_operator.api.names import REGISTERED_MODEL

SYSTEM = "trainyard-system"
PROVIDER = {"type": "Existing", "existing": {"nodeSelector": {"pool": "digits"}}}
HISTORY = b"".join(
    json.dumps(entry).encode() + b"\n"
    for entry in (
        {"metric": "regularization rate", "value": 0.8, "time": 1},
        {"metric": "accuracy", "value": 0.9204, "time": 2},
    )
)
SAVED = {
    "outputs/sklearn_mnist_model.pkl": b"weights",
    "logs/train.log": b"Train a logistic regression model\nPredict the test set\n",
    "metrics.jsonl": HISTORY,
}


# What docs/sdk.md asks for, without the right to forward ports, which needs a kubelet.
KINDS = {"apiGroups": ["trainyard.dev"], "resources": ["trainingjobs", "computeclusters", "registeredmodels"]}
OWN_RULES = [
    {**KINDS, "verbs": ["get", "list", "watch", "create", "patch", "delete"]},
    {
        "apiGroups": [""],
        "resources": ["serviceaccounts/token"],
        "resourceNames": ["trainyard-user"],
        "verbs": ["create"],
    },
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
]
SYSTEM_RULES = [
    {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["trainyard-gateway"], "verbs": ["get"]}
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with code and data, which is the current one."""
    source, data = tmp_path / "code", tmp_path / "data"
    for path, text in {
        source / "train.py": "print('hello')",
        source / "utils.py": "",
        source / "big.bin": "not code",
        source / ".amlignore": "*.bin\n",
        data / "train-images.gz": "images" * 1000,
        data / "below" / "labels.gz": "labels",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_from_a_config_file_to_a_model_that_was_fetched_and_deleted(  # noqa: PLR0917
    served, control_plane, lab, folder, versitygw, capsys
):
    config = {"workspace_name": lab.namespace, "subscription_id": None, "resource_group": SYSTEM}
    (folder / "config.json").write_text(json.dumps(config))
    workspace = await asyncio.to_thread(Workspace.from_config)
    try:
        run = await asyncio.to_thread(upload_and_submit, workspace, folder, capsys)
        await lab.play(run.id, metrics={"regularization rate": 0.8, "accuracy": 0.9204}, files=SAVED)
        await asyncio.to_thread(look, workspace, run, folder, capsys)
        model = await asyncio.to_thread(register, run)
        with pytest.raises(Forbidden, match="a Role there has to allow it the verb get"):
            await asyncio.to_thread(model.download, folder / "models")
        rules = [{"apiGroups": ["trainyard.dev"], "resources": ["registeredmodels"], "verbs": ["get"]}]
        allow(control_plane, lab.namespace, user=None, rules=rules, name="reads-models")
        await asyncio.to_thread(fetch, workspace, model, folder)
        await alias(lab, control_plane, workspace, {"champion": 1})
        assert (await asyncio.to_thread(Model, workspace, "sklearn_mnist", alias="champion")).version == 1
        with pytest.raises(Conflict, match="has the alias champion"):
            await asyncio.to_thread(model.delete)
        await alias(lab, control_plane, workspace, {"champion": None})
        await asyncio.to_thread(finish, workspace, model)
    finally:
        await asyncio.to_thread(workspace.close)
    kept = versitygw.client().list_objects_v2(Bucket="trainyard", Prefix=f"snapshots/{lab.namespace}/")
    assert kept["KeyCount"] == 1


def upload_and_submit(workspace, folder, capsys):
    assert capsys.readouterr().out == f"Found the config file in: {folder / 'config.json'}\n"
    assert (workspace.resource_group, workspace.subscription_id) == (SYSTEM, workspace._place.context)
    datastore = workspace.get_default_datastore()
    assert (datastore.datastore_type, datastore.container_name) == ("S3", f"data/{workspace.name}")
    reference = datastore.upload("data", "mnist")
    assert "Uploaded 2 files\n" in capsys.readouterr().out
    datastore.upload("data", "mnist")
    said = capsys.readouterr().out
    assert "Target already exists. Skipping upload for mnist/below/labels.gz" in said
    assert "Uploading an estimated of 0 files" in said
    assert datastore.download(folder / "back", "mnist", show_progress=False) == 2
    assert (folder / "back/mnist/below/labels.gz").read_text() == "labels"
    assert datastore.download(folder / "one", "mnist/train-images.gz", show_progress=False) == 1
    assert (folder / "one/mnist/train-images.gz").stat().st_size == 6000
    assert reference.path_on_datastore == "mnist"

    experiment = Experiment(workspace, "sklearn-mnist")
    with pytest.raises(ConfigError, match=r"there is no nothing\.py"):
        experiment.submit(Estimator("code", entry_script="nothing.py"))
    with pytest.raises(Invalid, match="cpu"):
        experiment.submit(Estimator("code", resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}))
    params = {"--data-folder": datastore.path("mnist", "data").as_mount(), "--regularization": 0.8}
    estimator = Estimator("code", entry_script="train.py", script_params=params)
    first = experiment.submit(estimator, tags={"who": "ann"})
    run = experiment.submit(estimator)
    assert (first.id, run.id, run.number) == ("sklearn-mnist-1", "sklearn-mnist-2", 2)
    first.cancel()
    first.tag("why", "the second one is meant")
    with pytest.raises(Timeout, match="it goes on"):
        run.wait_for_completion(timeout_seconds=1)
    return run


def look(workspace, run, folder, capsys):
    capsys.readouterr()
    details = run.wait_for_completion(show_output=True, timeout_seconds=60)
    said = capsys.readouterr().out
    assert details["status"] == "Completed"
    head = "Streaming logs/train.log\n========================\n\nTrain a logistic regression model\n"
    assert said.startswith("RunId: sklearn-mnist-2\n\n")
    assert head in said
    assert "\nExecution Summary\n=================\nRunId: sklearn-mnist-2\n" in said
    assert run.get_metrics() == {"regularization rate": 0.8, "accuracy": 0.9204}
    assert list(run.get_metrics()) == ["regularization rate", "accuracy"]
    assert run.get_file_names() == ["logs/train.log", "outputs/m.pkl", "outputs/sklearn_mnist_model.pkl"]
    assert run.get_logs().splitlines()[-1] == "Predict the test set"
    run.download_file("outputs/m.pkl")
    assert (folder / "outputs/m.pkl").read_bytes() == BODY
    run.download_files("outputs/", folder / "all")
    assert sorted(path.name for path in (folder / "all/outputs").iterdir()) == ["m.pkl", "sklearn_mnist_model.pkl"]
    with pytest.raises(NotFound, match=r"did you mean outputs/m\.pkl"):
        run.download_file("m.pkl")

    experiment = run.experiment
    assert [run.id for run in experiment.get_runs()] == ["sklearn-mnist-2", "sklearn-mnist-1"]
    (first,) = experiment.get_runs(tags={"who": "ann"})
    assert first.tags == {"who": "ann", "why": "the second one is meant"}
    assert first.wait_for_completion(raise_on_error=False, timeout_seconds=60)["status"] == "Canceled"
    assert list(workspace.experiments) == ["sklearn-mnist"]
    again = SubmittedRun(experiment, "sklearn-mnist-2")
    assert repr(again) == (
        "Run(Experiment: sklearn-mnist,\nId: sklearn-mnist-2,\nType: trainyard.trainingjob,\nStatus: Completed)"
    )


def register(run):
    with pytest.raises(ModelPathNotFound, match=r"Could not locate the provided model_path outputs/n\.pkl"):
        run.register_model("sklearn_mnist", "outputs/n.pkl")
    model = run.register_model("sklearn_mnist", "outputs/m.pkl", tags={"area": "digits"}, timeout_seconds=60)
    assert (model.name, model.id, model.version, model.run_id) == ("sklearn_mnist", "sklearn_mnist:1", 1, run.id)
    assert model.tags == {"area": "digits"}
    same = run.register_model("sklearn_mnist", "outputs/m.pkl", timeout_seconds=60)
    assert same.id == model.id
    return model


def fetch(workspace, model, folder):
    for left in range(20, -1, -1):
        try:
            path = model.download(folder / "models")
            break
        except Forbidden:
            # The gateway remembers a refusal for some seconds.
            assert left
            time.sleep(0.5)
    assert path == str(folder / "models/m.pkl")
    assert (folder / "models/m.pkl").read_bytes() == BODY
    with pytest.raises(Conflict, match="exist_ok=True"):
        model.download(folder / "models")
    assert [path.name for path in (folder / "models").iterdir()] == ["m.pkl"]
    assert workspace.models["sklearn_mnist"].id == "sklearn_mnist:1"
    assert [m.id for m in Model.list(workspace, "sklearn_mnist")] == ["sklearn_mnist:1"]
    with pytest.raises(NotFound, match="no version 7"):
        Model(workspace, "sklearn_mnist", version=7)
    with pytest.raises(NotFound, match="ModelNotFound"):
        Model(workspace, "nothing")


async def alias(lab, control_plane, workspace, wish):
    """Change the aliases of the one model, and wait for the operator."""
    (found,) = await asyncio.to_thread(workspace.objects.list, "registeredmodels")
    name, patch = found["metadata"]["name"], json.dumps({"spec": {"aliases": wish}})
    control_plane.kubectl("patch", "rmodel", name, f"-n={lab.namespace}", "--type=merge", "-p", patch)
    wanted = {key for key, number in wish.items() if number}
    await lab.until(REGISTERED_MODEL, name, lambda model: set(model["status"].get("aliases", {})) == wanted)


def finish(workspace, model):
    model.delete(timeout_seconds=60)
    assert model.state in {"Deleting", "Deleted"}
    assert Model.list(workspace) == []


async def test_a_model_of_this_machine_becomes_a_version(served, lab, folder, capsys):
    def walk():
        workspace = Workspace.get(lab.namespace)
        try:
            (folder / "Digits_Model.pkl").write_bytes(BODY)
            model = Model.register(
                workspace, "Digits_Model.pkl", "Digits_Model", tags={"by": "ann"}, timeout_seconds=60
            )
            assert capsys.readouterr().out == "Registering model Digits_Model\n"
            assert (model.id, model.tags, model.run_id) == ("Digits_Model:1", {"by": "ann"}, None)
            same = Model.register(workspace, folder / "Digits_Model.pkl", "Digits_Model", timeout_seconds=60)
            assert same.id == "Digits_Model:1"
            assert Model.register(workspace, "data", "Digits_Model", timeout_seconds=60).version == 2
            with pytest.raises(ConfigError, match="there is no file at nothing"):
                Model.register(workspace, "nothing", "Digits_Model")
            assert [m.version for m in Model.list(workspace, "Digits_Model")] == [2, 1]
        finally:
            workspace.close()

    await asyncio.to_thread(walk)


async def test_a_person_needs_these_rights_and_no_others(served, control_plane, lab, folder, monkeypatch):
    allow(control_plane, lab.namespace, user="ann", rules=OWN_RULES, name="ann")
    allow(control_plane, SYSTEM, user="ann", rules=SYSTEM_RULES, name="ann")
    workspace = await asyncio.to_thread(Workspace.get, lab.namespace)
    monkeypatch.setattr(workspace._api.client, "default_headers", {"Impersonate-User": "ann"})

    def begin():
        workspace._check()
        workspace.get_default_datastore().upload("data", "mnist", show_progress=False)
        return Experiment(workspace, "by-ann").submit(Estimator("code"), tags={"who": "ann"})

    def end(run):
        run.wait_for_completion(show_output=True, timeout_seconds=60)
        assert run.get_metrics() == {"regularization rate": 0.8, "accuracy": 0.9204}
        run.tag("seen")
        model = run.register_model("of-ann", "outputs/m.pkl", timeout_seconds=60)
        with pytest.raises(Forbidden, match="the service account trainyard-user"):
            model.download(folder / "models")
        target = ComputeTarget.create(workspace, "pool", AmlCompute.provisioning_configuration(provider=PROVIDER))
        target.wait_for_completion(timeout_in_minutes=2)
        target.delete()
        with pytest.raises(Forbidden, match='cannot list resource "secrets"'):
            workspace._api.request("GET", f"/api/v1/namespaces/{lab.namespace}/secrets")

    try:
        run = await asyncio.to_thread(begin)
        await lab.play(run.id, metrics={"regularization rate": 0.8, "accuracy": 0.9204}, files=SAVED)
        await asyncio.to_thread(end, run)
    finally:
        workspace.close()


async def test_a_compute_target_from_not_there_to_gone(served, control_plane, lab, capsys):
    workspace = await asyncio.to_thread(Workspace.get, lab.namespace)

    def walk():
        with pytest.raises(ComputeTargetException, match="ComputeTargetNotFound"):
            ComputeTarget(workspace=workspace, name="traincluster")
        bare = BatchAiCompute.provisioning_configuration(cluster_max_nodes="4")
        with pytest.raises(ConfigError, match="where do its machines come from"):
            ComputeTarget.create(workspace, "traincluster", bare)
        unknown = AmlCompute.provisioning_configuration(vm_size="no-such-size", provider=PROVIDER)
        target = ComputeTarget.create(workspace, "odd", unknown)
        with pytest.raises(ComputeTargetException, match=r"is Failed: spec\.vmSize is 'no-such-size'"):
            target.wait_for_completion(show_output=True, timeout_in_minutes=2)
        assert 'Terminal state of "Failed" has been reached\n' in capsys.readouterr().out
        target.delete()
        configured = AmlCompute.provisioning_configuration(max_nodes=4, provider=PROVIDER)
        target = ComputeTarget.create(workspace, "traincluster", configured)
        with pytest.raises(ComputeTargetException, match="already"):
            ComputeTarget.create(workspace, "traincluster", configured)
        target.wait_for_completion(show_output=True, timeout_in_minutes=2)
        said = capsys.readouterr().out
        assert said.startswith(("Creating", "Succeeded"))
        assert "AmlCompute wait for completion finished" in said
        assert target.get_status().serialize()["scaleSettings"] == {
            "minNodeCount": 0, "maxNodeCount": 4, "nodeIdleTimeBeforeScaleDown": "PT120S",
        }  # fmt: skip
        assert isinstance(workspace.compute_targets["traincluster"], AmlCompute)
        target.delete()
        target.wait_for_completion(is_delete_operation=True, timeout_in_minutes=2)
        assert workspace.compute_targets == {}

    try:
        await asyncio.to_thread(walk)
    finally:
        workspace.close()


async def test_what_is_not_there_or_not_allowed_is_said_in_a_sentence(control_plane, lab, tmp_path, monkeypatch):
    def walk():
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        with pytest.raises(ConfigError, match="there is no kubeconfig"):
            Workspace.get("team")
        (tmp_path / "broken").write_text("clusters: [")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "broken"))
        with pytest.raises(ConfigError, match="cannot be used"):
            Workspace.get("team")
        away = control_plane.kubeconfig.read_text().replace(control_plane.server, "https://127.0.0.1:9")
        (tmp_path / "away").write_text(away)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "away"))
        with pytest.raises(Unreachable, match="does not answer"):
            Workspace.get("team")
        monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
        with pytest.raises(NotFound, match="No workspaces found with name=nowhere"):
            Workspace.get("nowhere")
        with pytest.raises(ConfigError, match="has no context 'elsewhere'"):
            Workspace.get(lab.namespace, subscription_id="elsewhere")
        workspace = Workspace.get(lab.namespace, resource_group="nothing-here")
        with pytest.raises(NotInstalled, match="no ConfigMap trainyard-gateway in namespace nothing-here"):
            Datastore(workspace).upload_files([tmp_path / "away"])
        # Somebody whom the API server knows and nobody has given a right.
        monkeypatch.setattr(workspace._api.client, "default_headers", {"Impersonate-User": "stranger"})
        with pytest.raises(Forbidden, match=r"stranger.*cannot list resource.*Ask whoever runs the cluster"):
            workspace.objects.list("trainingjobs")

    await asyncio.to_thread(walk)
