"""Command lines of the control plane, as pure functions of where things are."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from devcluster.layout import Yard, write_atomically
from devcluster.names import Addresses
from devcluster.pki import Pki, Subject

# Inside the machine's own network namespace nobody else can have them.
PORTS = {"api": 6443, "etcd": 2379, "etcd-peer": 2380}
OPERATOR_NAMESPACE = "trainyard-system"
# Whoever has a service account in the namespace `people` works in `default` as a user of Trainyard.
USERS = "system:serviceaccounts:people"
KUBELET_USER = "kubelet"
CLIENT_QPS = ("--kube-api-qps=500", "--kube-api-burst=1000")


@dataclass(frozen=True)
class Component:
    """One program to run: its name, which is also its log's, its command line and what it adds to the environment."""

    name: str
    argv: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    # Files whose change means that the program has to be started again.
    files: tuple[Path, ...] = ()

    @property
    def digest(self) -> str:
        """What decides how the program runs: a running one with another digest is out of date."""
        contents = [path.read_text(encoding="utf-8") for path in self.files]
        text = json.dumps([self.argv, sorted(self.environment.items()), contents])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class ControlPlaneLayout:
    """Where a control plane keeps its files and which addresses it has.

    Parameters
    ----------
    home
        Folder of its own.
    host
        Address that clients outside use.
    ports
        ``api``, ``etcd`` and ``etcd-peer``.
    service_subnet
        Addresses of Services.
    bind
        Address that the API server listens on.
    """

    home: Path
    host: str
    ports: dict[str, int]
    service_subnet: str
    service_address: str
    bind: str

    @classmethod
    def embedded(cls, *, yard: Yard, addresses: Addresses) -> ControlPlaneLayout:
        """Lay out the control plane of a checkout's own machine."""
        return cls(
            home=yard.control_plane,
            host=addresses.machine,
            bind="0.0.0.0",
            ports=PORTS,
            service_subnet=str(addresses.services),
            service_address=addresses.apiserver,
        )

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://{self.host}:{self.ports['api']}"

    @property
    def etcd(self) -> str:
        """URL of etcd."""
        return f"http://127.0.0.1:{self.ports['etcd']}"

    @property
    def pki(self) -> Pki:
        """Keys and certificates."""
        return Pki(folder=self.home / "pki")

    @property
    def audit_policy(self) -> Path:
        """Path of the audit policy."""
        return self.home / "audit-policy.yaml"

    def kubeconfig(self, user: str) -> Path:
        """Path of a user's kubeconfig."""
        return self.home / f"{user}.kubeconfig"

    def subjects(self, *, node: str) -> tuple[Subject, ...]:
        """Who needs a certificate."""
        names = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        hosts = dict.fromkeys(
            [*names, "kubernetes.default.svc.cluster.local", "127.0.0.1", self.host, self.service_address]
        )
        return (
            Subject(file="apiserver", common_name="kube-apiserver", hosts=tuple(hosts)),
            Subject(file="admin", common_name="admin", organization="system:masters"),
            Subject(file="controller-manager", common_name="system:kube-controller-manager"),
            Subject(file="scheduler", common_name="system:kube-scheduler"),
            Subject(
                file=KUBELET_USER,
                common_name=f"system:node:{node}",
                organization="system:nodes",
                hosts=(node, self.host),
            ),
        )


def audit_policy() -> dict[str, Any]:
    """Record what the operator and the users of Trainyard asked for, and nothing of Kubernetes' own traffic."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata", "userGroups": [f"system:serviceaccounts:{OPERATOR_NAMESPACE}", USERS]},
            {"level": "None"},
        ],
    }


def write_audit_policy(layout: ControlPlaneLayout) -> None:
    """Write the audit policy where the API server looks for it."""
    write_atomically(layout.audit_policy, yaml.safe_dump(audit_policy()))


def etcd(layout: ControlPlaneLayout, programs: dict[str, Path]) -> Component:
    """Run etcd on loopback. It never waits for the disk: the cluster is not meant to survive a power cut."""
    peer = f"http://127.0.0.1:{layout.ports['etcd-peer']}"
    return Component(
        name="etcd",
        argv=(
            str(programs["etcd"]),
            f"--data-dir={layout.home / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={layout.etcd}",
            f"--advertise-client-urls={layout.etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        ),
    )


def apiserver(layout: ControlPlaneLayout, programs: dict[str, Path], *, audit_log: Path) -> Component:
    """Run the API server."""
    pki = layout.pki
    return Component(
        name="kube-apiserver",
        argv=(
            str(programs["kube-apiserver"]),
            f"--etcd-servers={layout.etcd}",
            f"--bind-address={layout.bind}",
            f"--secure-port={layout.ports['api']}",
            f"--advertise-address={layout.host}",
            # The lease of a killed API server would keep its address in the Service for a while.
            "--endpoint-reconciler-type=none"
            if layout.host == "127.0.0.1"
            else "--endpoint-reconciler-type=master-count",
            f"--client-ca-file={pki.authority}",
            f"--tls-cert-file={pki.certificate('apiserver')}",
            f"--tls-private-key-file={pki.key('apiserver')}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki.folder / 'sa.pub'}",
            f"--service-account-signing-key-file={pki.key('sa')}",
            f"--service-cluster-ip-range={layout.service_subnet}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            # Nodes of a pool are known by their address alone; no DNS knows their names.
            "--kubelet-preferred-address-types=InternalIP,Hostname",
            f"--kubelet-client-certificate={pki.certificate('admin')}",
            f"--kubelet-client-key={pki.key('admin')}",
            f"--audit-policy-file={layout.audit_policy}",
            f"--audit-log-path={audit_log}",
            "--audit-log-maxsize=100",
            "--audit-log-maxbackup=2",
        ),
        files=(layout.audit_policy,),
    )


def controller_manager(layout: ControlPlaneLayout, programs: dict[str, Path]) -> Component:
    """Run the controllers of Kubernetes."""
    return Component(
        name="kube-controller-manager",
        argv=(
            str(programs["kube-controller-manager"]),
            f"--kubeconfig={layout.kubeconfig('controller-manager')}",
            f"--service-account-private-key-file={layout.pki.key('sa')}",
            f"--root-ca-file={layout.pki.authority}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={layout.ports.get('controller-manager', 10257)}",
            *CLIENT_QPS,
        ),
    )


def scheduler(layout: ControlPlaneLayout, programs: dict[str, Path]) -> Component:
    """Run the scheduler."""
    return Component(
        name="kube-scheduler",
        argv=(
            str(programs["kube-scheduler"]),
            f"--kubeconfig={layout.kubeconfig('scheduler')}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            *CLIENT_QPS,
        ),
    )
