"""The cluster as a user has it: kubectl, and nothing of the operator's own code."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from tests.e2e.scripts import TOLD

Json = dict[str, Any]

SYSTEM = "trainyard-system"
# As long as a computer that is slow and busy may take: whoever sees what he waits for goes on at once.
SECONDS = 420.0
# kubectl's own watch would be one process per wait; asking twice a second costs the cluster nothing.
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Yard:
    """kubectl against the embedded cluster."""

    kubectl_program: Path
    kubeconfig: Path

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl and return what it printed; with `check` a failure shows its error."""
        done = subprocess.run(
            [self.kubectl_program, "--kubeconfig", self.kubeconfig, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout if done.returncode == 0 else done.stderr

    def get(self, *arguments: str) -> Json:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def items(self, *arguments: str) -> list[Json]:
        return self.get(*arguments)["items"]

    def apply(self, obj: Json) -> str:
        """Apply `obj` and return its name."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps(obj))
        return obj["metadata"]["name"]

    def refuse(self, obj: Json) -> str:
        """Return the API server's words on an object that it must refuse."""
        done = self.kubectl("apply", "-f", "-", stdin=json.dumps(obj), check=False)
        assert "created" not in done, f"{obj['metadata']['name']} was accepted"
        return done

    def run(self, name: str, *, namespace: str = "default") -> Json:
        return self.get("trainingjob", name, "-n", namespace)

    def wait(self, what: str, look: Callable[[], Any], *, seconds: float = SECONDS) -> Any:
        """Return what `look` returns as soon as it is true."""
        end = time.monotonic() + seconds
        while True:
            found = look()
            if found:
                return found
            assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
            time.sleep(POLL_SECONDS)

    def wait_for_end(self, name: str, *, namespace: str = "default", seconds: float = SECONDS) -> Json:
        """Return the run when it has ended."""

        def ended() -> Json | None:
            run = self.run(name, namespace=namespace)
            return run if run.get("status", {}).get("phase") in {"Completed", "Failed", "Canceled"} else None

        try:
            return self.wait(f"the end of {name}", ended, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.kubectl('get', 'tj', name, '-n', namespace, '-o', 'yaml')}") from None

    def wait_for_reason(self, name: str, reason: str, *, namespace: str = "default") -> Json:
        """Return the run when its Ready condition has `reason`."""

        def there() -> Json | None:
            run = self.run(name, namespace=namespace)
            return run if ready(run).get("reason") == reason else None

        return self.wait(f"{name} to say {reason}", there)

    def wait_for_phase(self, name: str, *phases: str, seconds: float = SECONDS) -> Json:
        """Return the run when it is in one of `phases`."""

        def there() -> Json | None:
            run = self.run(name)
            return run if run.get("status", {}).get("phase") in phases else None

        return self.wait(f"{name} to be {phases}", there, seconds=seconds)

    def events(self, name: str, *, namespace: str = "default") -> list[Json]:
        """Return the Events about an object, oldest first."""
        events = self.items("events", "-n", namespace, "--field-selector", f"involvedObject.name={name}")
        return sorted(events, key=lambda event: event["metadata"]["creationTimestamp"])

    def wait_for_events(self, name: str, reason: str, *, namespace: str = "default") -> list[Json]:
        """Return the Events about an object once there is one of `reason`: they come after what they speak of."""

        def there() -> list[Json] | None:
            events = self.events(name, namespace=namespace)
            return events if reason in {event["reason"] for event in events} else None

        return self.wait(f"an Event {reason} about {name}", there)

    def host_address(self) -> str:
        """Return the address of this machine that pods reach it by."""
        server = self.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((urlsplit(server).hostname, 9))
            address: str = probe.getsockname()[0]
        return address

    def trainer_image(self) -> str:
        """Return the image that the operator gives to runs: one that every node has."""
        pod = self.get("deployment", "trainyard-operator", "-n", SYSTEM)["spec"]["template"]["spec"]
        operator = next(container for container in pod["containers"] if container["name"] == "operator")
        return next(entry["value"] for entry in operator["env"] if entry["name"] == "TRAINYARD_TRAINER_IMAGE")

    def tell(self, name: str) -> None:
        """Have a run of `scripts.UNTIL_TOLD` know that it is enough; nothing else is needed for that."""
        command = ("-c", "train", "--", "touch", TOLD)
        self.kubectl("exec", self.run(name)["status"]["podName"], *command)

    def operator_pod(self) -> str:
        """Return the name of the pod that leads, as soon as one does."""
        leaders = ("pods", "-n", SYSTEM, "-l", "trainyard.dev/leader=true")
        return self.wait("an operator to lead", lambda: self.items(*leaders))[0]["metadata"]["name"]

    @contextmanager
    def scaled_down(self, deployment: str) -> Iterator[None]:
        """Take a Deployment of the chart away for a while and wait for it to be back afterwards."""
        self.kubectl("scale", "deployment", deployment, "-n", SYSTEM, "--replicas=0")
        selector = self.get("deployment", deployment, "-n", SYSTEM)["spec"]["selector"]["matchLabels"]
        label = ",".join(f"{key}={value}" for key, value in selector.items())
        self.kubectl(
            "delete", "pods", "-n", SYSTEM, "-l", label, "--grace-period=1", "--wait=true", "--ignore-not-found"
        )
        try:
            yield
        finally:
            self.kubectl("scale", "deployment", deployment, "-n", SYSTEM, "--replicas=1")
            self.kubectl("rollout", "status", "deployment", deployment, "-n", SYSTEM, "--timeout=420s")


def unique(name: str) -> str:
    """Return a name that no earlier session has left in a cluster that is still up."""
    return f"{name}_{uuid.uuid4().hex[:8]}"


def training_job(
    script: str | None = None, *, name: str | None = None, namespace: str = "default", **spec: Any
) -> Json:
    """Return a TrainingJob that runs `script`, small enough that many fit on one node."""
    whole = {
        "experiment": "end-to-end",
        **({"source": {"inline": {"train.py": script}}} if script is not None else {}),
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        **spec,
    }
    meta = {"name": name or f"run-{uuid.uuid4().hex[:8]}", "namespace": namespace}
    return {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingJob", "metadata": meta, "spec": whole}


def secret(name: str, **data: str) -> Json:
    """Return a Secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "default"},
        "stringData": data,
    }


def compute_cluster(name: str, *, nodes: int = 2, idle: int = 5, **spec: Any) -> Json:
    """Return a ComputeCluster whose nodes Karpenter makes, each for one run."""
    reference = {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"}
    whole = {
        "vmSize": "SMALL",
        "scale": {"maxNodes": nodes, "idleSecondsBeforeScaleDown": idle},
        "provider": {"type": "Karpenter", "karpenter": {"nodeClassRef": reference}},
        **spec,
    }
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "trainyard.dev/v1alpha1", "kind": "ComputeCluster", "metadata": meta, "spec": whole}


def ready(run: Json) -> Json:
    """Return the Ready condition of a run, or an empty one."""
    conditions = run.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == "Ready"), {})


def conditions(run: Json) -> dict[str, str]:
    """Return the statuses of a run's conditions by type."""
    return {c["type"]: c["status"] for c in run["status"]["conditions"]}


def kill_operator(yard: Yard) -> None:
    """Kill the operator's process as the kernel would, and give it a new pod so that no back-off slows the test."""
    name = yard.operator_pod()
    uid = yard.get("pod", name, "-n", SYSTEM)["metadata"]["uid"]
    for process in psutil.process_iter(["cmdline"]):
        if "trainyard_operator" not in " ".join(process.info["cmdline"] or ()):
            continue
        try:
            ours = uid in Path(f"/proc/{process.pid}/cgroup").read_text(encoding="ascii")
            if ours:
                os.kill(process.pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            continue
    yard.kubectl("delete", "pod", name, "-n", SYSTEM, "--grace-period=0", "--force", "--wait=false")
