"""The spec of a ComputeCluster from Azure ML's arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trainyard.errors import ConfigError

DEFAULT_MAX_NODES: Final = 4
_PRIORITIES: Final = {"dedicated": "Dedicated", "lowpriority": "LowPriority"}


def cluster_spec(  # noqa: PLR0913 - all but the first two by name
    vm_size: str,
    vm_priority: str,
    *,
    min_nodes: int | str | None,
    max_nodes: int | str | None,
    idle_seconds: int | str | None,
    provider: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the spec of a ComputeCluster; numbers may be texts, as they are in environment variables.

    Raises
    ------
    ConfigError
        If something cannot be used.
    """
    priority = _PRIORITIES.get(str(vm_priority).lower())
    if priority is None:
        raise ConfigError(f"vm_priority is {vm_priority!r}: use dedicated or lowpriority")
    scale = {
        "minNodes": count(0 if min_nodes is None else min_nodes, "min_nodes"),
        "maxNodes": count(DEFAULT_MAX_NODES if max_nodes is None else max_nodes, "max_nodes"),
    }
    if scale["minNodes"] > scale["maxNodes"]:
        raise ConfigError(f"min_nodes is {scale['minNodes']} and max_nodes {scale['maxNodes']}: raise max_nodes")
    if idle_seconds is not None:
        scale["idleSecondsBeforeScaleDown"] = count(idle_seconds, "idle_seconds_before_scaledown")
    spec: dict[str, Any] = {"vmPriority": priority, "scale": scale}
    if vm_size:
        spec["vmSize"] = vm_size
    if provider is not None:
        spec["provider"] = dict(provider)
    return spec


def count(value: int | str, what: str) -> int:
    """Return a number of something.

    Raises
    ------
    ConfigError
        If it is no whole number.
    """
    text = str(value).strip()
    if isinstance(value, bool) or not text.isdecimal():
        raise ConfigError(f"{what} is {value!r}: give a whole number, at least 0")
    return int(text)
