"""The whole embedded cluster: up, down, and what it is doing now.

Every step of `up` looks at what is there and does the rest, so it may be killed at any moment and run again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from devcluster import (
    builders,
    chart,
    components,
    karpenter,
    kubeconfig,
    network,
    node,
    pki,
    programs,
    requirements,
    sizes,
)
from devcluster.apiclient import ApiClient
from devcluster.components import OPERATOR_NAMESPACE, ControlPlaneLayout
from devcluster.errors import DevclusterError
from devcluster.images import Workshop
from devcluster.layout import Cache, Yard, read_json, write_atomically
from devcluster.locks import locked
from devcluster.machine import Machine
from devcluster.names import Addresses, Names, choose_addresses
from devcluster.node import NodeLayout
from devcluster.pool import fleet
from devcluster.pool import settings as pool
from devcluster.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from devcluster.images import Image
    from devcluster.machine import Program
    from devcluster.progress import Progress

READY_SECONDS = 120
PEOPLES_PROGRAMS = ("kubectl", "helm")
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@dataclass(frozen=True)
class Status:
    """What `status` tells."""

    addresses: Addresses
    programs: dict[str, Program]
    pool_nodes: dict[str, str]


class Cluster:
    """The embedded cluster of a checkout.

    Parameters
    ----------
    yard
        The checkout's folder.
    cache
        What all checkouts share.
    progress
        Where to tell what is going on.
    """

    def __init__(self, *, yard: Yard, cache: Cache, progress: Progress) -> None:
        self._yard = yard
        self._cache = cache
        self._progress = progress
        self._names = Names.of(yard.checkout)
        self._machine = Machine(yard=yard, names=self._names)

    def up(self) -> None:
        """Bring everything up, or up to date."""
        requirements.ensure(progress=self._progress)
        with self._locked():
            paths = programs.ensure(cache=self._cache, progress=self._progress)
            workshop = Workshop(cache=self._cache, builder=builders.choose(cache=self._cache), progress=self._progress)
            pause, images = workshop.pause(), _build_images(workshop, paths)
            addresses = self._machine_up()
            self._control_plane_up(addresses, paths)
            installation = karpenter.Installation(paths=paths, kubeconfig=self._yard.kubeconfig)
            settings = self._pool_settings(addresses, paths, pause=pause, trainer=images.trainer)
            self._node_up(settings, paths, pause=pause, trainer=images.trainer)
            for image in (images.operator, images.trainer, images.store):
                self._import(image)
            self._pool_up(settings, paths, installation)
            self._link_programs(paths)
            self._prepare_namespaces(paths["kubectl"])
            self._chart_up(paths, images)
        self._progress.say(f"up: export KUBECONFIG={self._yard.kubeconfig}")

    def down(self) -> None:
        """Take everything down and leave nothing but logs and the cache."""
        with self._locked():
            self._wipe()
            network.restore_forwarding(cache=self._cache)
        self._progress.say("down")

    def status(self) -> Status | None:
        """Tell what runs; None where nothing does."""
        if self._machine.pid is None:
            return None
        folder = self._yard.machine / pool.FOLDER
        return Status(
            addresses=self._remembered() or Addresses(octet=0),
            programs=self._machine.programs(),
            pool_nodes={
                pool.Slot(folder=folder, index=record.index).program: record.name
                for record in fleet.records(folder).values()
            },
        )

    def _locked(self) -> AbstractContextManager[None]:
        return locked(
            self._yard.root / "lock",
            waiting=lambda: self._progress.say("another command works on this cluster; waiting ..."),
        )

    def _wipe(self) -> None:
        self._machine.destroy()
        shutil.rmtree(self._yard.control_plane, ignore_errors=True)
        shutil.rmtree(self._yard.bin, ignore_errors=True)
        for path in (self._yard.kubeconfig, self._yard.state):
            path.unlink(missing_ok=True)

    def _remembered(self) -> Addresses | None:
        state = read_json(self._yard.state)
        # A copied checkout brings the state of the one that it was copied from.
        if state.get("checkout") != str(self._yard.checkout) or not isinstance(state.get("octet"), int):
            return None
        return Addresses(octet=state["octet"])

    def _machine_up(self) -> Addresses:
        addresses, pid = self._remembered(), self._machine.pid
        if pid is None or addresses is None:
            with self._progress.step("removing what an earlier cluster left", "earlier cluster removed"):
                self._wipe()
            shutil.rmtree(self._yard.log, ignore_errors=True)
            addresses = choose_addresses(preferred=self._names.preferred_octet, taken=network.used_networks())
            state = {"checkout": str(self._yard.checkout), "octet": addresses.octet}
            write_atomically(self._yard.state, json.dumps(state) + "\n")
            self._machine.create()
            pid = self._machine.pid
        if pid is None:
            raise DevclusterError(f"the cluster's first process ended at once; see {self._yard.log / 'machine.log'}")
        network.allow_forwarding(cache=self._cache)
        network.connect(names=self._names, addresses=addresses, pid=pid)
        return addresses

    def _control_plane_up(self, addresses: Addresses, paths: dict[str, Path]) -> None:
        layout = ControlPlaneLayout.embedded(yard=self._yard, addresses=addresses)
        certificates = pki.create(layout.pki.folder, layout.subjects(node=node.NAME))
        for user in ("admin", "controller-manager", "scheduler", components.KUBELET_USER):
            content = kubeconfig.document(server=layout.server, pki=certificates, user=user, context="trainyard")
            kubeconfig.write(layout.kubeconfig(user), content)
            if user == "admin":
                kubeconfig.write(self._yard.kubeconfig, content)
        components.write_audit_policy(layout)
        client = ApiClient(server=layout.server, pki=certificates)
        with self._progress.step("starting the control plane", "control plane ready"):
            self._machine.ensure(components.etcd(layout, paths))
            audit_log = self._yard.log / "audit.log"
            self._machine.ensure(components.apiserver(layout, paths, audit_log=audit_log))
            self._wait(client.ready, what="the API server", programs=("etcd", "kube-apiserver"))
            self._machine.ensure(components.controller_manager(layout, paths))
            self._machine.ensure(components.scheduler(layout, paths))

    def _node_up(self, settings: pool.Settings, paths: dict[str, Path], *, pause: Image, trainer: Image) -> None:
        control_plane = settings.control_plane
        layout = NodeLayout(
            home=self._yard.machine,
            addresses=settings.addresses,
            control_plane=control_plane,
            cgroup_root=self._machine.cgroup.pods,
            pause_image=pause.reference,
            plugins=settings.plugins,
            resolvers=settings.resolvers,
            pod_range=settings.addresses.fixed_pods,
        )
        node.write_configuration(layout)
        client = ApiClient(server=control_plane.server, pki=control_plane.pki)
        self._containerd_up(layout)
        self._import(pause)
        if "kubelet" not in self._machine.programs() and not settings.template.exists():
            # Machines of the pool take over what has been unpacked here, as long as there is nothing else.
            self._import(trainer)
            self._machine.stop("containerd")
            fleet.take_template(containerd=self._yard.machine / "containerd", template=settings.template)
            self._containerd_up(layout)
        with self._progress.step("starting the node", "node ready"):
            self._machine.ensure(node.kubelet(layout, paths))
            self._machine.ensure(node.kube_proxy(layout, paths))
            self._machine.ensure(node.coredns(layout, paths))
            self._wait(
                lambda: _node_ready(client), what="the node to be Ready", programs=("kubelet", "kube-proxy", "coredns")
            )

    def _containerd_up(self, layout: NodeLayout) -> None:
        self._machine.ensure(node.containerd(layout))
        self._wait(self._containerd_answers, what="containerd", programs=("containerd",))

    def _pool_settings(
        self, addresses: Addresses, paths: dict[str, Path], *, pause: Image, trainer: Image
    ) -> pool.Settings:
        return pool.Settings(
            checkout=self._yard.checkout,
            octet=addresses.octet,
            kubelet=paths["kubelet"],
            pause_image=pause.reference,
            images={image.reference: image.archive for image in (pause, trainer)},
            sizes=sizes.read(),
            plugins=node.find_plugins(),
            resolvers=network.host_resolvers(),
        )

    def _pool_up(self, settings: pool.Settings, paths: dict[str, Path], installation: karpenter.Installation) -> None:
        # Neither is waited for: nobody needs a machine yet.
        with self._progress.step("starting Karpenter", "Karpenter started"):
            installation.finish()
            karpenter.write_instance_types(self._yard.machine)
            self._machine.ensure(karpenter.component(settings.control_plane, paths, home=self._yard.machine))
            settings.write()
            self._machine.ensure(pool.component(settings))

    def _wait(self, condition: Callable[[], bool], *, what: str, programs: tuple[str, ...]) -> None:
        def holds() -> bool:
            for name in programs:
                self._machine.check(name)
            return condition()

        wait_for(holds, what=what, timeout=READY_SECONDS, hint=lambda: self._machine.tail(programs[0]))

    def _containerd_answers(self) -> bool:
        try:
            self._ctr("version")
        except DevclusterError:
            return False
        return True

    def _ctr(self, *arguments: str) -> str:
        return self._machine.run("ctr", f"--address={node.CONTAINERD_SOCKET}", "--namespace=k8s.io", *arguments)

    def _import(self, image: Image) -> None:
        if image.reference in self._ctr("images", "list", "--quiet").split():
            return
        with self._progress.step(f"importing image {image.name}", f"image {image.name} imported"):
            self._ctr("images", "import", str(image.archive))

    def _link_programs(self, paths: dict[str, Path]) -> None:
        self._yard.bin.mkdir(parents=True, exist_ok=True)
        for name in PEOPLES_PROGRAMS:
            temporary = self._yard.bin / f".{name}.new"
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(paths[name])
            temporary.rename(self._yard.bin / name)

    def _prepare_namespaces(self, kubectl: Path) -> None:
        # What the chart's object store claims. A volume on the host is not given to a pod's group, and the kubelet
        # makes the folder that the store mounts of it with this folder's mode: hence anybody's, as on k3s and kind.
        volume = self._yard.machine / "object-store"
        volume.mkdir(exist_ok=True)
        volume.chmod(0o777)
        objects = [
            *(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
                for name in ("default", OPERATOR_NAMESPACE)
            ),
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": chart.SIGNING_SECRET, "namespace": OPERATOR_NAMESPACE},
                "stringData": {"key.pem": pki.pair(self._yard.machine, "models").read_text()},
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": "object-store"},
                "spec": {
                    "capacity": {"storage": "1Ti"},
                    "accessModes": ["ReadWriteOnce"],
                    "hostPath": {"path": str(volume), "type": "Directory"},
                },
            },
        ]
        command = [str(kubectl), f"--kubeconfig={self._yard.kubeconfig}", "apply", "--server-side", "--filename=-"]
        result = subprocess.run(command, input=yaml.safe_dump_all(objects), capture_output=True, text=True, check=False)
        if result.returncode:
            raise DevclusterError(f"the namespaces could not be made: {result.stderr.strip()}")

    def _chart_up(self, paths: dict[str, Path], images: chart.Images) -> None:
        with self._progress.step("installing the chart", "chart installed and running"):
            index = chart.index_arguments(settings=builders.pip_settings(), bundle=builders.certificates())
            chart.install(
                helm=paths["helm"], kubeconfig=self._yard.kubeconfig, values=chart.values(images), arguments=index
            )
            command = [
                str(paths["kubectl"]),
                f"--kubeconfig={self._yard.kubeconfig}",
                f"--namespace={OPERATOR_NAMESPACE}",
            ]
            rollout = subprocess.run(
                [*command, "rollout", "status", "deployment", f"--timeout={chart.ROLLOUT_SECONDS}s"],
                capture_output=True,
                text=True,
                check=False,
            )
            if rollout.returncode:
                pods = subprocess.run([*command, "describe", "pods"], capture_output=True, text=True, check=False)
                (self._yard.log / "pods.log").write_text(pods.stdout, encoding="utf-8")
                raise DevclusterError(
                    f"the operator did not become ready: {rollout.stderr.strip()}\n"
                    f"what its pods say is in {self._yard.log / 'pods.log'}"
                )


def _build_images(workshop: Workshop, paths: dict[str, Path]) -> chart.Images:
    base = workshop.base()
    return chart.Images(
        operator=workshop.from_repository("trainyard-operator", dockerfile="operator/Dockerfile", base=base),
        trainer=workshop.from_repository("trainyard-trainer", dockerfile="trainer-image/Dockerfile", base=base),
        store=workshop.store(paths["versitygw"]),
    )


def _node_ready(client: ApiClient) -> bool:
    found = client.get(f"/api/v1/nodes/{node.NAME}") or {}
    conditions = found.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
