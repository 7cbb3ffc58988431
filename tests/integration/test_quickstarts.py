"""The quick start of people who use kubectl, block by block as the page has it, against a real API server."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess

import pytest

# The chart is tested elsewhere, a watch has no end, and nothing here has the log of a pod.
NOT_HERE = ("helm ", "--watch", "kubectl logs")
SAID = {
    "kubectl wait": "condition met",
    ".status.metrics.accuracy": "0.96\ndigits:1\ns3://trainyard/runs/",
    ".status.versions[0].state": "Ready s3://trainyard/models/",
    "rerunOf: digits-1": "digits-again-",
    "cancel": "patched",
    "kubectl delete": 'computecluster.trainyard.dev "anywhere" deleted',
}


@pytest.fixture
def shell(control_plane, lab, program, repository, tmp_path):
    """Run lines of a page as people do who work in the lab's namespace."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl").symlink_to(program("kubectl"))
    (tmp_path / "kubeconfig").write_text(control_plane.kubeconfig.read_text())
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
    }

    def run(lines):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines], cwd=repository, env=environment, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{lines}\n{done.stderr}"
        return done.stdout

    run(f"kubectl config set-context --current --namespace {lab.namespace}")
    return run


async def test_the_page_for_kubectl_works_from_top_to_bottom(served, lab, shell, repository):
    text = (repository / "docs" / "quickstart-kubectl.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    left = dict(SAID)
    for block in blocks:
        if any(word in block for word in NOT_HERE):
            continue
        said = await asyncio.to_thread(shell, block)
        for word in [word for word in left if word in block]:
            assert left.pop(word) in said
        if "kubectl apply" in block:
            await lab.play("digits-1", metrics={"accuracy": 0.96}, files={"outputs/digits.skops": b"a model"})
    assert left == {}
