"""What can be seen while a run is going, and how soon."""

from __future__ import annotations

import time

import pytest

from tests.e2e import scripts
from tests.e2e.yard import Yard, training_job

pytestmark = pytest.mark.e2e


def test_metrics_progress_and_log_lines_are_visible_while_the_script_runs(yard: Yard, files):
    name = yard.apply(training_job(scripts.LIVE))
    try:
        yard.wait_for_phase(name, "Running")
        begun = time.monotonic()

        def measured():
            run = yard.run(name)
            return run if "early" in run["status"].get("metrics", {}) else None

        run = yard.wait("the metric in the status", measured, seconds=10)
        yard.wait("the line in the store", lambda: b"said early" in files.log(run), seconds=10)
        assert time.monotonic() - begun < 15
        run = yard.wait("the progress", lambda: (r := yard.run(name))["status"].get("progress") and r, seconds=15)
        assert run["status"]["progress"]["percent"] == 40
        assert run["status"]["progress"]["message"] == "warming up"
        assert run["status"]["phase"] == "Running"
    finally:
        yard.kubectl("delete", "tj", name, "--wait=false")


def test_deleting_a_run_takes_its_job_and_pod_with_it(yard: Yard):
    name = yard.apply(training_job(scripts.LIVE))
    yard.wait_for_phase(name, "Running")
    yard.kubectl("delete", "tj", name, "--wait=true", "--timeout=90s")
    selector = f"trainyard.dev/training-job={name}"
    yard.wait("job and pod to go", lambda: not yard.items("jobs,pods", "-l", selector), seconds=90)
