"""Operator and object store go away in the middle of runs; nothing is lost and nothing is done twice."""

from __future__ import annotations

import time

import pytest

from tests.e2e import scripts
from tests.e2e.bucket import folder, open_bucket
from tests.e2e.yard import Yard, kill_operator, training_job, unique

pytestmark = pytest.mark.e2e


def check(yard: Yard, files, name: str, model: str) -> None:
    """Assert that a run completed, with one Job, one pod and one version that is whole."""
    run = yard.wait_for_end(name)
    assert run["status"]["phase"] == "Completed", run["status"]
    assert len(yard.items("jobs", "-l", f"trainyard.dev/training-job={name}")) == 1
    assert len(yard.items("pods", "-l", f"trainyard.dev/training-job={name}")) == 1
    (registered,) = [m for m in yard.items("registeredmodels") if m["spec"]["modelName"] == model]
    mine = [v for v in registered["status"]["versions"] if v["run"]["name"] == name]
    assert [v["state"] for v in mine] == ["Ready"]
    assert mine[0]["id"] == run["status"]["models"][0]["id"]
    number = mine[0]["version"]
    assert files.keys(f"models/default/{model}/{number}/") == [f"models/default/{model}/{number}/model.bin"]
    assert run["status"]["metrics"] == {"early": 1, "accuracy": 0.5}


def test_an_operator_killed_again_and_again_finishes_every_run_once(yard: Yard, files):
    """Runs of different lengths are at different moments of their lives at each of the kills."""
    model_name = unique("killed")
    wish = [{"name": model_name, "path": "outputs/model.bin"}]
    names = []
    for seconds in (0, 2, 5, 9, 14, 20):
        names.append(yard.apply(training_job(scripts.sleeping(seconds), models=wish)))
        if seconds in {0, 5, 14}:
            kill_operator(yard)
            yard.kubectl(
                "rollout", "status", "deployment", "trainyard-operator", "-n", "trainyard-system", "--timeout=420s"
            )
    for name in names:
        check(yard, files, name, model_name)
    (model,) = [m for m in yard.items("registeredmodels") if m["spec"]["modelName"] == model_name]
    versions = model["status"]["versions"]
    assert [v["version"] for v in versions] == list(range(1, len(names) + 1))


def test_a_script_that_ends_while_the_operator_is_away_loses_nothing(yard: Yard, files):
    model_name = unique("away")
    wish = [{"name": model_name, "path": "outputs/model.bin"}]
    name = yard.apply(training_job(scripts.UNTIL_TOLD, models=wish))
    yard.wait_for_phase(name, "Running")
    with yard.scaled_down("trainyard-operator"):
        yard.tell(name)
        (pod,) = yard.items("pods", "-l", f"trainyard.dev/training-job={name}")
        # The runner must be past the script's end and still be waiting for somebody to save to.
        time.sleep(30)
        assert yard.get("pod", pod["metadata"]["name"])["status"]["phase"] == "Running"
    check(yard, files, name, model_name)


def test_outputs_wait_for_an_object_store_that_is_away(yard: Yard):
    model_name = unique("storeless")
    wish = [{"name": model_name, "path": "outputs/model.bin"}]
    name = yard.apply(training_job(scripts.UNTIL_TOLD, models=wish))
    yard.wait_for_phase(name, "Running")
    with yard.scaled_down("trainyard-store"):
        yard.tell(name)
        run = yard.wait_for_phase(name, "Finalizing")
        assert "outputs" not in run["status"]
        time.sleep(20)
        assert yard.run(name)["status"]["phase"] == "Finalizing"
    with open_bucket(yard) as files:
        check(yard, files, name, model_name)
        assert files.keys(folder(yard.run(name)) + "manifest.json")
