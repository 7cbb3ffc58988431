"""Metrics and progress on their way from a script, in whatever language, to the gateway and the manifest."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest

from tests.support.pace import slowness
from trainyard import contract
from trainyard_runner.metrics import MAX_LINE_BYTES, MetricsTail
from trainyard_runner.report import LOOK_SECONDS, SPACING_SECONDS
from trainyard_runner.warnings import Warnings


@pytest.fixture
def warnings():
    return Warnings()


@pytest.fixture
def tail(tmp_path, warnings):
    return MetricsTail(tmp_path / "metrics.jsonl", warnings=warnings)


def line(name="m", value=1, **more):
    """Return one line as `Run.log` writes it."""
    return json.dumps({"metric": name, "value": value, "time": 1.0, **more}).encode() + b"\n"


LINES = [
    pytest.param(line(value=0.5), {"m": 0.5}, id="float"),
    pytest.param(line(value=3), {"m": 3}, id="int"),
    pytest.param(line(value=True), {"m": 1}, id="bool"),
    pytest.param(line(value="NaN"), {"m": "NaN"}, id="NaN as a string"),
    pytest.param(line(value="-Infinity"), {"m": "-Infinity"}, id="-Infinity as a string"),
    pytest.param(b'{"metric": "m", "value": NaN}\n', {"m": "NaN"}, id="NaN as other languages write it"),
    pytest.param(b'{"metric": "m", "value": 1e999}\n', {"m": "Infinity"}, id="beyond a float"),
    pytest.param(b'{"metric": "m", "value": %d}\n' % 10**30, {"m": 1e30}, id="beyond 64 bits"),
    pytest.param(b'{"metric": "m", "value": -%d}\n' % 10**400, {"m": "-Infinity"}, id="far beyond a float"),
    pytest.param(line("a.b/c d", 1), {"a.b/c d": 1}, id="dots and slashes in the name"),
    pytest.param(line("x" * 300), {"x" * 253 + "…": 1}, id="a name of 300 characters"),
    pytest.param(line("a\nb"), {"a b": 1}, id="line end in the name"),
    pytest.param(line("\ud800"), {"unnamed": 1}, id="half a surrogate pair as the name"),
    pytest.param(line() + line(value=2), {"m": 2}, id="the latest counts"),
    pytest.param(line() + b"\n  \n", {"m": 1}, id="empty lines"),
    pytest.param(line() + line(value=2)[:-5], {"m": 1}, id="a line under way"),
]


@pytest.mark.parametrize(("content", "expected"), LINES)
def test_a_line_is_read_as_what_it_means(tail, warnings, tmp_path, content, expected):
    (tmp_path / "metrics.jsonl").write_bytes(content)
    tail.poll()
    assert tail.state()[0] == expected
    assert warnings.listed() == []


MALFORMED = [
    pytest.param(b"accuracy=1\n", id="no JSON"),
    pytest.param(b"[1]\n", id="a list"),
    pytest.param(b'"metric"\n', id="a string"),
    pytest.param(b"7\n", id="a number"),
    pytest.param(b"null\n", id="null"),
    pytest.param(b'{"metric": "m"}\n', id="no value"),
    pytest.param(b'{"metric": "m", "value": null}\n', id="null as value"),
    pytest.param(b'{"metric": "m", "value": "high"}\n', id="text as value"),
    pytest.param(b'{"metric": "m", "value": [1]}\n', id="a list as value"),
    pytest.param(b'{"metric": 7, "value": 1}\n', id="a number as name"),
    pytest.param(b'{"progress": 7}\n', id="progress that is no object"),
    pytest.param(b'{"progress": {"percent": "half"}}\n', id="percent in words"),
    pytest.param(b'{"progress": {"percent": %d}}\n' % 10**400, id="percent beyond a float"),
    pytest.param(b"\xff\xfe{}\n", id="no UTF-8"),
    pytest.param(b"[" * 100_000 + b"\n", id="a deep nest"),
    pytest.param(b"x" * (2 * MAX_LINE_BYTES) + b"\n", id="a line without end"),
]


@pytest.mark.parametrize("content", MALFORMED)
def test_a_malformed_line_costs_one_warning_and_nothing_else(tail, warnings, tmp_path, content):
    (tmp_path / "metrics.jsonl").write_bytes(line("before") + content * 3 + line("after"))
    tail.poll(limit=None)
    assert tail.state() == ({"before": 1, "after": 1}, None)
    assert len(warnings.listed()) == 1


def test_lines_are_read_once_and_as_they_come(tail, tmp_path):
    path = tmp_path / "metrics.jsonl"
    tail.poll()
    assert tail.state() == ({}, None)
    with path.open("ab", buffering=0) as file:
        file.write(line("a"))
        tail.poll()
        file.write(line("b")[:10])
        tail.poll()
        assert tail.state()[0] == {"a": 1}
        file.write(line("b")[10:])
        tail.poll()
    assert tail.state()[0] == {"a": 1, "b": 1}


def test_a_file_that_begins_anew_is_read_from_its_beginning(tail, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line("a") * 10)
    tail.poll()
    path.write_bytes(line("b"))
    tail.poll()
    assert tail.state()[0] == {"a": 1, "b": 1}


def test_names_beyond_the_limit_are_left_to_the_history_with_one_warning(tail, warnings, tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(line(f"m{n}") for n in range(100)) + line("m0", 7))
    tail.poll()
    metrics, _ = tail.state()
    assert list(metrics) == [f"m{n}" for n in range(contract.MAX_METRICS)]
    assert metrics["m0"] == 7
    (warning,) = warnings.listed()
    assert "'m64'" in warning


def test_ten_thousand_lines_are_read_in_a_fraction_of_a_second(tail, tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(line(value=n) for n in range(10_000)))
    began = time.process_time()
    tail.poll(limit=None)
    assert time.process_time() - began < 0.5 * slowness()
    assert tail.state()[0] == {"m": 9999}


def test_progress_is_brought_within_its_bounds(tail, tmp_path):
    told = {"percent": 140, "etaSeconds": -3, "message": "a\nb" + "x" * 2000, "other": 1}
    (tmp_path / "metrics.jsonl").write_bytes(json.dumps({"progress": told}).encode() + b"\n")
    tail.poll()
    _, progress = tail.state()
    assert progress["percent"] == 100
    assert progress["etaSeconds"] == 0
    assert progress["message"].startswith("a bxxx")
    assert len(progress["message"]) <= contract.MAX_MESSAGE_CHARS
    assert set(progress) == {"percent", "etaSeconds", "message"}


LIVE = """
import os, time
from trainyard import Run
run = Run.get_context()
for n in range(3):
    run.log("step", n)
    run.progress(n * 10)
    while not os.path.exists(f"go{n}"):
        time.sleep(0.02)
"""


def test_a_metric_is_kept_back_for_less_than_three_seconds(pod, wait_until):
    # So long it is kept back on purpose; what comes on top is the machine's.
    assert LOOK_SECONDS + SPACING_SECONDS < 3
    pod.prepared(LIVE).start()
    for number in range(3):
        wait_until(
            lambda number=number: (
                pod.yard.gateway.reports and pod.yard.gateway.reports[-1][1]["metrics"].get("step") == number
            )
        )
        report = pod.yard.gateway.reports[-1][1]
        assert report["state"] == "Running"
        assert report["progress"] == {"percent": number * 10.0}
        (pod.layout.work / f"go{number}").touch()
    assert pod.wait() == 0
    times = [when for when, _ in pod.yard.gateway.reports]
    # The last word and the state Finalizing may follow sooner.
    assert all(later - earlier > 1.8 for earlier, later in pairwise(times[:-2]))


def test_ten_thousand_calls_in_a_second_are_all_in_the_history(pod):
    script = """
import time
from trainyard import Run
run = Run.get_context()
began = time.process_time()
for n in range(10_000):
    run.log("loss", n)
print(time.process_time() - began)
"""
    assert pod.prepared(script).execute() == 0
    assert float(pod.saved_log()) < slowness()
    assert pod.manifest()["metrics"] == {"loss": 9999}
    history = pod.yard.store.objects["metrics.jsonl"].splitlines()
    assert [json.loads(entry)["value"] for entry in history] == list(range(10_000))


def test_a_program_in_any_language_may_append_lines(pod):
    script = """
import subprocess
line = '{"metric": "from a shell", "value": 0.25}'
subprocess.run(["sh", "-c", f"echo '{line}' >> $TRAINYARD_METRICS_FILE"], check=True)
"""
    assert pod.prepared(script).execute() == 0
    assert pod.manifest()["metrics"] == {"from a shell": 0.25}


def test_metrics_of_all_processes_of_a_script_arrive_whole(pod):
    script = """
import os
from trainyard import Run
run = Run.get_context()
children = []
for child in range(8):
    pid = os.fork()
    if pid == 0:
        for n in range(500):
            run.log(f"child {child}", n)
        os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
"""
    assert pod.prepared(script).execute() == 0
    assert pod.manifest()["metrics"] == {f"child {child}": 499 for child in range(8)}
    assert pod.manifest()["warnings"] == []
    assert len(pod.yard.store.objects["metrics.jsonl"].splitlines()) == 4000
