"""Following a run to its end, with its log beside it."""

from __future__ import annotations

import io

import pytest

from demo.console import Console
from demo.follow import follow


def status(phase, *, reason="Because", message="", **more):
    ready = {"type": "Ready", "status": "False", "reason": reason, "message": message}
    return {"phase": phase, "conditions": [ready], **more}


@pytest.fixture
def output():
    return io.StringIO()


@pytest.fixture
def console(output):
    return Console(stream=output)


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
