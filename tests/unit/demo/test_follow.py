"""Following a run: everything is told once, and the log survives lost connections."""

from __future__ import annotations

import io

import pytest
from urllib3.exceptions import ProtocolError

from demo.console import Console
from demo.follow import LogFollower, Story, follow


def status(phase, *, reason="Because", message="", **more):
    ready = {"type": "Ready", "status": "False", "reason": reason, "message": message}
    return {"phase": phase, "conditions": [ready], **more}


@pytest.mark.parametrize(
    ("statuses", "lines"),
    [
        pytest.param([{}], [], id="nothing-known"),
        pytest.param(
            [status("Pending", message="the Job is created"), status("Running", message="train.py runs")],
            ["Pending: the Job is created", "Running: train.py runs"],
            id="phases",
        ),
        pytest.param(
            [
                status("Provisioning", reason="PodPending", message="waits"),
                status("Provisioning", reason="ImagePullFailed", message="no such image"),
                status("Provisioning", reason="ImagePullFailed", message="no such image, again"),
            ],
            ["Provisioning: waits", "Provisioning: no such image"],
            id="reasons-within-a-phase",
        ),
        pytest.param(
            [
                status("Running", metrics={"loss": 0.5}),
                status("Running", metrics={"loss": 0.25, "accuracy": "NaN"}),
                status("Running", metrics={"loss": 0.25, "accuracy": "NaN"}),
            ],
            ["Running", "metric loss = 0.5", "metric loss = 0.25", "metric accuracy = nan"],
            id="metrics",
        ),
        pytest.param(
            [
                status("Running", progress={"percent": 40, "message": "epoch 4", "updatedTime": "a"}),
                status("Running", progress={"percent": 40, "message": "epoch 4", "updatedTime": "b"}),
                status("Running", progress={"percent": 50, "etaSeconds": 12.0}),
            ],
            ["Running", "progress 40 %, epoch 4", "progress 50 %, 12 s left"],
            id="progress",
        ),
    ],
)
def test_what_is_new_is_told_once(statuses, lines):
    story = Story()
    assert [line for one in statuses for line in story.tell(one)] == lines


@pytest.fixture
def output():
    return io.StringIO()


@pytest.fixture
def console(output):
    return Console(stream=output)


def log_lines(output):
    return [line.removeprefix("  | ") for line in output.getvalue().splitlines() if line.startswith("  | ")]


def test_a_log_whose_connection_broke_goes_on_where_it_was(console, output, monkeypatch):
    monkeypatch.setattr("demo.follow.RECONNECT_SECONDS", 0.01)
    attempts = []

    def open_log(_pod):
        attempts.append(None)
        yield b"one\n"
        yield b"two\n"
        if len(attempts) == 1:
            raise ProtocolError("connection broken")
        yield b"th\xffree\n"

    follower = LogFollower(open_log=open_log, console=console)
    follower.follow("pod")
    follower.finish()
    assert log_lines(output) == ["one", "two", "th�ree"]


def test_a_pod_that_was_retried_has_its_own_log(console, output):
    follower = LogFollower(open_log=lambda pod: [f"{pod} 1\n".encode(), f"{pod} 2\n".encode()], console=console)
    follower.follow("first")
    follower.follow("first")
    follower.follow("second")
    follower.finish()
    assert log_lines(output) == ["first 1", "first 2", "second 1", "second 2"]


@pytest.mark.parametrize("ending", ["Completed", "Failed"])
def test_a_run_is_followed_to_its_end(console, output, ending):
    jobs = [
        {"metadata": {"name": "mnist"}},
        {"metadata": {"name": "mnist"}, "status": status("Provisioning", podName="mnist-1")},
        {"metadata": {"name": "mnist"}, "status": status("Running", podName="mnist-1")},
        {"metadata": {"name": "mnist"}, "status": status(ending, podName="mnist-1")},
        {"metadata": {"name": "mnist"}, "status": status("Pending")},
    ]
    assert follow(iter(jobs), console=console, open_log=lambda pod: [f"log of {pod}\n".encode()]) == jobs[3]
    lines = [line.split("] ")[-1] for line in output.getvalue().splitlines()]
    assert sorted(lines) == sorted(["Provisioning", "Running", "  | log of mnist-1", ending])
    assert lines[-1] == ending
