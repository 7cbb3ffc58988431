"""A run that has Kueue's label, with the real Kueue: who starts it, who takes it back, and what is said meanwhile."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack

import pytest

from devcluster import chart
from tests.e2e import kueue, scripts
from tests.e2e.test_rbac import granted, used
from tests.e2e.yard import SYSTEM, compute_cluster, conditions, ready, training_job

pytestmark = pytest.mark.e2e

PRIORITY = "kueue.x-k8s.io/priority-class"
OPERATOR = "trainyard-operator"


@pytest.fixture(scope="module")
def switch(cluster, yard):
    """Return what sets the chart's value `kueue.enabled`; it is off again afterwards."""

    def set_to(value):
        # No process is to work with rights that are not its own.
        yard.kubectl("scale", "deployment", OPERATOR, "-n", SYSTEM, "--replicas=0")
        yard.kubectl("wait", "pods", "-n", SYSTEM, "-l", "trainyard.dev/leader", "--for=delete", "--timeout=420s")
        command = [cluster.bin / "helm", "upgrade", chart.RELEASE, chart.CHART, f"--namespace={SYSTEM}"]
        options = ["--reuse-values", f"--set=kueue.enabled={value}", f"--kubeconfig={cluster.kubeconfig}"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        yard.kubectl("scale", "deployment", OPERATOR, "-n", SYSTEM, "--replicas=1")
        yard.kubectl("rollout", "status", "deployment", OPERATOR, "-n", SYSTEM, "--timeout=420s")

    yield set_to
    set_to("false")


@pytest.fixture(scope="module")
def install(cluster, yard, switch):
    """Return what installs Kueue with a queue `team` that has room for one run; all of it goes before the switch."""
    with ExitStack() as stack:

        def begin():
            image = yard.get("deployment", OPERATOR, "-n", SYSTEM)["spec"]["template"]["spec"]["containers"][0]["image"]
            stack.enter_context(kueue.installed(yard, helm=cluster.bin / "helm", image=image))
            for obj in kueue.queue("team", cpu="150m"):
                yard.wait(f"{obj['kind']} to be accepted", lambda obj=obj: accepted(yard, obj))

        yield begin


def accepted(yard, obj):
    """Return whether Kueue's webhooks take an object: they need a moment after Kueue is ready."""
    return "rror" not in yard.kubectl("apply", "-f", "-", stdin=json.dumps(obj), check=False)


def submit(yard, script, *, priority=None, **spec):
    run = training_job(script, **spec)
    run["metadata"]["labels"] = {kueue.QUEUE_LABEL: "team", **({PRIORITY: priority} if priority else {})}
    return yard.apply(run)


def job_of(yard, name):
    return yard.get("job", yard.run(name)["status"]["jobName"], "-n", "default")


def workload_of(yard, name):
    uid = job_of(yard, name)["metadata"]["uid"]
    (found,) = yard.items("workloads", "-n", "default", "-l", f"kueue.x-k8s.io/job-uid={uid}")
    return found


def cancel(yard, name):
    yard.kubectl("patch", "tj", name, "--type=merge", "-p", '{"spec": {"cancel": true}}')
    run = yard.wait_for_end(name)
    assert run["status"]["phase"] == "Canceled"
    assert job_of(yard, name)["spec"]["suspend"] is True
    assert workload_of(yard, name)["spec"]["active"] is False
    return run


def test_kueue_decides_when_its_runs_start_and_may_take_them_back(yard, switch, install, files, audit_log):
    provider = {"type": "Existing", "existing": {"nodeSelector": {"kubernetes.io/os": "linux"}}}
    lab = compute_cluster("kueue-lab", vmSize=None, provider=provider, scale={"maxNodes": 1})
    lab["spec"] = {name: value for name, value in lab["spec"].items() if value is not None}
    yard.apply(lab)
    switch("true")
    first = submit(yard, scripts.UNTIL_TOLD, computeClusterRef={"name": "kueue-lab"})
    assert "install Kueue" in ready(yard.wait_for_reason(first, "KueueNotFound"))["message"]

    install()
    running = yard.wait_for_phase(first, "Running")
    assert conditions(running)["Admitted"] == "True"

    def slots():
        return yard.get("cc", "kueue-lab", "-n", "default")["status"]["slots"]["used"]

    yard.wait("the slot to be taken", lambda: slots() == 1)

    # The second one waits, in Kueue's words; so does a third, which is canceled and never starts.
    second, third = submit(yard, scripts.STUBBORN), submit(yard, scripts.FINE)
    said = "insufficient unused quota"
    yard.wait("Kueue's words", lambda: said in ready(yard.run(second)).get("message", ""))
    assert yard.run(second)["status"]["phase"] == "Queued"
    assert ready(yard.run(second))["reason"] == "WaitingForKueue"
    assert conditions(yard.run(second))["Admitted"] == "False"
    assert "startTime" not in cancel(yard, third)["status"]

    # One of more weight takes the first one's place, which waits again and loses nothing but time.
    urgent = submit(yard, scripts.FINE, priority="urgent")
    evicted = yard.wait_for_phase(first, "Queued")
    assert ready(evicted)["reason"] == "WaitingForKueue"
    assert "failure" not in evicted["status"]
    assert yard.wait_for_end(urgent)["status"]["phase"] == "Completed"
    # What Kueue has written into the pod's template stays there.
    assert job_of(yard, urgent)["spec"]["template"]["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}
    yard.wait_for_phase(first, "Running")
    yard.tell(first)
    ended = yard.wait_for_end(first)
    assert ended["status"]["phase"] == "Completed"
    assert [entry["name"] for entry in ended["status"]["phases"]].count("Running") == 2
    yard.wait("the slot to be free", lambda: slots() == 0)

    # And then it is the second one's turn. Canceled while it runs, it keeps what it has saved.
    yard.wait_for_phase(second, "Running")
    yard.wait("the first output", lambda: yard.run(second)["status"].get("metrics"))
    run = cancel(yard, second)
    assert files.read(run, "outputs/part.bin") == b"so far"

    asked, may = (
        {triple for triple in found if triple[0] == "kueue.x-k8s.io"} for found in (used(audit_log), granted(yard))
    )
    assert asked == may == {("kueue.x-k8s.io", "workloads", verb) for verb in ("list", "patch", "watch")}
