"""The cable between the host and a cluster's own network namespace, and the way out."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from devcluster.errors import DevclusterError
from devcluster.names import LINK_PREFIX, Network

if TYPE_CHECKING:
    from devcluster.layout import Cache
    from devcluster.names import Addresses, Names

UPLINK = "uplink"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def command(*argv: str, text: str | None = None) -> str:
    """Run a command that must succeed and return what it printed."""
    result = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if result.returncode:
        raise DevclusterError(f"`{' '.join(argv)}` failed: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def used_networks() -> list[Network]:
    """List the IPv4 networks that this machine has a route to, and its name servers, which may be behind any route."""
    routes = parse_routes(command("ip", "-json", "-4", "route", "show", "table", "all"))
    servers = [ipaddress.ip_address(server.partition("%")[0]) for server in host_resolvers()]
    return [*routes, *(ipaddress.IPv4Network(server) for server in servers if server.version == 4)]  # noqa: PLR2004


def parse_routes(text: str) -> list[Network]:
    """Read the answer of ``ip -json route``."""
    networks = []
    for route in json.loads(text or "[]"):
        destination = route.get("dst", "default")
        if destination != "default":
            networks.append(ipaddress.IPv4Network(destination, strict=False))
    return networks


def connect(*, names: Names, addresses: Addresses, pid: int) -> None:
    """Lay the cable to the network namespace of process `pid`; one that lies already is left alone."""
    if not _exists(names.link):
        command("ip", "link", "add", names.link, "type", "veth", "peer", "name", UPLINK, "netns", str(pid))
    command("ip", "address", "replace", f"{addresses.host}/30", "dev", names.link)
    command("ip", "link", "set", names.link, "up")
    inside = ("nsenter", "--target", str(pid), "--net", "--")
    command(*inside, "ip", "link", "set", "lo", "up")
    command(*inside, "ip", "address", "replace", f"{addresses.machine}/30", "dev", UPLINK)
    command(*inside, "ip", "link", "set", UPLINK, "up")
    command(*inside, "ip", "route", "replace", "default", "via", addresses.host)
    command(*inside, "sh", "-c", f"echo 1 > {FORWARDING}")
    command(*inside, "nft", "-f", "-", text=inner_rules(addresses))
    command("nft", "-f", "-", text=outer_rules(names, addresses))


def inner_rules(addresses: Addresses) -> str:
    """Rules inside: pods leave with the machine's address; among themselves they keep their own.

    What is for a pod that has just gone, or for a service that kube-proxy does not know yet, would follow the default
    route. It must not leave: out there somebody may answer it, and a client that keeps its connections keeps that one.
    What the machine itself sends to a service is routed once more after kube-proxy has put a pod's address there, but
    the hook still has the interface of the first time: only the route tells where it goes.
    """
    inside = f"ip daddr {{ {addresses.pods}, {addresses.services} }}"
    refuse = "meta l4proto tcp reject with tcp reset"
    forward = f'oifname "{UPLINK}" {inside} {refuse};'
    output = f"rt ip nexthop {addresses.host} {inside} {refuse};"
    return (
        "table ip trainyard\ndelete table ip trainyard\ntable ip trainyard {\n"
        f"  chain forward {{ type filter hook forward priority filter; {forward} }}\n"
        f"  chain output {{ type filter hook output priority filter; {output} }}\n"
        "  chain out {\n    type nat hook postrouting priority srcnat;\n"
        f'    ip saddr {addresses.pods} oifname "{UPLINK}" masquerade\n  }}\n}}\n'
    )


def outer_rules(names: Names, addresses: Addresses) -> str:
    """Rules of the host: the machine leaves with the host's address."""
    return (
        f"table ip {names.table}\ndelete table ip {names.table}\ntable ip {names.table} {{\n"
        "  chain out {\n    type nat hook postrouting priority srcnat;\n"
        f'    ip saddr {addresses.machine} oifname != "{names.link}" masquerade\n  }}\n}}\n'
    )


def disconnect(*, names: Names) -> None:
    """Remove everything that `connect` made on the host; nothing there is fine."""
    subprocess.run(["ip", "link", "delete", names.link], capture_output=True, check=False)
    subprocess.run(["nft", "delete", "table", "ip", names.table], capture_output=True, check=False)


def allow_forwarding(*, cache: Cache) -> None:
    """Let the kernel forward packets, as Docker does, and remember if that was off."""
    if FORWARDING.read_text(encoding="ascii").strip() == "0":
        _marker(cache).parent.mkdir(parents=True, exist_ok=True)
        _marker(cache).touch()
        FORWARDING.write_text("1\n", encoding="ascii")


def restore_forwarding(*, cache: Cache) -> None:
    """Turn forwarding off again when the last of the clusters that needed it is gone."""
    others = [link for link in Path("/sys/class/net").iterdir() if link.name.startswith(LINK_PREFIX)]
    if _marker(cache).exists() and not others:
        FORWARDING.write_text("0\n", encoding="ascii")
        _marker(cache).unlink()


def resolvers(texts: list[str]) -> list[str]:
    """Take the name servers from the first resolv.conf that has some which other network namespaces reach too."""
    for text in texts:
        found = [
            fields[1]
            for fields in (line.split() for line in text.splitlines())
            if len(fields) > 1 and fields[0] == "nameserver" and not fields[1].startswith(("127.", "::1", "fe80"))
        ]
        if found:
            return found
    return []


def host_resolvers() -> list[str]:
    """Name servers of this machine."""
    paths = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
    return resolvers([path.read_text(encoding="utf-8") for path in paths if path.is_file()])


def _exists(link: str) -> bool:
    return Path("/sys/class/net", link).exists()


def _marker(cache: Cache) -> Path:
    return cache.root / "ip-forward-was-off"
