"""The sizes of machines that the chart knows, as what the embedded cluster's provider can offer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from devcluster.chart import CHART
from devcluster.errors import DevclusterError

if TYPE_CHECKING:
    from collections.abc import Mapping

ZONE = "local-1"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Dollars an hour as a cloud asks for them, more or less: Karpenter takes the cheapest that fits.
PRICE_OF_CPU = 0.04
PRICE_OF_GIB = 0.004
SPOT_DISCOUNT = 0.3
MAX_PODS = 110
DISK = "32Gi"
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?")
_UNITS = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
}


@dataclass(frozen=True)
class Size:
    """One size: its name, and what a machine of it has."""

    name: str
    millicores: int
    memory_bytes: int


def quantity(text: str | float) -> float:
    """Read a quantity of Kubernetes, such as ``500m`` or ``7Gi``."""
    match = _QUANTITY.fullmatch(str(text))
    if not match:
        raise DevclusterError(f"{text!r} is no quantity of Kubernetes, such as 500m, 2 or 7Gi")
    return float(match[1]) * _UNITS[match[2] or ""]


def parse(catalogue: Mapping[str, Mapping[str, Any]]) -> list[Size]:
    """Read the chart's value ``sizes``, in its order."""
    return [
        Size(
            name=name,
            millicores=round(quantity(size["cpu"]) * 1000),
            memory_bytes=round(quantity(size["memory"])),
        )
        for name, size in catalogue.items()
    ]


def read() -> list[Size]:
    """Read the sizes of this checkout's chart."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return parse(values.get("sizes") or {})


def instance_types(sizes: list[Size], *, machine: str) -> list[dict[str, Any]]:
    """Offer each size under its own name, on demand and as spot, in one zone.

    Parameters
    ----------
    sizes
        The sizes.
    machine
        What the kernel calls this machine's processor.
    """
    return [
        {
            "name": size.name,
            "architecture": ARCHITECTURES.get(machine, machine),
            "operatingSystems": ["linux"],
            "resources": {
                "cpu": f"{size.millicores}m",
                "memory": str(size.memory_bytes),
                "ephemeral-storage": DISK,
                "pods": str(MAX_PODS),
            },
            "offerings": [
                _offering(size, capacity_type="on-demand", discount=1.0),
                _offering(size, capacity_type="spot", discount=SPOT_DISCOUNT),
            ],
        }
        for size in sizes
    ]


def _offering(size: Size, *, capacity_type: str, discount: float) -> dict[str, Any]:
    price = PRICE_OF_CPU * size.millicores / 1000 + PRICE_OF_GIB * size.memory_bytes / 2**30
    wanted = {"karpenter.sh/capacity-type": capacity_type, "topology.kubernetes.io/zone": ZONE}
    return {
        "Price": round(price * discount, 5),
        "Available": True,
        "Requirements": [{"key": key, "operator": "In", "values": [value]} for key, value in wanted.items()],
    }
