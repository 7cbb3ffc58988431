from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from devcluster import components, node
from devcluster.components import Component, ControlPlaneLayout
from devcluster.names import Addresses
from devcluster.node import NodeLayout

ADDRESSES = Addresses(octet=77)
PROGRAMS = {name: Path("/programs", name) for name in ("etcd", "kube-apiserver", "kubelet", "kube-proxy", "coredns")}


@pytest.fixture
def layout(tmp_path: Path) -> ControlPlaneLayout:
    return ControlPlaneLayout(
        home=tmp_path,
        host=ADDRESSES.machine,
        bind="0.0.0.0",
        ports={"api": 6443, "etcd": 2379, "etcd-peer": 2380},
        service_subnet=str(ADDRESSES.services),
        service_address=ADDRESSES.apiserver,
    )


@pytest.fixture
def node_layout(layout: ControlPlaneLayout, tmp_path: Path) -> NodeLayout:
    return NodeLayout(
        home=tmp_path,
        addresses=ADDRESSES,
        control_plane=layout,
        cgroup_root="/trainyard-x/pods",
        pause_image="localhost/pause:1",
        plugins="/usr/lib/cni",
        resolvers=["192.0.2.53"],
        pod_range=ADDRESSES.fixed_pods,
    )


def test_etcd_is_reached_from_this_machine_only(layout: ControlPlaneLayout):
    urls = [argument for argument in components.etcd(layout, PROGRAMS).argv if "http" in argument]
    assert urls
    assert all("http://127.0.0.1:" in url for url in urls)


def test_the_api_server_is_announced_where_pods_reach_it(layout: ControlPlaneLayout):
    component = components.apiserver(layout, PROGRAMS, audit_log=Path("/log/audit.log"))
    assert "--advertise-address=10.77.255.2" in component.argv
    assert "--service-cluster-ip-range=10.77.64.0/18" in component.argv
    assert "--audit-log-path=/log/audit.log" in component.argv
    server = next(subject for subject in layout.subjects(node="n") if subject.file == "apiserver")
    assert {"10.77.64.1", "10.77.255.2", "127.0.0.1", "kubernetes.default.svc"} <= set(server.hosts)


def test_the_operator_and_its_users_are_audited_and_without_the_requests_arrival(layout: ControlPlaneLayout):
    components.write_audit_policy(layout)
    policy = yaml.safe_load(layout.audit_policy.read_text())
    assert policy["omitStages"] == ["RequestReceived"]
    assert policy["rules"] == [
        {
            "level": "Metadata",
            "userGroups": ["system:serviceaccounts:trainyard-system", "system:serviceaccounts:people"],
        },
        {"level": "None"},
    ]


def test_a_program_is_out_of_date_when_its_command_line_or_a_file_of_its_changed(tmp_path: Path):
    file = tmp_path / "settings"
    file.write_text("1")
    one = Component(name="p", argv=("p", "--a"), files=(file,))
    before = one.digest
    assert Component(name="p", argv=("p", "--a"), files=(file,)).digest == before
    assert Component(name="p", argv=("p", "--b"), files=(file,)).digest != before
    file.write_text("2")
    assert one.digest != before


def test_every_file_that_a_program_of_the_node_names_is_written(node_layout: NodeLayout):
    node.write_configuration(node_layout)
    for component in (
        node.containerd(node_layout),
        node.kubelet(node_layout, PROGRAMS),
        node.kube_proxy(node_layout, PROGRAMS),
        node.coredns(node_layout, PROGRAMS),
    ):
        assert component.files
        assert all(file.read_text() for file in component.files)
    assert Path(node.kubelet_configuration(node_layout)["resolvConf"]).read_text() == "nameserver 192.0.2.53\n"


def test_the_kubelet_keeps_images_that_could_not_be_pulled_again_and_stays_in_its_cgroup(node_layout: NodeLayout):
    settings = node.kubelet_configuration(node_layout)
    assert settings["imageGCHighThresholdPercent"] == 100
    assert settings["cgroupRoot"] == "/trainyard-x/pods"
    assert settings["clusterDNS"] == ["10.77.255.2"]


def test_dns_without_name_servers_of_the_host_still_knows_the_cluster(node_layout: NodeLayout):
    import dataclasses

    text = node.dns_configuration(dataclasses.replace(node_layout, resolvers=[]))
    assert "forward" not in text
    assert "kubernetes cluster.local in-addr.arpa" in text
    assert "forward . 192.0.2.53" in node.dns_configuration(node_layout)
