"""Gateway and store that are away, slow or forgetful while a run ends: nothing is lost, the end only comes later."""

from __future__ import annotations

import time

import pytest

from tests.support.fake_yard import DROP

SCRIPT = """
import os
from trainyard import Run
Run.get_context().log("accuracy", 0.9)
print("done")
os.makedirs("outputs")
for n in range(20):
    open(f"outputs/{n}", "w").write(str(n))
"""


def everything_is_there(pod):
    """Return whether all of `SCRIPT` has arrived."""
    return (
        len(pod.saved_outputs()) == 20
        and pod.saved_log() == "done\n"
        and pod.manifest()["metrics"] == {"accuracy": 0.9}
        and b"accuracy" in pod.yard.store.objects["metrics.jsonl"]
        and pod.termination()["reason"] is None
    )


class Away:
    """A fault that lasts from the first request on for some seconds, and for some requests."""

    def __init__(self, fault, *, seconds):
        self.fault = fault
        self.seconds = seconds
        self.began = None
        self.refused = 0

    def __call__(self, *_):
        self.began = self.began or time.monotonic()
        if time.monotonic() - self.began > self.seconds and self.refused >= 3:
            return None
        self.refused += 1
        return self.fault


class Every:
    """A fault of the first `times` requests for each object."""

    def __init__(self, fault, *, times):
        self.fault = fault
        self.times = times
        self.seen = {}

    def __call__(self, method, path):
        self.seen[path] = self.seen.get(path, 0) + 1
        return self.fault if self.seen[path] <= self.times else None


@pytest.mark.parametrize("fault", [503, DROP])
@pytest.mark.parametrize("who", ["gateway", "store"])
def test_an_outage_at_the_end_is_waited_out(pod, who, fault):
    away = Away(fault, seconds=2)
    getattr(pod.yard, who).fault = away
    assert pod.prepared(SCRIPT).execute() == 0
    assert everything_is_there(pod)
    assert away.refused > 0
    assert "trying again" in pod.container_log()


def test_nothing_is_sent_while_the_gateway_is_away_and_all_of_it_afterwards(pod, wait_until):
    pod.yard.gateway.fault = lambda *_: DROP
    pod.prepared(SCRIPT).start()
    log = pod.layout.termination_log
    wait_until(lambda: log.exists() and log.stat().st_size)
    first = pod.termination()
    assert first["reason"] == "OutputsNotSaved"
    assert first["metrics"] == {"accuracy": 0.9}
    time.sleep(1)
    assert pod.process.poll() is None
    assert pod.yard.store.objects == {}
    pod.yard.gateway.fault = lambda *_: None
    assert pod.wait() == 0
    assert everything_is_there(pod)


def test_a_store_that_fails_now_and_then_gets_everything(pod):
    pod.yard.store.fault = Every(503, times=2)
    assert pod.prepared(SCRIPT).execute() == 0
    assert everything_is_there(pod)


def test_expired_addresses_are_replaced_by_fresh_ones(pod):
    pod.yard.gateway.expire_first = True
    assert pod.prepared(SCRIPT).execute() == 0
    assert everything_is_there(pod)
    assert [r for r in pod.yard.store.requests if r[2] == 403]


def test_a_store_that_always_refuses_ends_the_run_as_not_saved(pod):
    pod.yard.store.fault = lambda method, path: 403 if path.startswith("outputs/") else None
    assert pod.prepared(SCRIPT).execute() == 1
    termination = pod.termination()
    assert termination["reason"] == "OutputsNotSaved"
    assert "403" in termination["message"]
    assert "as the test wishes" in termination["message"]
    assert termination["exitCode"] == 0
    assert termination["metrics"] == {"accuracy": 0.9}
    assert termination["outputs"] == {"files": 0, "bytes": 0}
    assert "manifest.json" not in pod.yard.store.objects
    assert pod.saved_log() == "done\n"


def test_a_gateway_that_refuses_the_pod_is_quoted(pod):
    pod.yard.gateway.refusals["put"] = (403, {"reason": "Forbidden", "message": "the run has ended"})
    assert pod.prepared(SCRIPT).execute() == 1
    assert pod.termination()["reason"] == "OutputsNotSaved"
    assert "the run has ended" in pod.termination()["message"]


def test_a_script_that_failed_stays_the_cause_when_its_outputs_are_lost_too(pod):
    pod.yard.gateway.refusals["put"] = (403, {"reason": "Forbidden", "message": "the run has ended"})
    assert pod.prepared(SCRIPT + "raise SystemExit(4)").execute() == 4
    assert pod.termination()["reason"] == "ScriptFailed"
    assert "exit code 4; the outputs could not be saved" in pod.termination()["message"]


def test_a_log_that_the_store_refuses_is_a_warning(pod):
    pod.yard.store.fault = lambda method, path: 403 if path.startswith("logs/") else None
    assert pod.prepared(SCRIPT).execute() == 0
    assert any("the end of the log could not be saved" in warning for warning in pod.manifest()["warnings"])
    assert len(pod.saved_outputs()) == 20


def test_a_new_token_is_used_as_soon_as_it_is_there(pod, wait_until):
    pod.prepared("import os, time\nwhile not os.path.exists('go'): time.sleep(0.02)\n" + SCRIPT).start()
    wait_until(lambda: pod.yard.gateway.reports)
    pod.yard.gateway.token = "a-renewed-token"
    pod.layout.token.write_text("a-renewed-token")
    (pod.layout.work / "go").touch()
    assert pod.wait() == 0
    assert everything_is_there(pod)


def test_a_gateway_that_refuses_reports_does_not_disturb_the_run(pod):
    pod.yard.gateway.refusals["report"] = (403, {"reason": "Forbidden", "message": "no"})
    assert pod.prepared(SCRIPT).execute() == 0
    assert everything_is_there(pod)
