"""What a script leaves behind, prints and measures, however odd, is kept or said to be skipped."""

from __future__ import annotations

import json

import pytest

from tests.e2e import scripts
from tests.e2e.bucket import folder, root
from tests.e2e.yard import Yard, training_job

pytestmark = pytest.mark.e2e

SCRIPTS = {
    "odd": scripts.ODD_OUTPUTS,
    "many": scripts.MANY_FILES,
    "none": scripts.NO_OUTPUTS,
    "loud": scripts.LOUD,
    "metrics": scripts.ODD_METRICS,
}


@pytest.fixture(scope="module")
def runs(yard: Yard):
    """Start one run per script and return them when all have ended."""
    names = {key: yard.apply(training_job(script)) for key, script in SCRIPTS.items()}
    ended = {key: yard.wait_for_end(name) for key, name in names.items()}
    for key, run in ended.items():
        assert run["status"]["phase"] == "Completed", (key, run["status"])
    return ended


def saved(files, run):
    return sorted(key.removeprefix(folder(run)) for key in files.keys(folder(run) + "outputs/"))


def test_links_and_pipes_are_left_out_with_a_warning_and_files_are_kept(runs, files):
    assert saved(files, runs["odd"]) == ["outputs/sub/fine.txt"]
    warnings = " ".join(json.loads(files.read(runs["odd"], "manifest.json"))["warnings"])
    assert "outputs/passwd" in warnings
    assert "outputs/pipe" in warnings
    assert runs["odd"]["status"]["outputs"]["files"] == 1


def test_two_thousand_small_files_are_all_saved(runs, files):
    assert len(saved(files, runs["many"])) == 2000
    assert runs["many"]["status"]["outputs"]["files"] == 2000
    assert files.read(runs["many"], "outputs/many/1234.txt") == b"1234"


def test_a_run_that_saves_nothing_completes_with_no_files(runs, files):
    assert saved(files, runs["none"]) == []
    assert runs["none"]["status"]["outputs"]["files"] == 0


def test_a_hundred_megabytes_of_output_lose_no_line(runs, files):
    log = files.log(runs["loud"])
    assert log.count(b"y" * 99 + b"\n") == 1_000_000
    assert "torn \ufffd utf-8".encode() in log
    assert log.rstrip().endswith(b"the last line")


def test_odd_metrics_arrive_bounded_and_readable(runs):
    status = runs["metrics"]["status"]
    metrics = status["metrics"]
    assert len(metrics) == 64
    assert metrics["a.b/c"] == 1
    assert metrics["not a number"] == "NaN"
    assert (metrics["up"], metrics["down"]) == ("Infinity", "-Infinity")
    assert metrics["fast"] == 9999
    assert any(name.startswith("nnn") and len(name.encode()) <= 256 for name in metrics)
    assert len(json.dumps(status).encode()) < 32 << 10


def test_the_whole_history_of_a_metric_is_among_the_runs_files(runs, files):
    lines = [json.loads(line) for line in files.read(runs["metrics"], "metrics.jsonl").splitlines()]
    assert sum(line.get("metric") == "fast" for line in lines) == 10_000


def test_the_digest_in_the_status_is_that_of_the_source_that_ran(runs, files):
    import hashlib

    run = runs["odd"]
    assert hashlib.sha256(files.bytes(root(run) + "source.tar.gz")).hexdigest() == run["status"]["source"]["sha256"]
