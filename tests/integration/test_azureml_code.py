"""Azure ML's tutorial in the words of each year, with its import lines replaced, against the real operator and store."""

from __future__ import annotations

import asyncio
import json
import runpy
import threading
from contextlib import suppress

import pytest

from tests.integration.test_sdk import PROVIDER, SAVED, SYSTEM, allow
from tests.support import azureml
from trainyard.contract import ENVIRONMENT_MANIFEST_SCHEMA, canonical_json
from trainyard.remote.workspace import Workspace
from trainyard_operator.api.names import JOB, TRAINING_JOB
from trainyard_operator.domain.environment_build import environment_of
from trainyard_operator.storage import layout

SECONDS = 300.0
DATA = ("train-images", "train-labels", "test-images", "test-labels")
METRICS = {"regularization rate": 0.8, "accuracy": 0.9204}
LOG = "Streaming logs/train.log\n========================\n\nTrain a logistic regression model\n"
REGISTERED = "sklearn_mnist\tsklearn_mnist:1\t1"


@pytest.fixture
def sizes(monkeypatch):
    """What the chart has of the size that the tutorial asks for."""
    monkeypatch.setenv("TRAINYARD_SIZES", json.dumps({"STANDARD_D2_V2": {"cpu": "2", "memory": "7Gi"}}))


@pytest.fixture
def folder(lab, sizes, served, control_plane, tmp_path, monkeypatch):  # noqa: PLR0917
    """A folder with the programs, data and a config file, in a namespace whose models may be fetched."""
    azureml.bring(tmp_path)
    (tmp_path / "data").mkdir()
    for name in DATA:
        (tmp_path / f"data/{name}.gz").write_bytes(name.encode())
    config = {"workspace_name": lab.namespace, "resource_group": SYSTEM, "compute_provider": PROVIDER}
    (tmp_path / "config.json").write_text(json.dumps(config))
    rules = [{"apiGroups": ["trainyard.dev"], "resources": ["registeredmodels"], "verbs": ["get"]}]
    allow(control_plane, lab.namespace, user=None, rules=rules, name="reads-models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Player:
    """Plays all runs and all builds of environments of a namespace as they come."""

    def __init__(self, lab):
        self._lab, self._seen, self._tasks = lab, set(), set()

    async def play(self):
        while True:
            for kind, play in ((TRAINING_JOB, self._run), (JOB, self._build)):
                pages = self._lab._client.pages(kind, namespace=self._lab.namespace)
                for found in [item async for page in pages for item in page.items]:
                    if found["metadata"]["uid"] not in self._seen:
                        self._seen.add(found["metadata"]["uid"])
                        task = asyncio.create_task(play(found))
                        self._tasks.add(task)
            for task in [task for task in self._tasks if task.done()]:
                self._tasks.remove(task)
                task.result()
            await asyncio.sleep(0.1)

    async def _run(self, run):
        await self._lab.play(run["metadata"]["name"], metrics=METRICS, files=SAVED)

    async def _build(self, job):
        environment = environment_of(job)
        if environment is None:
            return
        digest = environment.hash
        manifest = {"schema": ENVIRONMENT_MANIFEST_SCHEMA, "hash": digest, "pack": None, "packages": []}
        key = layout.environment_prefix(self._lab.namespace, digest) + "manifest.json"
        await self._lab.objects.put(key, canonical_json(manifest))
        await self._lab.end_job(job["metadata"]["name"])


async def perform(program, lab, folder, capsys):
    """Run a program to its end while its runs are played, and return what it printed and its variables."""
    playing = asyncio.create_task(Player(lab).play())
    ending = asyncio.get_running_loop().create_future()

    def run():
        try:
            result, error = runpy.run_path(str(folder / program)), None
        except BaseException as caught:  # noqa: BLE001 - raised by the test
            result, error = None, caught
        ending.get_loop().call_soon_threadsafe(ending.set_result, (result, error))

    # A thread that nobody waits for: a program that hangs must not hold up the others.
    threading.Thread(target=run, daemon=True).start()
    done, _ = await asyncio.wait({playing, ending}, return_when=asyncio.FIRST_COMPLETED, timeout=SECONDS)
    playing.cancel()
    with suppress(asyncio.CancelledError):
        await playing
    said = capsys.readouterr().out
    assert ending in done, said
    variables, error = ending.result()
    if error is not None:
        raise error
    variables["ws"].close()
    return said, variables


async def test_september_2018(lab, folder, capsys, monkeypatch):
    for name, value in {"CLUSTER_MIN_NODES": "0", "CLUSTER_MAX_NODES": "2"}.items():
        monkeypatch.setenv(f"BATCHAI_{name}", value)
    said, variables = await perform("batch_ai_2018_09.py", lab, folder, capsys)
    assert "a new cluster is made: traincluster\n" in said
    assert "BatchAI wait for completion finished" in said
    assert "Minimum number of nodes requested have been provisioned" in said
    assert "'maxNodeCount': 2" in said
    assert "traincluster AmlCompute Succeeded\n" in said
    assert "S3 trainyard-system data/" in said
    assert "Uploaded 4 files\n" in said
    assert LOG in said
    assert "sklearn-mnist-1 Completed Completed\n" in said
    assert f"{METRICS}\n" in said
    assert "['logs/train.log', 'outputs/m.pkl', 'outputs/sklearn_mnist_model.pkl']\n" in said
    assert REGISTERED in said
    run = variables["run"].refresh()._job
    assert run["spec"]["arguments"] == ["--data-folder", "$(inputs.workspaceblobstore)"]
    assert run["spec"]["environment"] == {"conda": {"channels": ["conda-forge"], "packages": ["scikit-learn"]}}
    assert run["spec"]["inputs"] == [{"name": "workspaceblobstore", "datastore": {"path": ""}}]


async def test_december_2018(lab, folder, capsys, monkeypatch):
    monkeypatch.setenv("AML_COMPUTE_CLUSTER_MAX_NODES", "3")
    said, variables = await perform("aml_compute_2018_12.py", lab, folder, capsys)
    assert "AmlCompute wait for completion finished" in said
    assert LOG in said
    assert REGISTERED in said
    assert "model/sklearn_mnist_model.pkl\n['sklearn-mnist-1']\n" in said
    assert (
        (folder / "from_run.pkl").read_bytes() == (folder / "model/sklearn_mnist_model.pkl").read_bytes() == b"weights"
    )
    assert variables["run"].get_tags() == {"year": "2018", "seen": ""}
    assert variables["compute_target"].status.scale_settings["maxNodeCount"] == 3


async def test_2019(lab, folder, capsys):
    said, variables = await perform("sklearn_2019.py", lab, folder, capsys)
    assert said.splitlines()[1] == "True"
    assert "'nodeIdleTimeBeforeScaleDown': 'PT300S'" in said
    assert f"{REGISTERED}\t{{'area': 'digits'}}\t0.9204\n['sklearn_mnist:1']\n" in said
    spec = variables["run"]._job["spec"]
    assert spec["parameters"] == {"regularization": 0.5}
    assert [(one["datastore"]["path"]) for one in spec["inputs"]] == ["mnist"]
    assert "environment" not in spec


async def test_2020(lab, folder, capsys):
    said, variables = await perform("script_run_config_2020.py", lab, folder, capsys)
    spec = variables["run"]._job["spec"]
    assert spec["environment"] == {
        "pip": ["skops"],
        "conda": {"channels": ["conda-forge"], "packages": ["scikit-learn==1.9.1"]},
    }
    (given,) = spec["inputs"]
    assert spec["arguments"] == ["--data-folder", f"$(inputs.{given['name']})", "--regularization", "0.5"]
    assert f"Completed {spec['arguments']}\n" in said
    assert said.rstrip().endswith("trainyard-models/sklearn_mnist/1/sklearn_mnist_model.pkl")
    again = await asyncio.to_thread(Workspace.from_config)
    try:
        kept = await asyncio.to_thread(lambda: again.environments)
        assert {name: env.version for name, env in kept.items()} == {"tutorial-env": "1"}
        assert kept["tutorial-env"].to_spec() == spec["environment"]
    finally:
        again.close()
