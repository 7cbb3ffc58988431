from __future__ import annotations

import ipaddress
import json

import pytest

from devcluster import network
from devcluster.names import Addresses, Names


def test_routes_are_read_with_their_lengths_and_the_default_route_is_none():
    routes = [
        {"dst": "default"},
        {"dst": "192.0.2.0/24"},
        {"dst": "10.1.2.3"},
        {"dst": "local"} | {"dst": "127.0.0.0/8"},
    ]
    assert network.parse_routes(json.dumps(routes)) == [
        ipaddress.IPv4Network("192.0.2.0/24"),
        ipaddress.IPv4Network("10.1.2.3/32"),
        ipaddress.IPv4Network("127.0.0.0/8"),
    ]


def test_no_routes_at_all_are_an_empty_answer():
    assert network.parse_routes("") == []


@pytest.mark.parametrize(
    ("texts", "servers"),
    [
        pytest.param(["nameserver 192.0.2.53\nsearch x\n"], ["192.0.2.53"], id="one server"),
        pytest.param(
            ["nameserver 127.0.0.53\n", "nameserver 192.0.2.1\n"], ["192.0.2.1"], id="behind systemd-resolved"
        ),
        pytest.param(["nameserver 127.0.0.1\n"], [], id="only loopback, which other namespaces do not reach"),
        pytest.param(["nameserver fe80::1%eth0\nnameserver 2001:db8::1\n"], ["2001:db8::1"], id="link-local is no use"),
        pytest.param(["# nothing\nnameserver\n"], [], id="a line without an address"),
        pytest.param([], [], id="no file"),
    ],
)
def test_only_name_servers_that_the_cluster_reaches_are_used(texts: list[str], servers: list[str]):
    assert network.resolvers(texts) == servers


def test_rules_replace_those_of_an_earlier_run_and_name_only_our_own_table():
    names, addresses = Names(identity="0123abcd"), Addresses(octet=77)
    rules = network.outer_rules(names, addresses)
    assert rules.startswith("table ip trainyard-0123abcd\ndelete table ip trainyard-0123abcd\n")
    assert 'ip saddr 10.77.255.2 oifname != "ty-0123abcd" masquerade' in rules


def test_pods_keep_their_addresses_among_themselves():
    assert 'ip saddr 10.77.0.0/18 oifname "uplink" masquerade' in network.inner_rules(Addresses(octet=77))


@pytest.mark.parametrize(
    ("hook", "leaves"),
    [
        ("forward", 'oifname "uplink"'),
        # The hook's interface is that of the way before kube-proxy put a pod's address there.
        ("output", "rt ip nexthop 10.77.255.1"),
    ],
)
def test_nothing_for_pods_or_services_leaves_the_machine(hook: str, leaves: str):
    rule = f"type filter hook {hook} priority filter; {leaves} ip daddr {{ 10.77.0.0/18, 10.77.64.0/18 }} "
    assert f"{rule}meta l4proto tcp reject with tcp reset;" in network.inner_rules(Addresses(octet=77))
