"""`Run` in a script: the same calls inside a pod and outside, for whatever number a library hands out."""

from __future__ import annotations

import decimal
import fractions
import json
import math
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pace import slowness
from trainyard import Run, contract


@pytest.fixture
def fresh(monkeypatch):
    """Let `get_context` look around anew, then and now."""
    for name in (contract.ENV_METRICS_FILE, contract.ENV_RUN_NAME, contract.ENV_RUN_UID, contract.ENV_EXPERIMENT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Run, "_current", None)


@pytest.fixture
def metrics_file(fresh, monkeypatch, tmp_path):
    """The file of a run inside a pod."""
    path = tmp_path / "metrics.jsonl"
    monkeypatch.setenv(contract.ENV_METRICS_FILE, str(path))
    monkeypatch.setenv(contract.ENV_OUTPUTS, str(tmp_path / "outputs"))
    monkeypatch.setenv(contract.ENV_RUN_NAME, "mnist")
    monkeypatch.setenv(contract.ENV_RUN_UID, "u-1")
    monkeypatch.setenv(contract.ENV_EXPERIMENT, "digits")
    return path


class Sheet:
    """A sink in memory."""

    def __init__(self):
        self.lines = []

    def write(self, entry):
        self.lines.append(entry)

    def entries(self):
        return self.lines


def entries(path):
    """Return what was written, without the times."""
    return [{k: v for k, v in json.loads(line).items() if k != "time"} for line in path.read_text().splitlines()]


VALUES = [
    pytest.param(0.5, 0.5, id="float"),
    pytest.param(3, 3, id="int"),
    pytest.param(True, 1, id="bool"),
    pytest.param(np.float64(0.25), 0.25, id="numpy float64"),
    pytest.param(np.float32(0.25), 0.25, id="numpy float32"),
    pytest.param(np.int64(7), 7, id="numpy int64"),
    pytest.param(np.bool_(True), 1, id="numpy bool"),
    pytest.param(np.array(0.5), 0.5, id="numpy array without dimensions"),
    pytest.param(np.array([[0.5]]), 0.5, id="numpy array of one"),
    pytest.param(decimal.Decimal("0.5"), 0.5, id="Decimal"),
    pytest.param(fractions.Fraction(1, 2), 0.5, id="Fraction"),
    pytest.param(math.nan, "NaN", id="NaN"),
    pytest.param(math.inf, "Infinity", id="Infinity"),
    pytest.param(np.float32("-inf"), "-Infinity", id="numpy -Infinity"),
    pytest.param(10**30, 1e30, id="beyond 64 bits"),
    pytest.param(-(10**400), "-Infinity", id="beyond a float"),
]


@pytest.mark.parametrize(("value", "written"), VALUES)
def test_a_number_of_any_kind_is_written_as_json(metrics_file, value, written):
    Run.get_context().log("m", value)
    assert entries(metrics_file) == [{"metric": "m", "value": written}]
    assert contract.encode_metric(Run.get_context().get_metrics()["m"]) == written


NO_NUMBERS = [
    pytest.param("0.5", id="text"),
    pytest.param(b"1", id="bytes"),
    pytest.param(None, id="None"),
    pytest.param(1j, id="complex"),
    pytest.param([0.5], id="list"),
    pytest.param({}, id="dict"),
    pytest.param(np.array([1, 2]), id="array of two"),
    pytest.param(np.array([]), id="empty array"),
    pytest.param(np.str_("x"), id="numpy text"),
    pytest.param(np.complex128(1), id="numpy complex"),
    pytest.param(float, id="a class"),
]


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_not_one_number_is_refused_in_a_sentence(metrics_file, value):
    with pytest.raises(TypeError, match=r"^metric 'loss' is of type \w+ \(.*\): give one number$"):
        Run.get_context().log("loss", value)
    assert entries(metrics_file) == []
    assert Run.get_context().get_metrics() == {}


@pytest.mark.parametrize("name", [None, 7, b"m", ["m"]])
def test_a_name_that_is_no_text_is_refused_in_a_sentence(metrics_file, name):
    with pytest.raises(TypeError, match=r"^the name of a metric is of type .*: give text"):
        Run.get_context().log(name, 1)


def test_odd_names_are_cleaned_the_same_way_on_both_sides(metrics_file):
    run = Run.get_context()
    for name in ("a.b/c", "x" * 300, "line\nend", ""):
        run.log(name, 1)
    names = [entry["metric"] for entry in entries(metrics_file)]
    assert names == ["a.b/c", "x" * 253 + "…", "line end", "unnamed"]
    assert list(run.get_metrics()) == names


def test_a_step_is_kept_with_its_value(metrics_file):
    Run.get_context().log("loss", 0.5, step=3)
    Run.get_context().log("loss", 0.4, step=np.int64(4))
    assert [entry["step"] for entry in entries(metrics_file)] == [3, 4]


@pytest.mark.parametrize("step", ["3", 0.5, math.nan, [1]])
def test_a_step_that_is_no_whole_number_is_refused(metrics_file, step):
    with pytest.raises(TypeError, match="the step of metric 'loss' is"):
        Run.get_context().log("loss", 1, step=step)


PROGRESS = [
    pytest.param({"percent": 40}, {"percent": 40.0}, id="percent"),
    pytest.param({"percent": -1}, {"percent": 0.0}, id="below"),
    pytest.param({"percent": 100.0001}, {"percent": 100.0}, id="above"),
    pytest.param({"percent": np.float32(50)}, {"percent": 50.0}, id="numpy"),
    pytest.param(
        {"percent": 40, "message": "epoch 4", "eta_seconds": 12},
        {"percent": 40.0, "message": "epoch 4", "etaSeconds": 12.0},
        id="everything",
    ),
]


@pytest.mark.parametrize(("told", "written"), PROGRESS)
def test_progress_is_written_within_its_bounds(metrics_file, told, written):
    Run.get_context().progress(**told)
    assert entries(metrics_file) == [{"progress": written}]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"percent": "half"}, "percent is of type str"),
        ({"percent": math.nan}, "percent is nan: give a finite number"),
        ({"percent": 1, "eta_seconds": math.inf}, "eta_seconds is inf"),
        ({"percent": 1, "message": 7}, "message is of type int"),
    ],
)
def test_progress_that_says_nothing_is_refused(metrics_file, told, words):
    with pytest.raises(TypeError, match=words):
        Run.get_context().progress(**told)


def test_a_run_in_a_pod_knows_who_it_is(metrics_file):
    run = Run.get_context()
    assert (run.id, run.name, run.experiment) == ("u-1", "mnist", "digits")
    assert Run.get_context() is run


def test_an_offline_run_has_the_same_interface_and_prints(fresh, capsys):
    run = Run.get_context()
    run.log("accuracy", np.float64(0.9255))
    run.log("loss", math.nan, step=2)
    run.progress(40, message="epoch 4", eta_seconds=12)
    run.progress(50)
    assert capsys.readouterr().out == "accuracy: 0.9255\nloss: NaN  (step 2)\n40 %, 12 s left: epoch 4\n50 %\n"
    assert run.get_metrics()["accuracy"] == 0.9255
    assert run.id.startswith("offline-")
    assert run.experiment == "default"
    assert run.name


def test_a_script_that_insists_on_a_run_is_told_that_there_is_none(fresh):
    with pytest.raises(RuntimeError, match="this process belongs to no run: start it as a TrainingJob"):
        Run.get_context(allow_offline=False)


def test_importing_the_package_takes_less_than_a_tenth_of_a_second():
    code = "import time; began = time.process_time(); import trainyard; print(time.process_time() - began)"
    took = [
        float(subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(took) < 0.1 * slowness()


def test_ten_thousand_calls_cost_less_than_thirty_microseconds_each(metrics_file):
    run = Run.get_context()
    best = math.inf
    for _ in range(3):
        began = time.process_time()
        for number in range(10_000):
            run.log("loss", number * 0.1)
        best = min(best, time.process_time() - began)
    assert best / 10_000 < 30e-6 * slowness()


def test_threads_write_whole_lines(metrics_file):
    run = Run.get_context()
    threads = [threading.Thread(target=lambda n=n: [run.log(f"thread {n}", i) for i in range(500)]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entries(metrics_file)) == 4000
    assert run.get_metrics() == {f"thread {n}": list(range(500)) for n in range(8)}


FORKING = """
import os, threading
from trainyard import Run
run = Run.get_context()
stop = threading.Event()
def log_on():
    while not stop.is_set():
        run.log("thread", 1)
thread = threading.Thread(target=log_on)
thread.start()
children = []
for child in range(4):
    pid = os.fork()
    if pid == 0:
        for number in range(300):
            run.log(f"child {child} " + "x" * 200, number)
        os._exit(0)
    children.append(pid)
print([os.waitpid(pid, 0)[1] for pid in children])
stop.set()
thread.join()
"""


def test_forked_processes_write_whole_lines_beside_a_thread_that_is_logging(metrics_file):
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[0, 0, 0, 0]\n"
    assert len([entry for entry in entries(metrics_file) if entry["metric"].startswith("child")]) == 1200


@given(st.lists(st.tuples(st.text(max_size=300), st.floats() | st.integers() | st.booleans()), max_size=20))
def test_whatever_is_logged_is_one_line_of_json_each(pairs):
    sink = Sheet()
    run = Run(run_id="", name="", experiment="", sink=sink)
    for name, value in pairs:
        run.log(name, value)
    lines = [json.dumps(entry, allow_nan=False) for entry in sink.entries()]
    assert len(lines) == len(pairs)
    assert {json.loads(line)["metric"] for line in lines} == set(run.get_metrics())


def test_a_script_that_makes_up_names_does_not_fill_the_memory_with_them():
    run = Run(run_id="", name="", experiment="", sink=Sheet())
    for number in range(10_000):
        run._clean(f"m{number}")
    assert len(run._names) <= 4096
