"""A workspace that is a folder."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from trainyard.errors import ConfigError, NotFound, RunFailed, Timeout
from trainyard.remote.compute import AmlCompute, ComputeTarget
from trainyard.remote.estimator import Estimator
from trainyard.remote.experiment import Experiment
from trainyard.remote.model import Model
from trainyard.remote.submitted import SubmittedRun
from trainyard.remote.workspace import Workspace
from trainyard.widgets.cluster import ClusterSource


@pytest.fixture
def submit(home, tmp_path, capsys):
    """Submit a script to an experiment of a workspace of its own."""

    def go(script):
        code = tmp_path / "code"
        code.mkdir(exist_ok=True)
        (code / "train.py").write_text(script)
        return Experiment(Workspace.local(), "digits").submit(Estimator(code, compute_target="local"))

    return go


def awaited(run, status, log=""):
    until = time.monotonic() + 120
    while run.get_status() != status or run.get_logs() != log:
        assert time.monotonic() < until, run
        time.sleep(0.05)


def test_a_configuration_leads_back_to_the_folder(home, tmp_path, capsys):
    workspace = Workspace.local(name="team-a")
    assert (workspace.is_local, workspace.name, workspace.location) == (True, "team-a", str(home))
    workspace.write_config(tmp_path)
    again = Workspace.from_config(tmp_path)
    assert (again.is_local, again.name, again.location) == (True, "team-a", str(home))
    (tmp_path / "config.json").write_text(json.dumps({"workspace_name": "here", "local_folder": "runs"}))
    assert Workspace.from_config(tmp_path).location == str(tmp_path / "runs")
    assert (workspace.compute_targets, workspace.experiments, workspace.models) == ({}, {}, {})
    with pytest.raises(ConfigError, match="there are no compute targets without a cluster"):
        ComputeTarget.create(workspace, "pool", AmlCompute.provisioning_configuration(provider={"type": "Existing"}))


def test_a_run_goes_on_by_itself_and_is_found_again(submit, capsys):
    run = submit("import time; print('going', flush=True); time.sleep(600)")
    assert run.id == "digits-1"
    with pytest.raises(Timeout, match="it goes on"):
        run.wait_for_completion(timeout_seconds=0.5)
    awaited(run, "Running", log="going\n")
    (again,) = Experiment(Workspace.local(), "digits").get_runs()
    assert (again.id, again.uid) == (run.id, run.uid)
    again.cancel()
    assert again.wait_for_completion(raise_on_error=False, timeout_seconds=120)["status"] == "Canceled"
    assert run.get_logs() == "going\n"


def test_a_run_whose_process_is_gone_has_failed(submit):
    run = submit("import os, time; time.sleep(600)")
    awaited(run, "Running")
    os.kill(worker_of(run), signal.SIGKILL)
    with pytest.raises(RunFailed, match="RunFailed: the process that had carried out the run is gone"):
        run.wait_for_completion(timeout_seconds=120)


def test_runs_that_end_at_once_get_numbers_of_their_own(home, tmp_path):
    (tmp_path / "train.py").write_text("from pathlib import Path; Path('outputs').mkdir(); Path('outputs/m').touch()")
    estimator = Estimator(tmp_path, models=[{"name": "digits", "path": "outputs/m"}])
    runs = [Experiment(Workspace.local(), "digits").submit(estimator) for _ in range(4)]
    for run in runs:
        run.wait_for_completion(timeout_seconds=300)
    found = Model.list(Workspace.local(), "digits")
    assert sorted(model.version for model in found) == [1, 2, 3, 4]
    assert {model.run_id for model in found} == {run.id for run in runs}


def worker_of(run):
    """Return the process that carries out a run."""
    folder = run.experiment.workspace.location
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            # Somebody else's, which has ended in this moment.
            continue
        if b"trainyard.local.worker" in words and folder.encode() in words and run.id.encode() in words:
            return int(path.parent.name)
    raise AssertionError("there is no such process")


def test_a_run_that_is_deleted_is_stopped_first(submit, home):
    run = submit("import time; time.sleep(600)")
    awaited(run, "Running")
    run.experiment.workspace.objects.delete("trainingjobs", run.id)
    with pytest.raises(NotFound, match='trainingjobs "digits-1" not found in '):
        SubmittedRun(run.experiment, "digits-1")
    assert (home / "runs" / "local" / run.uid).is_dir()


class Heard:
    """A hub that keeps what it is told."""

    def __init__(self):
        self.log, self.saved, self.points, self.notes = [], {}, [], {}

    def job(self, job):
        self.status = job.get("status", {}).get("phase")

    def lines(self, lines):
        self.log += lines

    def files(self, files):
        self.saved = files

    def history(self, entries):
        self.points = [entry["value"] for entry in entries]

    def note(self, what, text):
        self.notes[what] = text


SCRIPT = """
import time
from trainyard import Run
run = Run.get_context()
for step in range(3):
    print("step", step, flush=True)
    run.log("loss", step)
    time.sleep(0.2)
"""


@pytest.mark.parametrize("ended", [False, True], ids=["while it goes on", "once it has ended"])
def test_a_notebook_shows_a_run_of_this_machine_as_one_of_a_cluster(submit, ended):
    run = submit(SCRIPT)
    if ended:
        run.wait_for_completion(timeout_seconds=300)
    heard = Heard()
    ClusterSource(run.refresh()).follow(heard, threading.Event())
    assert heard.log == ["step 0", "step 1", "step 2"]
    assert heard.points == [0, 1, 2]
    assert "logs/train.log" in heard.saved
    assert (heard.status, heard.notes.get("watch"), heard.notes.get("files")) == ("Completed", "", "")
