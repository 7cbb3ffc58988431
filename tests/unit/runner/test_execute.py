"""The training container as a whole: a script in, and everything about it in the object store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainyard import contract

GOOD = """
import os, sys
from trainyard import Run
run = Run.get_context()
print("hello from", run.name, run.experiment, sys.argv[1:])
print("and from stderr", file=sys.stderr)
run.log("accuracy", 0.5)
run.log("accuracy", 0.9255)
run.progress(100, message="done")
os.makedirs("outputs/sub")
open("outputs/model.pkl", "wb").write(b"model")
open("outputs/sub/notes.txt", "w").write("notes")
"""


def test_a_good_run_leaves_everything_in_the_store_and_its_manifest_last(pod):
    assert pod.prepared(GOOD, arguments=["--rate", "0.8", "a b;$(X)"]).execute() == 0
    termination, manifest = pod.termination(), pod.manifest()
    assert termination | {"warnings": [], "logTail": ""} == {
        "version": 1,
        "container": "train",
        "reason": None,
        "message": "",
        "exitCode": 0,
        "signal": None,
        "metrics": {"accuracy": 0.9255},
        "outputs": {"files": 2, "bytes": 10},
        "manifestSha256": termination["manifestSha256"],
        "warnings": [],
        "logTail": "",
    }
    assert termination["warnings"] == []
    assert manifest["schema"] == contract.RUN_MANIFEST_SCHEMA
    assert manifest["run"] == {
        "name": "mnist",
        "namespace": "team-a",
        "uid": "0c5d3b9e-1111-2222-3333-444455556666",
        "experiment": "digits",
    }
    assert [(o["path"], o["bytes"]) for o in manifest["outputs"]] == [
        ("outputs/model.pkl", 5),
        ("outputs/sub/notes.txt", 5),
    ]
    assert manifest["sourceSha256"] == "5" * 64
    assert manifest["startTime"] <= manifest["endTime"]
    assert manifest["environment"]["python"]
    log = "hello from mnist digits ['--rate', '0.8', 'a b;$(X)']\nand from stderr\n"
    assert pod.saved_log() == log
    assert log in pod.container_log()
    assert termination["logTail"] == log
    history = [json.loads(line) for line in pod.yard.store.objects["metrics.jsonl"].splitlines()]
    assert [entry["value"] for entry in history if "metric" in entry] == [0.5, 0.9255]
    order = [put.path.split("/")[0] for put in pod.yard.store.puts]
    assert order[-2:] == ["metrics.jsonl", "manifest.json"]
    assert max(i for i, name in enumerate(order) if name == "outputs") < order.index("metrics.jsonl")
    states = pod.yard.gateway.states()
    assert states == [state for state in ("Preparing", "Running", "Finalizing") if state in states]
    assert pod.yard.gateway.reports[-1][1] == {
        "state": "Finalizing",
        "metrics": {"accuracy": 0.9255},
        "progress": {"percent": 100.0, "message": "done"},
        "message": "saving the log",
    }


FAILURES = [
    pytest.param("raise SystemExit(3)", 3, None, "exit code 3", id="exit 3"),
    pytest.param("def broken(:", 1, None, "exit code 1", id="syntax error"),
    pytest.param("1 / 0", 1, None, "exit code 1", id="exception"),
    pytest.param(
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        137,
        9,
        "killed by SIGKILL",
        id="SIGKILL",
    ),
    pytest.param(
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        139,
        11,
        "killed by SIGSEGV",
        id="SIGSEGV",
    ),
    pytest.param("raise SystemExit(137)", 137, None, "SIGKILL", id="exit 137 of a child's child"),
    pytest.param("raise SystemExit(255)", 255, None, "exit code 255", id="exit 255"),
]


DIGEST = "sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        pytest.param([{"imageDigest": DIGEST}], {"imageDigest": DIGEST}, id="no packages"),
        pytest.param(
            [{"environmentHash": "e" * 64}, {"imageDigest": DIGEST, "image": "r/i", "environmentHash": "e" * 64}],
            {"imageDigest": DIGEST, "image": "r/i", "environmentHash": "e" * 64},
            id="the node says it late",
        ),
    ],
)
def test_the_manifest_says_what_ran(pod, answers, said):
    pod.yard.gateway.ran = answers
    assert pod.prepared(GOOD).execute() == 0
    manifest = pod.manifest()
    assert {name: manifest.get(name) for name in said} == said
    assert manifest["warnings"] == []


def test_a_gateway_that_will_not_say_what_ran_costs_the_run_no_outputs(pod):
    pod.yard.gateway.refusals["ran"] = (400, {"reason": "BadRequest", "message": "op is 'ran': use one of run"})
    assert pod.prepared(GOOD).execute() == 0
    assert "imageDigest" not in pod.manifest()
    assert "which image ran: op is 'ran'" in pod.manifest()["warnings"][0]


@pytest.mark.parametrize(("script", "code", "number", "words"), FAILURES)
def test_a_script_that_fails_says_how_and_keeps_what_it_saved(pod, script, code, number, words):
    start = "import os\nos.makedirs('outputs')\nopen('outputs/partial', 'w').write('x')\nprint('begun', flush=True)\n"
    compiles = "broken" not in script
    assert pod.prepared((start if compiles else "") + script).execute() == code
    termination = pod.termination()
    assert (termination["exitCode"], termination["signal"], termination["reason"]) == (code, number, "ScriptFailed")
    assert words in termination["message"]
    assert "train.py" in termination["message"]
    assert pod.manifest()["exitCode"] == code
    assert pod.saved_outputs() == (["outputs/partial"] if compiles else [])
    assert termination["logTail"] == pod.saved_log()
    if code == 1:
        assert "Error" in termination["logTail"]


def test_an_image_without_python_is_said_to_lack_it(pod, tmp_path):
    pod.env["PATH"] = str(tmp_path / "empty")
    assert pod.prepared("print()").execute() == 127
    termination = pod.termination()
    assert termination["reason"] == "ScriptFailed"
    assert "the image needs python3" in termination["message"]
    assert pod.manifest()["outputs"] == []


@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_a_script_killed_for_memory_is_told_apart_from_one_killed_by_hand(pod, kind):
    folder = pod.layout.cgroup / ("memory" if kind == "v1" else "")
    folder.mkdir(parents=True)
    events = folder / ("memory.oom_control" if kind == "v1" else "memory.events")
    (folder / ("memory.limit_in_bytes" if kind == "v1" else "memory.max")).write_text(f"{256 << 20}\n")
    events.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
    script = f"""
import os, signal
open({str(events)!r}, "w").write("oom_kill_disable 0\\nunder_oom 0\\noom_kill 5\\n")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert pod.prepared(script).execute() == 137
    termination = pod.termination()
    assert termination["reason"] == "OutOfMemory"
    assert "256 MiB" in termination["message"]


def test_threads_follow_the_cpu_limit_unless_somebody_set_them(pod):
    pod.layout.cgroup.mkdir(parents=True)
    (pod.layout.cgroup / "cpu.max").write_text("100000 100000\n")
    pod.env["OMP_NUM_THREADS"] = "7"
    script = (
        "import os\nprint([os.environ.get(n) for n in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'LOKY_MAX_CPU_COUNT')])"
    )
    assert pod.prepared(script).execute() == 0
    assert pod.saved_log() == "['7', '1', '1']\n"


def test_the_script_sees_its_own_environment_and_the_package(pod):
    pod.env["PYTHONPATH"] = "/somewhere"
    script = "import os, trainyard\nprint(os.environ['PYTHONPATH'].split(':')[1], os.environ['PYTHONUNBUFFERED'], os.getcwd())"
    assert pod.prepared(script).execute() == 0
    assert pod.saved_log() == f"/somewhere 1 {pod.layout.work}\n"


TERMINATED = """
import os, signal, sys, time
os.makedirs("outputs")
def stop(*_):
    open("outputs/checkpoint", "w").write("half way")
    print("stopping", flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
time.sleep(600)
"""


def test_a_stop_reaches_the_script_and_what_it_has_is_saved(pod, wait_until):
    pod.prepared(TERMINATED).start()
    wait_until(lambda: "ready" in pod.container_log())
    pod.process.send_signal(signal.SIGTERM)
    assert pod.wait() == 7
    termination = pod.termination()
    assert termination["reason"] == "RunFailed"
    assert "SIGTERM" in termination["message"]
    assert pod.yard.store.objects["outputs/checkpoint"] == b"half way"
    assert pod.saved_log() == "ready\nstopping\n"


def test_a_script_that_does_not_listen_dies_of_the_stop_together_with_its_children(pod, wait_until):
    script = """
import subprocess, sys, time
child = subprocess.Popen(["sleep", "600"])
print("child", child.pid, flush=True)
time.sleep(600)
"""
    pod.prepared(script).start()
    wait_until(lambda: "child" in pod.container_log())
    child = int(pod.container_log().split()[1])
    pod.process.send_signal(signal.SIGTERM)
    assert pod.wait() == 143
    assert pod.termination()["signal"] == signal.SIGTERM
    wait_until(lambda: not alive(child), what="the end of the script's child")


def alive(pid: int) -> bool:
    """Return whether a process runs, zombies left aside."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_a_script_leaves_running_does_not_hold_up_the_end(pod, wait_until):
    script = """
import subprocess
print("left", subprocess.Popen(["sleep", "600"]).pid, flush=True)
"""
    assert pod.prepared(script).execute(seconds=300) == 0
    assert any("left running" in warning for warning in pod.manifest()["warnings"])
    left = int(pod.container_log().split()[1])
    wait_until(lambda: not alive(left), what="the end of what was left")


def test_a_short_run_costs_little_more_than_its_script(pod):
    pod.prepared("import time\nprint(time.time(), flush=True)\nopen('done', 'w').close()")

    def costs():
        """Return what the slower of beginning and end takes, in starts of an interpreter at the same time."""
        starts = [interpreter_seconds()]
        begun = time.time()
        assert pod.execute() == 0
        ended = time.time()
        first_line = float(pod.saved_log())
        starts.append(interpreter_seconds())
        return max(first_line - begun, ended - first_line) / max(2 / STARTS, *starts)

    # Whatever else the machine does can only add to it.
    assert any(costs() < STARTS for _ in range(5))


# A runner that waited for one of its own clocks would take longer than so many starts of an interpreter.
STARTS = 20


def interpreter_seconds():
    """Return how long an interpreter takes here and now to start with what the runner imports."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-I", "-S", "-c", "import http.client, json, ssl, subprocess"], check=True)
    return time.monotonic() - began


def test_a_pod_without_a_prepared_run_says_so(pod):
    assert pod.execute() == 1
    assert pod.termination()["reason"] == "RunFailed"
    assert "prepare" in pod.termination()["message"]


def test_a_missing_variable_is_named(pod):
    del pod.env["TRAINYARD_CA"]
    assert pod.prepared("print()").execute() == 1
    assert "TRAINYARD_CA" in pod.termination()["message"]


def test_an_argument_that_no_program_can_get_is_a_failure_of_the_script(pod):
    assert pod.prepared("print()", arguments=["a\0b"]).execute() == 126
    assert pod.termination()["reason"] == "ScriptFailed"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a pid namespace of its own")
def test_as_the_first_process_it_buries_orphans_while_the_script_runs(pod, wait_until):
    script = """
import os, subprocess, time
subprocess.run(["sh", "-c", "sleep 0.1 & sleep 0.2 & true"])
def zombies():
    states = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            states.append(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0])
        except OSError:
            pass
    return states.count("Z"), len(states)
until = time.time() + 120
time.sleep(0.4)
while zombies() != (0, 2) and time.time() < until:
    time.sleep(0.05)
print(zombies())
"""
    pod.prepared(script)
    pod.prefix = ["unshare", "--pid", "--fork", "--mount-proc"]
    assert pod.execute() == 0
    assert pod.saved_log() == "(0, 2)\n"
