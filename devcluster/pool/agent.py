"""The loop of the pool's agent: look at the Nodes, decide, do.

It remembers nothing that is not in the API server or on disk, so it may be killed at any moment and started again.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from devcluster.apiclient import ApiClient
from devcluster.errors import DevclusterError
from devcluster.machine import Machine
from devcluster.pool import admission, joining, stockout
from devcluster.pool.fleet import Fleet
from devcluster.pool.options import CONFIG_MAP, NAMESPACE, ORDER, SINCE, STOCKOUT, Options, parse
from devcluster.pool.plan import PROVIDER, RECLAIM, Plan, PoolNode, claimed, plan, pool_nodes

if TYPE_CHECKING:
    from devcluster.pool.settings import Settings

NODES = "/api/v1/nodes"
CLAIMS = "/apis/karpenter.sh/v1/nodeclaims"
CONFIGURATION = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}"
WATCHED = (NODES, f"/api/v1/namespaces/{NAMESPACE}/configmaps?fieldSelector=metadata.name%3D{CONFIG_MAP}")
WATCH_SECONDS = 300
# Machines that end by themselves are no object of the API server: they are looked for now and then.
LOOK_SECONDS = 2.0
# As long as Nodes wait for the template.
SOON_SECONDS = 0.1
RETRY_SECONDS = 1.0
# The taint by which AWS's handler of interruptions announces that a spot machine is taken back.
RECLAIM_TAINT = {"key": "aws-node-termination-handler/spot-itn", "value": "", "effect": "NoSchedule"}


class Agent:
    """Makes machines for Nodes.

    Parameters
    ----------
    settings
        What it has to know.
    """

    def __init__(self, *, settings: Settings) -> None:
        control_plane = settings.control_plane
        self._client = ApiClient(server=control_plane.server, pki=control_plane.pki)
        self._fleet = Fleet(settings=settings, machine=Machine(yard=settings.yard, names=settings.names))
        self._something = threading.Event()
        self._stockout: bool | None = None

    def run(self) -> None:
        """Work until killed."""
        self._fleet.tidy()
        self._fleet.refresh()
        for path in WATCHED:
            threading.Thread(target=self._watch, args=(path,), daemon=True).start()
        while True:
            self._something.clear()
            try:
                pause = self._step()
            except (DevclusterError, OSError) as error:
                say(str(error))
                pause = RETRY_SECONDS
            self._something.wait(timeout=pause)

    def _watch(self, path: str) -> None:
        while True:
            try:
                for _ in self._client.watch(path, seconds=WATCH_SECONDS):
                    self._something.set()
            except DevclusterError:
                # While the API server is away; the loop says so.
                time.sleep(RETRY_SECONDS)

    def _step(self) -> float:
        prepared = self._fleet.prepare()
        options = parse((self._client.get(CONFIGURATION) or {}).get("data") or {})
        if self._stockout is None:
            # The first step.
            admission.apply(self._client, joining.documents(provider=PROVIDER))
        if options.stockout != self._stockout:
            stockout.apply(self._client, stockout=options.stockout)
            self._stockout = options.stockout
            metadata = {"annotations": {STOCKOUT: str(options.stockout).lower()}}
            self._client.patch(CONFIGURATION, {"metadata": metadata})
            say("the provider has no capacity" if options.stockout else "the provider has capacity")
        # Claims first: that of a Node is there before it.
        claims = claimed(self._items(CLAIMS))
        nodes = pool_nodes(self._items(NODES))
        machines = self._fleet.machines()
        decided = plan(nodes=nodes, claims=claims, machines=machines, options=options, now=time.time())
        self._carry_out(decided, options=options, prepared=prepared)
        if not prepared:
            return SOON_SECONDS
        due = LOOK_SECONDS if decided.due is None else decided.due - time.time()
        return min(LOOK_SECONDS, max(due, 0))

    def _items(self, path: str) -> list[dict[str, Any]]:
        return list((self._client.get(path) or {}).get("items", []))

    def _carry_out(self, decided: Plan, *, options: Options, prepared: bool) -> None:
        for node in decided.join:
            self._client.patch(f"{NODES}/{node.name}", node.next_step, kind="json")
            if joining.admits(node.next_step):
                say(f"{node.name}: may have pods {time.time() - node.created:.1f} s after its Node")
        for node in decided.power_off:
            say(f"{node.name}: cut off ({node.order})")
            self._fleet.power_off(node.uid)
        for uid in decided.remove:
            self._fleet.remove(uid)
            say(f"the machine of Node {uid} removed")
        for node in decided.begin:
            self._begin(node)
        for node in decided.drain:
            say(f"{node.name}: drained")
            self._delete_claim(node)
        for node in decided.release:
            self._release(node)
        for node in decided.start if prepared else []:
            self._fleet.start(node)
            say(f"{node.name}: started {time.time() - node.created:.1f} s after its Node")
        self._fleet.let_kubelets_restart(restart=options.restarts_kubelet)

    def _begin(self, node: PoolNode) -> None:
        say(f"{node.name}: {node.order} ordered")
        change: dict[str, object] = {"metadata": {"annotations": {ORDER: node.order, SINCE: f"{time.time():.3f}"}}}
        if node.order == RECLAIM:
            change["spec"] = {"taints": [RECLAIM_TAINT]}
        self._client.patch(f"{NODES}/{node.name}", change, kind="strategic")

    def _release(self, node: PoolNode) -> None:
        """Delete the objects of a machine that is no more, as a cloud's controller does.

        Kubernetes would take almost a minute to notice that the kubelet is silent, and Karpenter drains until then.
        """
        say(f"{node.name}: released")
        condition = {
            "type": "Ready",
            "status": "Unknown",
            "reason": "NodeStatusUnknown",
            "message": "The machine does not exist any more.",
        }
        self._client.patch(f"{NODES}/{node.name}/status", {"status": {"conditions": [condition]}}, kind="strategic")
        self._delete_claim(node)
        self._client.delete(f"{NODES}/{node.name}")

    def _delete_claim(self, node: PoolNode) -> None:
        for claim in self._items(CLAIMS):
            if claim.get("status", {}).get("providerID") == node.provider_id:
                self._client.delete(f"{CLAIMS}/{claim['metadata']['name']}")


def say(message: str) -> None:
    """Print one line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {message}", flush=True)
