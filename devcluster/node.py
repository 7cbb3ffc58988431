"""The node: containerd, the kubelet, kube-proxy and DNS, each as configuration files and a command line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from devcluster import components
from devcluster.components import Component
from devcluster.errors import DevclusterError
from devcluster.layout import write_atomically

if TYPE_CHECKING:
    from devcluster.components import ControlPlaneLayout
    from devcluster.names import Addresses, Range

NAME = "node-0"
DOMAIN = "cluster.local"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
PLUGIN_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
NEEDED_PLUGINS = ("ptp", "host-local", "loopback")


@dataclass(frozen=True)
class NodeLayout:
    """Where a node keeps its files and what it is told of the cluster."""

    home: Path
    addresses: Addresses
    control_plane: ControlPlaneLayout
    cgroup_root: str
    pause_image: str
    plugins: str
    resolvers: list[str]
    pod_range: Range

    def file(self, name: str) -> Path:
        """Path of a configuration file."""
        return self.home / name


def find_plugins() -> str:
    """Find the folder of CNI plugins."""
    for folder in PLUGIN_FOLDERS:
        if all(Path(folder, plugin).exists() for plugin in NEEDED_PLUGINS):
            return folder
    raise DevclusterError(
        f"no folder of {', '.join(PLUGIN_FOLDERS)} has the CNI plugins {', '.join(NEEDED_PLUGINS)}; "
        "install containernetworking-plugins"
    )


def cni_configuration(layout: NodeLayout) -> dict[str, Any]:
    """Routed veth pairs: no bridge, so that Services work without br_netfilter, a module that not every kernel has."""
    first, last = layout.pod_range
    return {
        "cniVersion": "1.0.0",
        "name": "trainyard",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": str(layout.addresses.pods), "rangeStart": first, "rangeEnd": last}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": "/run/cni-addresses",
                },
            }
        ],
    }


def containerd_configuration(layout: NodeLayout) -> str:
    """Configure containerd, in its own format."""
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{layout.pause_image}"
  # Without CAP_SYS_RESOURCE, as in some virtual machines, no sandbox could lower its score.
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{layout.plugins}"
  conf_dir = "{layout.home / "cni"}"
"""


def kubelet_configuration(layout: NodeLayout) -> dict[str, Any]:
    """Configure the kubelet."""
    pki = layout.control_plane.pki
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.addresses.machine,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(pki.authority)},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": layout.cgroup_root,
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "tlsCertFile": str(pki.certificate(components.KUBELET_USER)),
        "tlsPrivateKeyFile": str(pki.key(components.KUBELET_USER)),
        "clusterDNS": [layout.addresses.machine],
        "clusterDomain": DOMAIN,
        "resolvConf": str(layout.file("resolv.conf")),
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "serializeImagePulls": False,
        # The disk is the host's and may be rather full; images that are collected could not be pulled again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    }


def proxy_configuration(layout: NodeLayout) -> dict[str, Any]:
    """Configure kube-proxy."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": str(layout.addresses.pods),
        "clientConnection": {"kubeconfig": str(layout.control_plane.kubeconfig("admin"))},
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
        # Limits of the whole host's connection tracking are not ours to set.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }


def dns_configuration(layout: NodeLayout) -> str:
    """Corefile: the cluster's names, and the host's name servers for all others."""
    forward = f"    forward . {' '.join(layout.resolvers)}\n    cache 30\n" if layout.resolvers else ""
    return f""".:53 {{
    bind {layout.addresses.machine}
    errors
    ready 127.0.0.1:8181
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {layout.control_plane.kubeconfig("admin")}
        fallthrough in-addr.arpa
    }}
{forward}}}
"""


def write_configuration(layout: NodeLayout) -> None:
    """Write every file that the node's programs read."""
    documents: dict[str, str] = {
        "cni/10-trainyard.conflist": json.dumps(cni_configuration(layout), indent=2),
        "containerd.toml": containerd_configuration(layout),
        "kubelet.yaml": yaml.safe_dump(kubelet_configuration(layout)),
        "kube-proxy.yaml": yaml.safe_dump(proxy_configuration(layout)),
        "Corefile": dns_configuration(layout),
        "resolv.conf": "".join(f"nameserver {server}\n" for server in layout.resolvers),
    }
    for name, text in documents.items():
        write_atomically(layout.file(name), text)


def containerd(layout: NodeLayout) -> Component:
    """Run the container runtime."""
    file = layout.file("containerd.toml")
    return Component(name="containerd", argv=("containerd", "--config", str(file)), files=(file,))


def kubelet(layout: NodeLayout, programs: dict[str, Path]) -> Component:
    """Run the kubelet."""
    file = layout.file("kubelet.yaml")
    return Component(
        name="kubelet",
        argv=(
            str(programs["kubelet"]),
            f"--config={file}",
            f"--kubeconfig={layout.control_plane.kubeconfig(components.KUBELET_USER)}",
            "--root-dir=/var/lib/kubelet",
            f"--hostname-override={NAME}",
            f"--node-ip={layout.addresses.machine}",
        ),
        files=(file,),
    )


def kube_proxy(layout: NodeLayout, programs: dict[str, Path]) -> Component:
    """Run what makes addresses of Services work."""
    file = layout.file("kube-proxy.yaml")
    return Component(
        name="kube-proxy",
        argv=(str(programs["kube-proxy"]), f"--config={file}", f"--hostname-override={NAME}"),
        files=(file,),
    )


def coredns(layout: NodeLayout, programs: dict[str, Path]) -> Component:
    """Run the cluster's DNS, as a process beside the kubelet."""
    file = layout.file("Corefile")
    return Component(name="coredns", argv=(str(programs["coredns"]), "-conf", str(file)), files=(file,))
