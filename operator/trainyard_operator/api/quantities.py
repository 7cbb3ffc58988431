"""Amounts of CPU and memory as Kubernetes writes them.

The spellings are those of `k8s.io/apimachinery/pkg/api/resource`, as far as this project's schemas admit them.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

CPU: Final = re.compile(r"^([0-9]{1,6}(\.[0-9]{1,3})?|[0-9]{1,9}m)$")
MEMORY: Final = re.compile(r"^[0-9]{1,15}(\.[0-9]{1,3})?(k|M|G|T|Ki|Mi|Gi|Ti)?$")

_FACTORS: Final = {
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def cpu_millis(text: str) -> int:
    """Return an amount of CPU in thousandths of a core, rounded up.

    Raises
    ------
    ValueError
        If `text` is no such amount.
    """
    if CPU.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no amount of CPU: write cores, such as 2 or 1.5, or thousandths, such as 500m")
    return int(text[:-1]) if text.endswith("m") else math.ceil(Decimal(text) * 1000)


def memory_bytes(text: str) -> int:
    """Return an amount of memory in bytes, rounded up.

    Raises
    ------
    ValueError
        If `text` is no such amount.
    """
    if MEMORY.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no amount of memory: write, for example, 512Mi or 7Gi")
    number = text.rstrip("kKMGTi")
    return math.ceil(Decimal(number) * _FACTORS.get(text[len(number) :], 1))
