"""Many runs are listed page by page, with little work for whoever asks."""

from __future__ import annotations

import asyncio
import time

import pytest

from trainyard.remote.experiment import Experiment
from trainyard.remote.objects import PAGE
from trainyard.remote.workspace import Workspace
from trainyard_operator.api.names import TRAINING_JOB

RUNS = 1000
AT_ONCE = 32
# What is measured is 0.3 s. How long the API server takes besides says how busy the machine is.
SECONDS = 2.0


def training_job(number, namespace):
    metadata = {"name": f"digits-{number}", "namespace": namespace}
    source = {"inline": {"train.py": "print('a line of a script')\n" * 80}}
    spec = {
        "experiment": "digits" if number % 10 else "others",
        "parameters": {"regularization": 0.8},
        "source": source,
    }
    return {"apiVersion": TRAINING_JOB.api_version, "kind": TRAINING_JOB.kind, "metadata": metadata, "spec": spec}


@pytest.mark.usefixtures("swept")
async def test_a_thousand_runs_are_listed_in_two_pages_and_with_little_work(control_plane, lab, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    turns = asyncio.Semaphore(AT_ONCE)

    async def create(number):
        async with turns:
            await lab._client.create(TRAINING_JOB, training_job(number, lab.namespace))

    await asyncio.gather(*(create(number) for number in range(1, RUNS + 1)))

    def walk():
        workspace = Workspace.get(lab.namespace)
        request, asked = workspace._api.request, []
        monkeypatch.setattr(
            workspace._api, "request", lambda *args, **more: asked.append(args) or request(*args, **more)
        )
        start = time.thread_time()
        runs = list(Experiment(workspace, "digits").get_runs())
        experiments = workspace.experiments
        seconds = time.thread_time() - start
        assert len({run.id for run in runs}) == RUNS * 9 // 10
        assert runs[0].number > runs[-1].number
        assert sorted(experiments) == ["digits", "others"]
        assert len(asked) == 2 * RUNS / PAGE
        assert seconds / 2 < SECONDS

    await asyncio.to_thread(walk)
