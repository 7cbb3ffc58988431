"""The pool: Karpenter asks for machines, real ones come, run pods, fail as a test wants it, and go again."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devcluster import sizes
from devcluster.cgroups import Cgroup
from devcluster.machine import Machine
from devcluster.names import Names
from devcluster.pool.joining import UNINITIALIZED, UNREGISTERED
from tests.e2e.conftest import devcluster
from tests.e2e.scripts import TOLD
from tests.e2e.yard import SYSTEM, Json, Yard

if TYPE_CHECKING:
    from devcluster import layout

pytestmark = pytest.mark.e2e

LABEL = "trainyard.dev/test-pool"
ORDER = "trainyard.dev/pool-agent"
SAYS_WHEN = f"""
import os, sklearn, time
print("ready")
while not os.path.exists("{TOLD}"):
    time.sleep(0.1)
print("done")
"""


class Pool:
    """A NodePool of two SMALL machines at most, and pods that run nowhere else."""

    def __init__(self, yard: Yard, *, image: str) -> None:
        self.yard = yard
        self.name = f"test-{uuid.uuid4().hex[:8]}"
        self.image = image
        self._start = time.monotonic()

    def create(self) -> None:
        template = {
            "metadata": {"labels": {LABEL: self.name}},
            "spec": {
                "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
                "requirements": [
                    {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
                    {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["SMALL"]},
                ],
                "taints": [{"key": LABEL, "value": self.name, "effect": "NoSchedule"}],
                "expireAfter": "Never",
            },
        }
        disruption = {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "5s", "budgets": [{"nodes": "100%"}]}
        spec = {"template": template, "disruption": disruption, "limits": {"nodes": "2"}}
        self.yard.apply(
            {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": self.name}, "spec": spec}
        )

    def job(self, script: str, *, retries: int = 0) -> str:
        """Create a Job that runs Python on a machine of the pool; return its name."""
        container = {
            "name": "main",
            "image": self.image,
            "imagePullPolicy": "Never",
            "command": ["python3", "-u", "-c", script],
            "resources": {"requests": {"cpu": "500m", "memory": "128Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        pod = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": {LABEL: self.name},
            "tolerations": [{"key": LABEL, "operator": "Exists"}],
            "containers": [container],
        }
        # What the machine does to a pod is no failure of the pod's.
        policy = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}
        spec = {"backoffLimit": retries, "podFailurePolicy": policy, "template": {"spec": pod}}
        name = f"{self.name}-{uuid.uuid4().hex[:5]}"
        return self.yard.apply(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": name, "namespace": "default"},
                "spec": spec,
            }
        )

    def nodes(self) -> list[Json]:
        return self.yard.items("nodes", "-l", f"karpenter.sh/nodepool={self.name}")

    def claims(self) -> list[Json]:
        return self.yard.items("nodeclaims", "-l", f"karpenter.sh/nodepool={self.name}")

    def pods(self, job: str) -> list[Json]:
        return self.yard.items("pods", "-n", "default", "-l", f"job-name={job}")

    def running(self, job: str) -> Json:
        """Return the Job's pod as soon as it runs."""
        return self.yard.wait(
            f"a pod of {job} to run", lambda: [pod for pod in self.pods(job) if pod["status"]["phase"] == "Running"]
        )[0]

    def order(self, node: str, order: str) -> None:
        self.yard.kubectl("annotate", "node", node, f"{ORDER}={order}")

    def events(self, reason: str) -> list[Json]:
        events = self.yard.items("events", "-A", "--field-selector", f"reason={reason}")
        return [event for event in events if event["involvedObject"]["name"].startswith(self.name)]

    def empty(self) -> bool:
        return not self.nodes() and not self.claims()

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self._start:6.1f} s {what}")

    def remove(self) -> None:
        selector = [job["metadata"]["name"] for job in self.yard.items("jobs", "-n", "default")]
        for name in selector:
            if name.startswith(self.name):
                self.yard.kubectl("delete", "job", name, "-n", "default", "--wait=false")
        self.yard.kubectl("delete", "nodepool", self.name, "--wait=false")
        self.yard.wait("the pool to be empty", self.empty)


@pytest.fixture
def pool(yard: Yard) -> Iterator[Pool]:
    deployment = yard.get("deployment", "trainyard-operator", "-n", SYSTEM)
    pool = Pool(yard, image=trainer_image(deployment))
    pool.create()
    yield pool
    pool.remove()


def trainer_image(deployment: Json) -> str:
    """Find the trainer image that the operator gives to runs."""
    texts = json.dumps(deployment).replace("\\", "").split('"')
    return next(text for text in texts if text.startswith("localhost/trainyard-trainer:"))


def machines(cluster: layout.Yard) -> list[str]:
    """Return the pool's machines that the cluster's machine tells of."""
    return [name for name in machine_of(cluster).programs() if name.startswith("pool-") and name != "pool-agent"]


def machine_of(cluster: layout.Yard) -> Machine:
    """Return the cluster's machine."""
    return Machine(yard=cluster, names=Names.of(cluster.checkout))


def about(pid: int, file: str) -> str:
    """Return what the kernel says of a process; nothing once it is gone."""
    try:
        return Path("/proc", str(pid), file).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def kubelets(cluster: layout.Yard, machine: str) -> set[int]:
    """Return the process ids of a machine's kubelet."""
    processes = Cgroup(f"{Names.of(cluster.checkout).cgroup}/{machine}").processes()
    return {pid for pid in processes if about(pid, "comm") == "kubelet\n"}


def pid_of(cluster: layout.Yard, program: str) -> int:
    """Return the process id of a program of the cluster's machine as this process sees it."""
    inside = machine_of(cluster).programs()[program].pid
    for pid in Cgroup(Names.of(cluster.checkout).cgroup).processes():
        numbers = re.search(r"^NSpid:(.*)$", about(pid, "status"), re.MULTILINE)
        if numbers and numbers[1].split()[1:] == [str(inside)]:
            return pid
    raise AssertionError(f"{program} does not run")


def leftovers(cluster: layout.Yard) -> list[str]:
    """Return what there still is of any machine of the pool."""
    cgroup = Names.of(cluster.checkout).cgroup
    found = machines(cluster)
    found += [str(path) for h in Cgroup(cgroup).hierarchies for path in (h / cgroup).glob("pool-*")]
    found += [str(path) for path in (cluster.machine / "pool").iterdir() if path.name.isdecimal()]
    return found


def test_a_pool_grows_for_a_pod_and_is_empty_again(pool: Pool, yard: Yard, cluster: layout.Yard):
    assert pool.empty()
    job = pool.job(SAYS_WHEN)
    node = yard.wait("a Node", pool.nodes)[0]["metadata"]["name"]
    pool.say("Node object")
    yard.kubectl("wait", f"node/{node}", "--for=condition=Ready", "--timeout=420s")
    pool.say("Node Ready")
    pod = pool.running(job)["metadata"]["name"]
    pool.say("pod running")
    offered = yard.get("node", node)["status"]["allocatable"]
    command = f"echo from within && touch {TOLD}"
    assert yard.kubectl("exec", "-n", "default", pod, "--", "sh", "-c", command).strip() == "from within"
    yard.kubectl("wait", f"job/{job}", "-n", "default", "--for=condition=Complete", "--timeout=420s")
    pool.say("pod succeeded")
    assert yard.kubectl("logs", "-n", "default", pod).split() == ["ready", "done"]
    small = next(size for size in sizes.read() if size.name == "SMALL")
    # Karpenter counts with 100m and 10Mi for the kubelet.
    assert round(sizes.quantity(offered["cpu"]) * 1000) == small.millicores - 100
    assert sizes.quantity(offered["memory"]) == small.memory_bytes - 10 * 2**20
    yard.wait("the pool to be empty", pool.empty)
    pool.say("no Node, no NodeClaim")
    yard.wait("nothing of the machine to be left", lambda: not leftovers(cluster))
    pool.say("no process, cgroup or folder")


def test_a_pod_comes_to_a_new_node_when_karpenters_taint_has_been_gone_for_a_while(pool: Pool, yard: Yard):
    both, ours = {UNREGISTERED, UNINITIALIZED}, {UNINITIALIZED}
    since = json.loads(yard.kubectl("get", "--raw", "/api/v1/nodes"))["metadata"]["resourceVersion"]
    job = pool.job("print('here')")
    yard.kubectl("wait", f"job/{job}", "-n", "default", "--for=condition=Complete", "--timeout=420s")

    def happened(path: str, selector: str) -> list[Json]:
        query = f"labelSelector={selector}&watch=true&resourceVersion={since}&timeoutSeconds=2"
        return [json.loads(line)["object"] for line in yard.kubectl("get", "--raw", f"{path}?{query}").splitlines()]

    def to_node() -> list[tuple[int, set[str]]] | None:
        found: list[tuple[int, set[str]]] = []
        for node in happened("/api/v1/nodes", f"karpenter.sh/nodepool={pool.name}"):
            taints = {taint["key"] for taint in node["spec"].get("taints", [])} & both
            if not found or found[-1][1] != taints:
                found.append((int(node["metadata"]["resourceVersion"]), taints))
        return found if found and not found[-1][1] else None

    def bound() -> list[int]:
        pods = happened("/api/v1/namespaces/default/pods", f"job-name={job}")
        return [int(pod["metadata"]["resourceVersion"]) for pod in pods if pod["spec"].get("nodeName")]

    story = yard.wait("what happened to the Node", to_node)
    assert [taints for _, taints in story] == [both, ours, set()]
    assert yard.wait("what happened to the pod", bound)[0] > story[-1][0]


def test_a_machine_that_dies_is_gone_at_once_and_its_objects_soon_after(
    pool: Pool, yard: Yard, cluster: layout.Yard, configure
):
    configure(removalSeconds="15")
    job = pool.job("import time; time.sleep(600)")
    node = pool.running(job)["spec"]["nodeName"]
    pool.say("pod running")
    pool.order(node, "die")
    yard.wait("the machine to end", lambda: not machines(cluster))
    pool.say("machine dead")
    assert node in [found["metadata"]["name"] for found in pool.nodes()]
    yard.kubectl("delete", "job", job, "-n", "default", "--wait=false")
    yard.wait("its objects to go", pool.empty)
    pool.say("no Node, no NodeClaim")


def test_a_machine_that_does_not_boot_leaves_its_node_not_ready(
    pool: Pool, yard: Yard, cluster: layout.Yard, configure
):
    configure(boot="fail")
    job = pool.job("print('at last')")
    node = yard.wait("a Node", pool.nodes)[0]["metadata"]["name"]
    waited = yard.kubectl("wait", f"node/{node}", "--for=condition=Ready", "--timeout=3s", check=False)
    assert "timed out" in waited
    assert machines(cluster) == []
    configure(bootDelaySeconds="1")
    yard.kubectl("wait", f"job/{job}", "--for=condition=Complete", "--timeout=420s")
    pool.say("pod succeeded")


def test_machines_survive_their_agent_and_kubelets_are_started_again(pool: Pool, yard: Yard, cluster: layout.Yard):
    job = pool.job("import time; time.sleep(600)")
    pod = pool.running(job)["metadata"]["name"]
    (machine,) = machines(cluster)
    os.kill(*kubelets(cluster, machine), signal.SIGKILL)
    os.kill(pid_of(cluster, "pool-agent"), signal.SIGKILL)
    before = machine_of(cluster).programs()[machine].pid
    yard.wait("another kubelet", lambda: kubelets(cluster, machine))
    assert devcluster("up") == 0
    pool.say("another agent")
    assert machine_of(cluster).programs()[machine].pid == before
    yard.wait("the kubelet to answer", lambda: "ok" in yard.kubectl("exec", pod, "--", "echo", "ok", check=False))
    os.kill(pid_of(cluster, "pool-agent"), signal.SIGKILL)
    yard.kubectl("delete", "job", job, "--wait=false")
    yard.kubectl("delete", "nodes", "-l", f"karpenter.sh/nodepool={pool.name}")
    assert devcluster("up") == 0
    yard.wait("what the agent missed to be cleaned up", lambda: not leftovers(cluster))
    pool.say("nothing left")


def test_a_reclaimed_machine_is_drained_after_its_notice(pool: Pool, yard: Yard, configure):
    configure(reclaimNoticeSeconds="2")
    job = pool.job("import time; time.sleep(600)")
    first = pool.running(job)
    node = first["spec"]["nodeName"]
    pool.order(node, "reclaim")

    def taints() -> str:
        return json.dumps(yard.get("node", node)["spec"].get("taints"))

    yard.wait("the notice", lambda: "spot-itn" in taints())
    pool.say("notice")
    yard.wait("the drain", lambda: first["metadata"]["uid"] not in [p["metadata"]["uid"] for p in pool.pods(job)])
    pool.say("drained")
    yard.wait("the Node to go", lambda: node not in [n["metadata"]["name"] for n in pool.nodes()])
    pool.say("Node gone")


def test_a_provider_without_capacity_says_so_and_recovers(pool: Pool, yard: Yard, configure):
    configure(stockout="true")
    annotations = ("configmap", "pool-agent", "-n", "kube-system", "-o", "jsonpath={.metadata.annotations}")
    yard.wait(
        "the stockout to begin",
        lambda: '"trainyard.dev/pool-agent-stockout":"true"' in yard.kubectl("get", *annotations),
    )
    job = pool.job("print('at last')")
    refused = yard.wait("the provider's words", lambda: pool.events("InsufficientCapacityError"))
    pool.say(refused[0]["message"])
    assert "insufficient-capacity" in refused[0]["message"]
    assert pool.nodes() == []
    configure()
    yard.kubectl("wait", f"job/{job}", "-n", "default", "--for=condition=Complete", "--timeout=420s")
    pool.say("pod succeeded")
