"""Places, addresses and files of the pool's machines."""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import json
from pathlib import Path

import pytest

from devcluster.names import POOL_MACHINES, Addresses
from devcluster.pool import configuration, fleet, init, settings, stockout
from devcluster.pool.configuration import Capacity
from devcluster.sizes import Size

SMALL = Size(name="SMALL", millicores=1000, memory_bytes=2 * 2**30)
COMPUTER = Capacity(millicores=2000, memory_bytes=24 * 2**30)


@pytest.fixture
def known(tmp_path: Path) -> settings.Settings:
    return settings.Settings(
        checkout=tmp_path,
        octet=77,
        kubelet=Path("/cache/kubelet"),
        pause_image="localhost/pause:1",
        images={"localhost/pause:1": Path("/cache/pause.tar")},
        sizes=[SMALL],
        plugins="/usr/lib/cni",
        resolvers=["192.0.2.53"],
    )


def test_settings_come_back_as_they_were_written(known: settings.Settings):
    known.write()
    assert settings.Settings.read(known.file) == known


@pytest.mark.parametrize(
    ("taken", "index"),
    [
        pytest.param([], 0, id="none"),
        pytest.param([0, 1, 3], 2, id="a gap"),
        pytest.param(range(POOL_MACHINES), None, id="all"),
    ],
)
def test_the_lowest_free_place_is_taken(taken: list[int], index: int | None):
    assert settings.free_index(taken) == index


def test_no_two_places_share_a_port_or_a_folder(known: settings.Settings):
    slots = [known.slot(index) for index in range(POOL_MACHINES)]
    ports = [port for slot in slots for port in (slot.kubelet_port, slot.health_port)]
    assert len(set(ports)) == len(ports)
    assert len({slot.home for slot in slots}) == len(slots)


def test_addresses_of_pods_are_one_network_and_never_given_twice():
    addresses = Addresses(octet=77)
    ranges = [addresses.fixed_pods, *(addresses.pool_pods(index) for index in range(POOL_MACHINES))]
    numbers = [(ipaddress.IPv4Address(first), ipaddress.IPv4Address(last)) for first, last in ranges]
    assert all(first in addresses.pods and last in addresses.pods for first, last in numbers)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(numbers))
    assert all(int(last) - int(first) >= 110 for first, last in numbers)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # Karpenter takes 100m and 10Mi for the kubelet; the kubelet keeps 100Mi free by itself.
        pytest.param(SMALL, {"cpu": "1100m", "memory": str(22 * 2**30 - 90 * 2**20)}, id="smaller"),
        pytest.param(Size(name="X", millicores=64000, memory_bytes=2**40), {}, id="larger than the computer"),
        pytest.param(None, {}, id="a size that is not known"),
    ],
)
def test_a_machine_has_what_karpenter_expects_of_its_size(size: Size | None, expected: dict[str, str]):
    assert configuration.reserved(size, COMPUTER) == expected


def test_a_kubelet_has_ports_cgroup_and_addresses_of_its_own(known: settings.Settings):
    slot = known.slot(3)
    layout = configuration.layout(known, slot, cgroup_root="/trainyard-x/pool-3/pods")
    document = configuration.kubelet_configuration(layout, slot, size=SMALL, capacity=COMPUTER)
    assert (document["port"], document["healthzPort"]) == (10303, 10403)
    assert document["cgroupRoot"] == "/trainyard-x/pool-3/pods"
    assert document["clusterDNS"] == ["10.77.255.2"]
    assert layout.pod_range == ("10.77.33.128", "10.77.33.254")


def test_machines_are_found_by_their_folders_and_half_made_ones_are_not(tmp_path: Path):
    for name, text in {
        "0": '{"name": "kwok-a", "uid": "a"}',
        "1": '{"name"',
        "template-x": '{"name": "t", "uid": "t"}',
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / fleet.RECORD).write_text(text)
    (tmp_path / "2").mkdir()
    assert fleet.records(tmp_path) == {"a": fleet.Record(index=0, name="kwok-a", uid="a")}


def test_images_are_taken_over_by_links_and_databases_by_copies(tmp_path: Path):
    template, target = tmp_path / "template", tmp_path / "1" / "containerd"
    for file in ("content/blobs/x", "snapshotter/snapshots/1/fs/lib.db", "snapshotter/metadata.db", "bolt/meta.db"):
        path = template / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file)
    target.parent.mkdir()
    init.clone(template, target)
    linked = {str(p.relative_to(target)): p.stat().st_nlink for p in target.rglob("*") if p.is_file()}
    assert linked == {
        "content/blobs/x": 2,
        "snapshotter/snapshots/1/fs/lib.db": 2,
        "snapshotter/metadata.db": 1,
        "bolt/meta.db": 1,
    }
    (target / "bolt" / "meta.db").write_text("changed")
    init.clone(template, target)
    assert (target / "bolt" / "meta.db").read_text() == "changed", "a machine that starts again keeps what it has"


def test_a_template_is_whole_or_absent(tmp_path: Path):
    containerd, template = tmp_path / "containerd", tmp_path / "pool" / "template-x"
    (containerd / "bolt").mkdir(parents=True)
    (containerd / "bolt" / "meta.db").write_text("images")
    (tmp_path / "pool" / "template-x.new" / "containerd").mkdir(parents=True)
    fleet.take_template(containerd=containerd, template=template)
    assert [path.name for path in template.parent.iterdir()] == ["template-x"]
    assert (template / "containerd" / "bolt" / "meta.db").read_text() == "images"


def test_a_template_is_of_certain_images(known: settings.Settings):
    other = dataclasses.replace(known, images={"localhost/pause:2": Path("/cache/pause.tar")})
    assert known.template != other.template
    assert known.template.parent == known.folder


def test_a_stockout_names_a_node_class_that_nobody_makes():
    documents = stockout.documents()
    assert stockout.NO_CAPACITY in json.dumps(documents)
    policy, binding = documents.values()
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
