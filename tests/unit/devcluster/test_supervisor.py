from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from devcluster.supervisor import Supervisor
from devcluster.waiting import wait_for


def request(tmp_path: Path, *argv: str, **over: Any) -> dict[str, Any]:
    """Ask to start a program."""
    log = str(tmp_path / "log")
    return {"op": "start", "name": "p", "argv": argv, "environment": {}, "log": log, "digest": "d", **over}


def ended(supervisor: Supervisor) -> Any:
    wait_for(
        lambda: supervisor.answer({"op": "status"})["programs"]["p"]["status"] is not None, what="the end", timeout=60
    )
    return supervisor.answer({"op": "status"})["programs"]["p"]["status"]


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        pytest.param(["sh", "-c", "exit 0"], 0, id="success"),
        pytest.param(["sh", "-c", "exit 3"], 3, id="failure"),
        pytest.param(["sh", "-c", "kill -9 $$"], -9, id="a signal"),
    ],
)
def test_the_end_of_a_program_is_remembered(tmp_path: Path, argv: list[str], status: int):
    supervisor = Supervisor()
    supervisor.answer(request(tmp_path, *argv))
    assert ended(supervisor) == status


def test_output_is_appended_to_the_log_with_the_given_environment(tmp_path: Path):
    (tmp_path / "log").write_text("before\n")
    supervisor = Supervisor()
    supervisor.answer(
        request(tmp_path, "sh", "-c", "echo $GREETING; echo error >&2", environment={"GREETING": "hello"})
    )
    ended(supervisor)
    assert (tmp_path / "log").read_text() == "before\nhello\nerror\n"


def test_a_program_runs_once_until_it_has_ended(tmp_path: Path):
    supervisor = Supervisor()
    pid = supervisor.answer(request(tmp_path, "sleep", "60"))["pid"]
    assert supervisor.answer(request(tmp_path, "sleep", "60")) == {"error": "p is running"}
    status = supervisor.answer({"op": "status"})["programs"]["p"]
    assert status == {"pid": pid, "digest": "d", "status": None}
    supervisor.answer({"op": "signal", "name": "p", "signal": signal.SIGTERM})
    assert ended(supervisor) == -signal.SIGTERM
    assert "pid" in supervisor.answer(request(tmp_path, "true"))
    ended(supervisor)


def test_only_a_program_that_has_ended_is_forgotten(tmp_path: Path):
    supervisor = Supervisor()
    supervisor.answer(request(tmp_path, "sleep", "60"))
    assert supervisor.answer({"op": "forget", "name": "p"}) == {"error": "p is running"}
    supervisor.answer({"op": "signal", "name": "p", "signal": signal.SIGKILL})
    ended(supervisor)
    assert supervisor.answer({"op": "forget", "name": "p"}) == {}
    assert supervisor.answer({"op": "status"}) == {"programs": {}}


def test_a_program_that_is_not_there_is_named(tmp_path: Path):
    answer = Supervisor().answer(request(tmp_path, "/no/such/program"))
    assert answer == {"error": "/no/such/program: No such file or directory"}


def test_signals_for_what_does_not_run_are_ignored(tmp_path: Path):
    assert Supervisor().answer({"op": "signal", "name": "q", "signal": signal.SIGTERM}) == {}
