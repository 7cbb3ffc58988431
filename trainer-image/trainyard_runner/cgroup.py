"""What the container's control group says: its CPU limit, its memory limit, and how many processes memory has killed.

Both hierarchies are read, the unified one (version 2) and the older one; whatever is not there means no limit.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
# Version 1 writes "no limit" as the largest multiple of a page.
_UNLIMITED_BYTES = 1 << 60


def cpu_limit(root: Path) -> float | None:
    """Return how many CPUs the container may use at once, or None where nothing limits it."""
    unified = _words(root / "cpu.max")
    if len(unified) > 1:
        return _ratio(unified[0], unified[1])
    for folder in ("cpu", "cpu,cpuacct"):
        quota = _words(root / folder / "cpu.cfs_quota_us")
        period = _words(root / folder / "cpu.cfs_period_us")
        if quota and period:
            return _ratio(quota[0], period[0])
    return None


def memory_limit(root: Path) -> int | None:
    """Return how many bytes of memory the container may use, or None where nothing limits it."""
    for path in (root / "memory.max", root / "memory" / "memory.limit_in_bytes"):
        words = _words(path)
        if words and words[0].isdigit():
            limit = int(words[0])
            return limit if limit < _UNLIMITED_BYTES else None
    return None


def memory_peak(root: Path) -> int | None:
    """Return the most memory, in bytes, that the container has used at once, or None where nobody has counted."""
    for path in (root / "memory.peak", root / "memory" / "memory.max_usage_in_bytes"):
        words = _words(path)
        if words and words[0].isdigit():
            return int(words[0])
    return None


def memory_kills(root: Path) -> int:
    """Return how many processes of the container the kernel has killed for want of memory."""
    for path in (root / "memory.events", root / "memory" / "memory.oom_control"):
        words = _words(path)
        for name, count in zip(words[::2], words[1::2]):
            if name == "oom_kill" and count.isdigit():
                return int(count)
    return 0


def thread_variables(environ: Mapping[str, str], *, root: Path) -> dict[str, str]:
    """Return the variables that keep numeric libraries within the CPU limit, but for those that somebody has set.

    Without them such a library starts a thread for every CPU of the node, and all of them share the container's few.
    """
    limit = cpu_limit(root)
    if limit is None:
        return {}
    threads = str(max(1, min(math.ceil(limit), len(os.sched_getaffinity(0)))))
    return {name: threads for name in THREAD_VARIABLES if name not in environ}


def _ratio(quota: str, period: str) -> float | None:
    try:
        limit = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return limit if limit > 0 else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
