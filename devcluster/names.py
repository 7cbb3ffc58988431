"""Names and addresses of a cluster, derived from its checkout's path so that two checkouts never meet."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devcluster.errors import DevclusterError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LINK_PREFIX = "ty-"
# 10.16 to 10.250: below are the networks that home routers and VPNs like best.
FIRST_OCTET = 16
LAST_OCTET = 250

# Machines of the pool at the same time, and addresses of pods for each: a kubelet runs 110 at most.
POOL_MACHINES = 64
POOL_MACHINE_ADDRESSES = 128

Network = ipaddress.IPv4Network
Range = tuple[str, str]


@dataclass(frozen=True)
class Names:
    """What is visible outside of the cluster's own namespaces."""

    identity: str

    @classmethod
    def of(cls, checkout: Path) -> Names:
        """Derive the names of a checkout."""
        return cls(identity=hashlib.sha256(str(checkout).encode()).hexdigest()[:8])

    @property
    def cgroup(self) -> str:
        """The cgroup, in every controller, that holds every process of the cluster."""
        return f"trainyard-{self.identity}"

    @property
    def link(self) -> str:
        """The host's end of the only cable into the cluster."""
        return f"{LINK_PREFIX}{self.identity}"

    @property
    def table(self) -> str:
        """The host's nftables table that lets the cluster reach other networks."""
        return f"trainyard-{self.identity}"

    @property
    def preferred_octet(self) -> int:
        """The second octet of the addresses to try first."""
        return FIRST_OCTET + int(self.identity, 16) % (LAST_OCTET - FIRST_OCTET + 1)


@dataclass(frozen=True)
class Addresses:
    """The block ``10.<octet>.0.0/16`` of a cluster; only its last /30 is seen from outside."""

    octet: int

    @property
    def block(self) -> Network:
        """All addresses of the cluster."""
        return Network(f"10.{self.octet}.0.0/16")

    @property
    def pods(self) -> Network:
        """Addresses of pods."""
        return Network(f"10.{self.octet}.0.0/18")

    @property
    def fixed_pods(self) -> Range:
        """First and last address of pods on the fixed node: the lower half."""
        return str(self.pods[1]), str(self.pods[self.pods.num_addresses // 2 - 1])

    def pool_pods(self, index: int) -> Range:
        """First and last address of pods on a machine of the pool, a slice of the upper half.

        Parameters
        ----------
        index
            The machine's index, below `POOL_MACHINES`.
        """
        start = self.pods.num_addresses // 2 + index * POOL_MACHINE_ADDRESSES
        return str(self.pods[start]), str(self.pods[start + POOL_MACHINE_ADDRESSES - 2])

    @property
    def services(self) -> Network:
        """Addresses of Services."""
        return Network(f"10.{self.octet}.64.0/18")

    @property
    def apiserver(self) -> str:
        """Address of the Service `kubernetes`."""
        return f"10.{self.octet}.64.1"

    @property
    def host(self) -> str:
        """The host's address on the cable."""
        return f"10.{self.octet}.255.1"

    @property
    def machine(self) -> str:
        """The cluster's address on the cable: its API server, its node and its DNS."""
        return f"10.{self.octet}.255.2"


def choose_addresses(*, preferred: int, taken: Iterable[Network]) -> Addresses:
    """Pick the first block from `preferred` on that overlaps nothing that the host has a route to."""
    networks = [network for network in taken if network.prefixlen]
    count = LAST_OCTET - FIRST_OCTET + 1
    for step in range(count):
        candidate = Addresses(octet=FIRST_OCTET + (preferred - FIRST_OCTET + step) % count)
        if not any(candidate.block.overlaps(network) for network in networks):
            return candidate
    raise DevclusterError(
        f"every network from 10.{FIRST_OCTET}.0.0/16 to 10.{LAST_OCTET}.0.0/16 is routed somewhere on this machine; "
        "disconnect a VPN, or take another checkout's cluster down"
    )
