"""A node for runs of a real operator: the real runner as a process, with the token and the word of a real pod."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from trainyard.contract import ENV_GATEWAY
from trainyard_operator.api.names import JOB, POD, RUN_UID_LABEL, TRAINING_JOB
from trainyard_runner.layout import Layout

# The runner's own program, below another root; as in the tests of the runner.
DRIVER = """
import os, sys
from pathlib import Path
pyz, root, command = sys.argv[1:]
sys.argv = [pyz, command]
sys.path.insert(0, pyz)
from trainyard_runner.__main__ import run
from trainyard_runner.layout import Layout
code = run(command, layout=Layout.below(Path(root)))
sys.stdout.flush()
os._exit(code)
"""
IMAGE_ID = "registry.example/trainer@sha256:" + "1" * 64


class Kubelet:
    """Carries out the Jobs of a lab's namespace: one pod each."""

    def __init__(self, lab, control_plane, *, folder: Path, gateway: str, runner: Path):
        self._lab = lab
        self._client = lab._client
        self._control_plane = control_plane
        self._folder = folder
        self._gateway = gateway
        self._runner = runner

    async def carry_out(self, name):
        """Run what a TrainingJob's Job asks for, and return the TrainingJob once it has ended."""
        run = await self._lab.until(TRAINING_JOB, name, lambda run: "jobName" in run["status"])
        uid, namespace = run["metadata"]["uid"], self._lab.namespace
        pages = self._client.pages(JOB, namespace=namespace, label_selector=f"{RUN_UID_LABEL}={uid}")
        (job,) = [job async for page in pages for job in page.items]
        pod = await self._bind(job)
        root = self._folder / uid
        layout = Layout.below(root)
        for place in (layout.home, layout.work, layout.inputs, layout.checkpoint, layout.token.parent):
            place.mkdir(parents=True)
        layout.termination_log.parent.mkdir(parents=True)
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod}")
        token = self._control_plane.kubectl(
            "create", "token", "default", f"-n={namespace}", "--audience=trainyard", *bound
        )
        layout.token.write_text(token.strip())
        spec = job["spec"]["template"]["spec"]
        code = 0
        for container, command in ((spec["initContainers"][0], "prepare"), (spec["containers"][0], "execute")):
            code = code or await asyncio.to_thread(self._run, container, command, root)
        said = layout.termination_log.read_text()
        await self._tell(pod, code, said)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = {"status": "True", "lastTransitionTime": now, "reason": "Played", "message": ""}
        kinds = ("SuccessCriteriaMet", "Complete") if code == 0 else ("FailureTarget", "Failed")
        ended = {"completionTime": now, "succeeded": 1} if code == 0 else {"failed": 1}
        status = {
            "startTime": now,
            **ended,
            "uncountedTerminatedPods": {},
            "conditions": [{"type": kind, **about} for kind in kinds],
        }
        await self._client.patch_status(JOB, job["metadata"]["name"], status, namespace=namespace)
        return await self._lab.until(TRAINING_JOB, name, lambda run: "completionTime" in run["status"])

    def _run(self, container, command, root):
        env = {variable["name"]: variable.get("value", "") for variable in container["env"]}
        with (root / f"{command}.log").open("wb") as log:
            return subprocess.run(
                [sys.executable, "-I", "-S", "-c", DRIVER, self._runner, root, command],
                env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **env, ENV_GATEWAY: self._gateway},
                cwd=root,
                stdout=log,
                stderr=log,
                timeout=120,
                check=False,
            ).returncode

    async def _bind(self, job):
        """Create the pod of a Job, which has begun to run."""
        name = f"{job['metadata']['name']}-x"
        named = {key: job["metadata"][key] for key in ("name", "uid")}
        owner = {"apiVersion": JOB.api_version, "kind": JOB.kind, **named}
        labels = job["spec"]["template"]["metadata"]["labels"]
        metadata = {"name": name, "namespace": self._lab.namespace, "labels": labels}
        metadata["ownerReferences"] = [{**owner, "controller": True}]
        spec = {"restartPolicy": "Never", "containers": [{"name": "train", "image": "none"}]}
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        await self._client.create(POD, document)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        await self._status(name, "Running", {"running": {"startedAt": now}})
        return name

    async def _tell(self, pod, code, said):
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        state = {"terminated": {"exitCode": code, "message": said, "startedAt": now, "finishedAt": now}}
        await self._status(pod, "Failed" if code else "Succeeded", state)

    async def _status(self, pod, phase, state):
        container = {"name": "train", "image": "none", "imageID": IMAGE_ID, "ready": False, "restartCount": 0}
        status = {"phase": phase, "containerStatuses": [{**container, "state": state}]}
        await self._client.patch_status(POD, pod, status, namespace=self._lab.namespace)
