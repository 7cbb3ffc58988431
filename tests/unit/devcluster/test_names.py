from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devcluster.errors import DevclusterError
from devcluster.names import FIRST_OCTET, LAST_OCTET, Addresses, Names, choose_addresses

Network = ipaddress.IPv4Network


@given(st.text(min_size=1))
def test_names_fit_what_the_kernel_takes_whatever_the_path(path: str):
    names = Names.of(Path("/", path))
    assert len(names.link) <= 15
    assert FIRST_OCTET <= names.preferred_octet <= LAST_OCTET
    assert names == Names.of(Path("/", path))


def test_two_checkouts_have_no_name_in_common():
    one, other = Names.of(Path("/home/a/trainyard")), Names.of(Path("/home/b/trainyard"))
    assert {one.cgroup, one.link, one.table}.isdisjoint({other.cgroup, other.link, other.table})


@given(st.integers(FIRST_OCTET, LAST_OCTET))
def test_the_parts_of_a_block_are_in_it_and_apart(octet: int):
    addresses = Addresses(octet=octet)
    cable = Network(f"{addresses.host}/30", strict=False)
    parts = [addresses.pods, addresses.services, cable]
    assert all(part.subnet_of(addresses.block) for part in parts)
    assert not any(one.overlaps(other) for one in parts for other in parts if one is not other)
    assert ipaddress.IPv4Address(addresses.machine) in cable
    assert ipaddress.IPv4Address(addresses.apiserver) == addresses.services[1]


@pytest.mark.parametrize(
    ("preferred", "taken", "chosen"),
    [
        pytest.param(100, [], 100, id="the preferred one is free"),
        pytest.param(100, ["10.100.255.0/30"], 101, id="another cluster's cable is in it"),
        pytest.param(100, ["10.100.0.0/14"], 104, id="a wider network covers it and its neighbours"),
        pytest.param(100, ["0.0.0.0/0"], 100, id="the default route takes nothing"),
        pytest.param(100, ["192.0.2.0/24"], 100, id="networks elsewhere do not matter"),
        pytest.param(250, ["10.250.0.0/16"], 16, id="after the last comes the first"),
    ],
)
def test_a_block_is_chosen_that_nothing_is_routed_to(preferred: int, taken: list[str], chosen: int):
    assert choose_addresses(preferred=preferred, taken=map(Network, taken)).octet == chosen


def test_a_machine_without_a_free_block_is_told_what_to_do():
    with pytest.raises(DevclusterError, match="disconnect a VPN"):
        choose_addresses(preferred=100, taken=[Network("10.0.0.0/8")])
