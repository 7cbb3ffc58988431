"""Whatever is done to runs, in whatever order: in the end each is what was asked for, and nothing is left over."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.e2e.bucket import folder, open_bucket
from tests.e2e.walk import LABEL, LINES, Walk, Wish
from tests.e2e.yard import Yard, compute_cluster, unique

pytestmark = pytest.mark.e2e

STEPS = int(os.environ.get("TRAINYARD_WALK_STEPS", "200"))
SEEDS = [int(seed) for seed in os.environ.get("TRAINYARD_WALK_SEEDS", "1").split(",")]
ENDED = {"Completed", "Failed", "Canceled"}
SECONDS = 420.0


@pytest.fixture
def walk(request, yard: Yard):
    name = unique("walk").replace("_", "-")
    yard.kubectl("create", "namespace", name)
    cluster = compute_cluster("pool", nodes=2)
    cluster["metadata"]["namespace"] = name
    yard.apply(cluster)
    found = Walk(yard=yard, namespace=name, seed=request.param, cluster="pool")
    yield found
    found.finish()
    yard.kubectl("delete", "tj", "--all", "-n", name)
    yard.kubectl("delete", "namespace", name)


def runs(walk: Walk):
    return {run["metadata"]["name"]: run for run in walk.yard.items("tj", "-n", walk.namespace)}


def unsettled(walk: Walk):
    """Return what is not yet as it was asked for."""
    found = runs(walk)
    active = {
        pod["metadata"]["labels"].get(LABEL)
        for pod in walk.yard.items("pods", "-n", walk.namespace)
        if pod["status"]["phase"] in {"Pending", "Running"}
    }
    wrong = []
    for name, wish in walk.wishes.items():
        run = found.get(name)
        phase = (run or {}).get("status", {}).get("phase")
        right = {
            Wish.GONE: run is None,
            Wish.RUN: phase == "Completed",
            Wish.CANCELED: phase in {"Canceled", "Completed"},
            Wish.SUSPENDED: phase == "Completed" or (run is not None and phase not in ENDED and name not in active),
        }[wish]
        if not right:
            wrong.append((name, wish.value, phase))
    return wrong


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("walk", SEEDS, indirect=True, ids=lambda seed: f"seed {seed}")
def test_a_random_walk_ends_as_its_last_steps_asked_for(walk: Walk, yard: Yard):
    for _ in range(STEPS):
        walk.step()
    walk.finish()

    end = time.monotonic() + SECONDS
    while wrong := unsettled(walk):
        assert time.monotonic() < end, f"{wrong}\n" + "\n".join(walk.story)
        time.sleep(2)

    found = runs(walk)
    by_uid = {run["metadata"]["uid"]: name for name, run in found.items()}
    with open_bucket(yard) as files:
        for uid in {key.split("/")[2] for key in files.keys(f"runs/{walk.namespace}/")}:
            assert uid in by_uid, f"objects of a run that is gone: {uid}"
        for name, run in found.items():
            check_children(walk, name, run)
            if run["status"]["phase"] == "Completed":
                check_record(files, run)


def check_children(walk: Walk, name: str, run):
    """Assert that no attempt has two Jobs, and no Job belongs to nobody."""
    jobs = walk.yard.items("jobs", "-n", walk.namespace, "-l", f"{LABEL}={name}")
    names = [job["metadata"]["name"] for job in jobs]
    attempts = [attempt["jobName"] for attempt in run["status"].get("attempts", ())]

    assert len(names) == len(set(names))
    assert set(names) <= {*attempts, run["status"].get("jobName")}, (names, attempts)
    for job in jobs:
        assert [owner["uid"] for owner in job["metadata"]["ownerReferences"]] == [run["metadata"]["uid"]]


def check_record(files, run):
    """Assert that the attempt that completed left each of its lines and metrics once."""
    log = files.log(run).decode().splitlines()
    history = [json.loads(line) for line in files.read(run, "metrics.jsonl").splitlines()]

    assert [line for line in log if line.startswith("line ")] == [f"line {number}" for number in range(LINES)]
    assert [entry["value"] for entry in history if entry.get("metric") == "step"] == list(range(LINES))
    assert files.read(run, "outputs/model.bin") == b"model"
    assert run["status"]["metrics"] == {"step": LINES - 1}
    assert folder(run) in run["status"]["outputs"]["uri"]
