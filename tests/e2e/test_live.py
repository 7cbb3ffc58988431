"""What can be seen while a run is going, and how soon."""

from __future__ import annotations

import json
import time

import pytest

from tests.e2e import scripts
from tests.e2e.bucket import folder
from tests.e2e.yard import Yard, training_job, unique

pytestmark = pytest.mark.e2e


def test_metrics_progress_and_log_lines_are_visible_while_the_script_runs(yard: Yard, files):
    name = yard.apply(training_job(scripts.LIVE))
    try:
        run = yard.wait_for_phase(name, "Running")
        yard.wait("the line in the store", lambda: b"said early" in files.log(run))
        printed = float(files.log(run).split()[2])
        assert time.time() - printed < 30

        def measured():
            run = yard.run(name)
            return run if "early" in run["status"].get("metrics", {}) else None

        yard.wait("the metric in the status", measured)
        run = yard.wait("the progress", lambda: (r := yard.run(name))["status"].get("progress") and r)
        assert run["status"]["progress"]["percent"] == 40
        assert run["status"]["progress"]["message"] == "warming up"
        assert run["status"]["phase"] == "Running"
    finally:
        yard.kubectl("delete", "tj", name, "--wait=false")


@pytest.fixture(scope="module")
def told(yard: Yard) -> dict[str, str]:
    """Runs that tell something of themselves, side by side: their names by what they are."""
    model = unique("told")
    missing = [{"name": "data", "datastore": {"path": "nowhere/"}}]
    jobs = {
        model: training_job(scripts.TALKATIVE.replace("MODEL", model)),
        "failed": training_job(scripts.SAYS_IT_FAILED),
        "missing": training_job(scripts.WISHES_WHAT_IT_HAS_NOT),
        "bar": training_job(scripts.BAR),
        "unprepared": training_job(scripts.FINE, inputs=missing),
    }
    return {what: yard.apply(job) for what, job in jobs.items()} | {"model": model}


def test_a_bar_is_the_progress_of_a_script_that_reports_none(yard: Yard, told):
    run = yard.wait(
        "the bar", lambda: (r := yard.run(told["bar"]))["status"].get("progress", {}).get("percent") and r, seconds=60
    )
    progress = run["status"]["progress"]
    assert progress["message"] == "fit"
    assert progress["etaSeconds"] == 60


def test_what_a_script_says_of_its_run_is_in_its_status_and_in_the_store(yard: Yard, files, told):
    model = told["model"]
    run = yard.wait_for_end(told[model])
    status = run["status"]
    assert status["phase"] == "Completed"
    assert status["tags"] == {"data": "mnist", "ä": "ö"}
    assert [(entry["id"], entry["path"]) for entry in status["models"]] == [(f"{model}:1", "outputs/model.bin")]
    assert len(status["metrics"]) == 64
    assert status["outputs"]["files"] == 5002
    assert len(json.dumps(status, ensure_ascii=False).encode()) < 32 * 1024
    manifest = json.loads(files.read(run, "manifest.json"))
    assert manifest["properties"] == {"seed": "7"}
    assert "outputs/images/picture.png" in [file["path"] for file in manifest["outputs"]]
    history = [json.loads(line) for line in files.read(run, "metrics.jsonl").splitlines()]
    assert len([entry for entry in history if "metric" in entry]) == 10_000
    assert {"list": "losses", "values": [3, 2, 1], "description": "falling"}.items() <= next(
        entry for entry in history if "list" in entry
    ).items()


def test_the_whole_log_is_one_object_and_stays_when_the_pod_is_gone(yard: Yard, files, told):
    run = yard.wait_for_end(told[told["model"]])
    assert run["status"]["logs"]["uri"].endswith("/logs/")
    yard.kubectl("delete", "pod", run["status"]["podName"], "--wait=true", "--grace-period=0", "--force")
    lines = files.read(run, "logs/train.log").decode().splitlines()
    assert lines[0].startswith("Model(name=")
    assert [int(line[:6]) for line in lines[1:]] == list(range(30_000))
    assert sorted(key.rpartition("/logs/")[2] for key in files.keys(folder(run) + "logs/")) == [
        "prepare.log",
        "train.log",
    ]
    assert b"fetched the source" in files.read(run, "logs/prepare.log")


@pytest.mark.parametrize(
    ("what", "reason", "words"),
    [
        ("failed", "ScriptFailed", "train.py said that it failed: there is no data"),
        (
            "missing",
            "ModelPathNotFound",
            "Run.register_model: there is no file at outputs/none.bin for the model never; the run saved outputs/other.bin",
        ),
        ("unprepared", "InputNotFound", "nothing is at 'nowhere/'"),
    ],
)
def test_a_run_that_fails_says_why(yard: Yard, told, what, reason, words):
    status = yard.wait_for_end(told[what])["status"]
    assert status["failure"]["reason"] == reason
    assert words in status["failure"]["message"]


def test_the_log_of_a_prepare_that_failed_is_kept(yard: Yard, files, told):
    run = yard.wait_for_end(told["unprepared"])
    assert b"InputNotFound" in files.read(run, "logs/prepare.log")


def test_deleting_a_run_takes_its_job_and_pod_with_it(yard: Yard):
    name = yard.apply(training_job(scripts.LIVE))
    yard.wait_for_phase(name, "Running")
    yard.kubectl("delete", "tj", name, "--wait=true", "--timeout=420s")
    selector = f"trainyard.dev/training-job={name}"
    yard.wait("job and pod to go", lambda: not yard.items("jobs,pods", "-l", selector))
