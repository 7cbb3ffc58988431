"""The files of one machine of the pool."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from devcluster import kubeconfig
from devcluster.layout import write_atomically
from devcluster.node import NodeLayout, containerd_configuration, write_configuration
from devcluster.node import kubelet_configuration as fixed_configuration
from devcluster.pool import init
from devcluster.pool.plan import HOSTNAME

if TYPE_CHECKING:
    from devcluster.pool.plan import PoolNode
    from devcluster.pool.settings import Settings, Slot
    from devcluster.sizes import Size

# What Karpenter's kwok provider takes for the kubelet from every instance type.
PROVIDER_MILLICORES = 100
PROVIDER_BYTES = 10 * 2**20
# What the kubelet keeps free of memory before it evicts; see `node.kubelet_configuration`.
EVICTION_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Capacity:
    """What the computer has that all of this runs on."""

    millicores: int
    memory_bytes: int

    @classmethod
    def of_this_computer(cls) -> Capacity:
        """Ask the kernel."""
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return cls(millicores=(os.cpu_count() or 1) * 1000, memory_bytes=memory)


def reserved(size: Size | None, capacity: Capacity) -> dict[str, str]:
    """Hide so much of the computer that pods get what Karpenter expects of a machine of this size.

    A size that is larger than the computer hides nothing.
    """
    if size is None:
        return {}
    millicores = capacity.millicores - (size.millicores - PROVIDER_MILLICORES)
    memory = capacity.memory_bytes - EVICTION_BYTES - (size.memory_bytes - PROVIDER_BYTES)
    wanted = {"cpu": (millicores, f"{millicores}m"), "memory": (memory, str(memory))}
    return {resource: text for resource, (amount, text) in wanted.items() if amount > 0}


def layout(settings: Settings, slot: Slot, *, cgroup_root: str) -> NodeLayout:
    """Lay out the machine like the fixed node, but for its slice of the pods' addresses."""
    return NodeLayout(
        home=slot.home,
        addresses=settings.addresses,
        control_plane=settings.control_plane,
        cgroup_root=cgroup_root,
        pause_image=settings.pause_image,
        plugins=settings.plugins,
        resolvers=settings.resolvers,
        pod_range=settings.addresses.pool_pods(slot.index),
    )


def kubelet_configuration(
    node_layout: NodeLayout, slot: Slot, *, size: Size | None, capacity: Capacity
) -> dict[str, Any]:
    """Configure the kubelet."""
    return {
        **fixed_configuration(node_layout),
        "port": slot.kubelet_port,
        "healthzPort": slot.health_port,
        "kubeReserved": reserved(size, capacity),
    }


def kubelet_kubeconfig(settings: Settings, *, name: str) -> dict[str, Any]:
    """Let the kubelet act as its node: the names of these nodes are too long for a certificate."""
    control_plane = settings.control_plane
    document = kubeconfig.document(
        server=control_plane.server, pki=control_plane.pki, user="admin", context="trainyard"
    )
    document["users"][0]["user"] |= {"as": f"system:node:{name}", "as-groups": ["system:nodes"]}
    return document


def init_settings(
    settings: Settings, *, home: Path, program: str, template: Path | None, kubelet: list[str] | None
) -> dict[str, Any]:
    """Tell process 1 what to bring up."""
    return {
        "template": str(template / "containerd") if template else None,
        "containerd": ["containerd", "--config", str(home / "containerd.toml")],
        "images": {reference: str(archive) for reference, archive in settings.images.items()},
        "kubelet": kubelet,
        "log": str(settings.yard.log / program),
    }


def write(settings: Settings, slot: Slot, *, node: PoolNode, cgroup_root: str, template: Path | None) -> None:
    """Write every file of a Node's machine."""
    node_layout = layout(settings, slot, cgroup_root=cgroup_root)
    write_configuration(node_layout)
    kubelet = kubelet_configuration(
        node_layout,
        slot,
        size=next((known for known in settings.sizes if known.name == node.size), None),
        capacity=Capacity.of_this_computer(),
    )
    write_atomically(slot.home / "kubelet.yaml", yaml.safe_dump(kubelet))
    kubeconfig.write(slot.home / "kubeconfig", kubelet_kubeconfig(settings, name=node.name))
    argv = [
        str(settings.kubelet),
        f"--config={slot.home / 'kubelet.yaml'}",
        f"--kubeconfig={slot.home / 'kubeconfig'}",
        "--root-dir=/var/lib/kubelet",
        f"--hostname-override={node.name}",
        # The name of such a Node may be too long for a label's value, and the kubelet would make it one.
        f"--node-labels={HOSTNAME}={node.hostname}",
        f"--node-ip={settings.addresses.machine}",
    ]
    content = init_settings(settings, home=slot.home, program=slot.program, template=template, kubelet=argv)
    write_atomically(slot.home / init.SETTINGS, json.dumps(content))


def write_template(settings: Settings, home: Path, *, program: str) -> None:
    """Write the files of the machine that only unpacks the images, for all others to take over."""
    text = containerd_configuration(layout(settings, settings.slot(0), cgroup_root="/"))
    write_atomically(home / "containerd.toml", text)
    content = init_settings(settings, home=home, program=program, template=None, kubelet=None)
    write_atomically(home / init.SETTINGS, json.dumps(content))
