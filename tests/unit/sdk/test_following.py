"""Following a run: everything is told once, and the log survives lost connections."""

from __future__ import annotations

import pytest

from trainyard.errors import Invalid, Unreachable
from trainyard.remote.following import LogFollower
from trainyard.remote.view import Story


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


def test_a_log_whose_connection_broke_goes_on_where_it_was(monkeypatch):
    monkeypatch.setattr("trainyard.remote.following.RECONNECT_SECONDS", 0.01)
    attempts, lines = [], []

    def open_log(_pod):
        attempts.append(None)
        yield b"one\n"
        yield b"two\n"
        if len(attempts) == 1:
            raise Unreachable("connection broken")
        yield b"th\xffree\n"

    follower = LogFollower(open_log=open_log, write=lines.append)
    follower.follow("pod")
    follower.finish()
    assert lines == ["one", "two", "th\ufffdree"]


def test_a_pod_that_was_retried_has_its_own_log():
    lines = []
    follower = LogFollower(open_log=lambda pod: [f"{pod} 1\n".encode(), f"{pod} 2\n".encode()], write=lines.append)
    follower.follow("first")
    follower.follow("first")
    follower.follow("second")
    follower.finish()
    assert lines == ["first 1", "first 2", "second 1", "second 2"]


def test_a_container_that_never_started_has_no_log():
    def open_log(_pod):
        raise Invalid("container train is waiting to start")

    lines = []
    follower = LogFollower(open_log=open_log, write=lines.append)
    follower.follow("pod")
    follower.finish()
    assert lines == []
