"""Every way in which a run can end, on real pods: all cases are submitted at once and looked at one by one."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from tests.e2e import scripts
from tests.e2e.bucket import folder, open_bucket, root
from tests.e2e.yard import Json, Yard, conditions, kill_operator, ready, training_job

pytestmark = pytest.mark.e2e

NO_IMAGE = "localhost/no-such-image:1"
NO_SECRET = {"name": "TOKEN", "secretKeyRef": {"name": "no-such-secret", "key": "token"}}
TINY = {"requests": {"cpu": "50m", "memory": "64Mi"}}


@dataclass(frozen=True)
class Ending:
    """A run, and how it must end."""

    job: Json
    reason: str
    words: tuple[str, ...] = ()
    code: int | None = None
    tail: str = ""
    attempts: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()
    phase: str = "Failed"


def failing(script: str | None, reason: str, *words: str, **over) -> Ending:
    spec = over.pop("spec", {})
    return Ending(training_job(script, **spec), reason, words, **{"attempts": (reason,), **over})


ENDINGS = {
    "exit code": failing(
        scripts.SAVE_AND_EXIT_3, "ScriptFailed", "exit code 3", code=3, tail="I give up", saved=("half.bin",)
    ),
    "not found": failing("import sys; sys.exit(127)", "ScriptFailed", "a command was not found", code=127),
    "segfault": failing(scripts.SEGFAULT, "ScriptFailed", "SIGSEGV", "native code", code=139),
    "terminated": failing(scripts.kills_itself(15), "ScriptFailed", "SIGTERM", code=143),
    "killed": failing(scripts.kills_itself(9), "ScriptFailed", "SIGKILL", code=137),
    "memory": failing(
        scripts.HUNGRY, "OutOfMemory", "of 64 MiB", "at its peak", "spec.resources.limits.memory", code=137,
        spec={"resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "64Mi"}}},
    ),
    "disk": failing(
        scripts.FILLS_ITS_DISK, "DiskFull", "spec.resources.limits.ephemeral-storage",
        spec={"resources": {**TINY, "limits": {"ephemeral-storage": "20Mi"}}},
    ),
    "no space": failing(scripts.NO_SPACE, "DiskFull", "no space was left on its disk", code=1, tail="No space left"),
    "image": failing(
        scripts.FINE, "ImagePullFailed", NO_IMAGE, "spec.startTimeoutSeconds",
        spec={"environment": {"image": NO_IMAGE}, "startTimeoutSeconds": 120},
    ),
    "no node": failing(
        scripts.FINE, "Unschedulable", "no node can take",
        spec={"resources": {"requests": {"cpu": "900"}}, "startTimeoutSeconds": 40},
    ),
    "no secret": failing(
        scripts.FINE, "StartTimeout", "spec.startTimeoutSeconds: spec.environment.variables", "no-such-secret",
        spec={"environment": {"variables": [NO_SECRET]}, "startTimeoutSeconds": 120},
    ),
    "too long": failing(
        scripts.STUBBORN, "RunTimeout", "spec.runTimeoutSeconds", saved=("part.bin",),
        spec={"runTimeoutSeconds": 60},
    ),
    "too long and deaf": failing(
        scripts.DEAF, "RunTimeout", spec={"runTimeoutSeconds": 10, "terminationGracePeriodSeconds": 2}
    ),
    "retried in vain": failing(
        scripts.EXIT_3, "ScriptFailed", "spec.retries allows no further", code=3, tail="I give up",
        attempts=("ScriptFailed", "ScriptFailed"), spec={"retries": 1},
    ),
    "second attempt": failing(
        scripts.FAILS_ONCE, "Completed", attempts=("ScriptFailed", "Completed"), phase="Completed",
        saved=("model.bin",), spec={"retries": 2},
    ),
    "not saved": failing(scripts.TOO_MANY_FILES, "OutputsNotSaved", "20000", "archive"),
    "invalid": failing(
        None, "InvalidSpec", "spec.environment.requirements", "line 1 of reqs.txt", attempts=(),
        spec={"source": {"inline": {"train.py": "", "reqs.txt": "-e ."}}, "environment": {"requirements": "reqs.txt"}},
    ),
    "no model": failing(
        scripts.FINE, "ModelPathNotFound", "outputs/other", saved=("model.bin",),
        spec={"models": [{"name": "endings", "path": "outputs/other"}], "retries": 3},
    ),
    "no input": failing(
        scripts.FINE, "InputNotFound", "no/such/folder",
        spec={"inputs": [{"name": "data", "datastore": {"path": "no/such/folder"}}], "retries": 3},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def ended(yard: Yard) -> dict[str, Json]:
    """Submit the runs of all cases side by side and return them when they have ended."""
    names = {key: yard.apply(ending.job) for key, ending in ENDINGS.items()}
    return {key: yard.wait_for_end(name) for key, name in names.items()}


@pytest.mark.parametrize("case", ENDINGS)
def test_a_run_ends_as_it_must_and_says_so(ended, files, case):
    ending, run = ENDINGS[case], ended[case]
    status = run["status"]
    assert (status["phase"], ready(run)["reason"]) == (ending.phase, ending.reason), status
    assert [entry["reason"] for entry in status.get("attempts", ())] == list(ending.attempts), status
    said = ready(run)["message"]
    assert all(word in said for word in ending.words), said
    failure = status.get("failure", {})
    assert failure.get("reason", "Completed") == ending.reason
    assert failure.get("exitCode") == ending.code or ending.code is None
    assert ending.tail in failure.get("logTail", "")
    prefix = (folder(run) if ending.attempts else root(run)) + "outputs/"
    assert tuple(key.removeprefix(prefix) for key in files.keys(prefix)) == ending.saved
    if ending.saved:
        assert status["outputs"]["uri"] == f"s3://trainyard/{prefix}"
    assert len(json.dumps(status).encode()) < 32 << 10


def test_every_attempt_has_one_job_one_pod_and_a_log_of_its_own(yard: Yard, files, ended):
    run = ended["retried in vain"]
    name = run["metadata"]["name"]
    jobs = yard.items("jobs", "-l", f"trainyard.dev/training-job={name}")
    pods = yard.items("pods", "-l", f"trainyard.dev/training-job={name}")
    recorded = [(entry["jobName"], entry["podName"]) for entry in run["status"]["attempts"]]
    assert sorted(job["metadata"]["name"] for job in jobs) == sorted(job for job, _ in recorded)
    assert sorted(pod["metadata"]["name"] for pod in pods) == sorted(pod for _, pod in recorded)
    for attempt in (1, 2):
        assert b"I give up" in files.bytes(folder(run, attempt) + "logs/train.log")


def suspend(yard: Yard, name: str, *, to: bool) -> None:
    yard.kubectl("patch", "tj", name, "--type=merge", "-p", json.dumps({"spec": {"suspend": to}}))


def test_a_run_is_suspended_while_it_runs_and_goes_on_in_another_attempt(yard: Yard, files):
    name = yard.apply(training_job(scripts.STOPS_IN_GOOD_ORDER))
    yard.wait_for_phase(name, "Running")
    yard.wait("its first words", lambda: yard.run(name)["status"].get("metrics"))
    suspend(yard, name, to=True)
    run = yard.wait_for_reason(name, "Suspended")
    assert conditions(run)["Suspended"] == "True"
    assert [entry["reason"] for entry in run["status"]["attempts"]] == ["Suspended"]
    assert files.bytes(folder(run, 1) + "outputs/part.bin") == b"so far"
    yard.wait("its pod to go", lambda: not yard.items("pods", "-l", f"trainyard.dev/training-job={name}"))
    suspend(yard, name, to=False)
    yard.wait("the second attempt to run", lambda: yard.run(name)["status"].get("attempt") == 2)
    yard.wait_for_phase(name, "Running")
    yard.kubectl("patch", "tj", name, "--type=merge", "-p", '{"spec": {"cancel": true}}')
    run = yard.wait_for_end(name)
    assert run["status"]["phase"] == "Canceled"
    assert [entry["reason"] for entry in run["status"]["attempts"]] == ["Suspended", "Canceled"]


def test_a_script_goes_on_from_the_checkpoint_of_the_attempt_before(yard: Yard, files):
    name = yard.apply(training_job(scripts.COUNTS_ON, terminationGracePeriodSeconds=30))
    run = yard.wait("its first words", lambda: (run := yard.run(name))["status"].get("metrics") and run)
    assert files.keys(folder(run, 1) + "checkpoint.json")
    suspend(yard, name, to=True)
    yard.wait_for_reason(name, "Suspended")
    suspend(yard, name, to=False)
    run = yard.wait_for_end(name)
    assert run["status"]["phase"] == "Completed", run["status"]
    assert files.read(run, "outputs/counted.txt") == b"attempt 1, attempt 2"


def test_a_run_that_is_suspended_from_the_start_waits_and_can_be_canceled(yard: Yard):
    name = yard.apply(training_job(scripts.FINE, suspend=True))
    assert conditions(yard.wait_for_reason(name, "Suspended"))["Suspended"] == "True"
    assert yard.items("jobs", "-l", f"trainyard.dev/training-job={name}") == []
    yard.kubectl("patch", "tj", name, "--type=merge", "-p", '{"spec": {"cancel": true}}')
    assert yard.wait_for_end(name)["status"]["phase"] == "Canceled"


def test_a_pod_that_somebody_deletes_is_no_failure_and_another_attempt_completes(yard: Yard):
    name = yard.apply(training_job(scripts.ENDS_LATER))
    run = yard.wait_for_phase(name, "Running")
    yard.kubectl("delete", "pod", run["status"]["podName"], "--wait=false")
    run = yard.wait_for_end(name)
    assert run["status"]["phase"] == "Completed", run["status"]
    assert [entry["reason"] for entry in run["status"]["attempts"]] == ["NodeLost", "Completed"]
    assert "failures" not in run["status"]


def test_a_run_goes_on_time_also_where_the_operator_was_killed_and_leaves_its_data(yard: Yard, files):
    name = yard.apply(training_job(scripts.FINE, ttlSecondsAfterFinished=60))
    run = yard.wait_for_end(name)
    kill_operator(yard)
    ended = datetime.fromisoformat(run["status"]["completionTime"])
    yard.wait("the run to go", lambda: name not in yard.kubectl("get", "tj", "-o", "name"))
    late = (datetime.now(UTC) - ended).total_seconds() - 60
    assert 0 <= late < 30
    yard.wait("its Job to go", lambda: not yard.items("jobs,pods", "-l", f"trainyard.dev/training-job={name}"))
    time.sleep(5)  # whatever would come back has the time to
    assert yard.items("jobs,pods", "-l", f"trainyard.dev/training-job={name}") == []
    assert files.keys(folder(run))


@pytest.mark.parametrize("while_running", [True, False])
def test_a_run_that_is_deleted_with_its_data_leaves_nothing(yard: Yard, files, while_running):
    script = scripts.STUBBORN if while_running else scripts.FINE
    name = yard.apply(training_job(script, deletionPolicy="Delete"))
    run = yard.wait_for_phase(name, "Running") if while_running else yard.wait_for_end(name)
    assert files.keys(root(run))
    yard.kubectl("delete", "tj", name, "--timeout=420s")
    assert files.keys(root(run)) == []
    yard.wait("its Job to go", lambda: not yard.items("jobs,pods", "-l", f"trainyard.dev/training-job={name}"))


def test_a_deletion_waits_for_a_store_that_is_away_and_says_so(yard: Yard):
    name = yard.apply(training_job(scripts.NO_OUTPUTS, deletionPolicy="Delete"))
    run = yard.wait_for_end(name)
    with yard.scaled_down("trainyard-store"):
        yard.kubectl("delete", "tj", name, "--wait=false")
        told = yard.wait("the run to say so", lambda: conditions(yard.run(name)).get("DataDeleted"))
        assert told == "False"
    yard.wait("the run to go", lambda: name not in yard.kubectl("get", "tj", "-o", "name"))
    with open_bucket(yard) as files:
        assert files.keys(root(run)) == []
