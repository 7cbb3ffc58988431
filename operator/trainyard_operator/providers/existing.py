"""The provider `Existing`: nodes that somebody else runs, found by their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What a pod needs so that it lands on a cluster's nodes and nowhere else."""

    node_selector: Mapping[str, str]
    tolerations: tuple[Mapping[str, Any], ...]


def placement(provider: Mapping[str, Any]) -> Placement:
    """Return where the pods of a cluster with this `spec.provider` go."""
    existing = provider.get("existing") or {}
    return Placement(
        node_selector=dict(existing.get("nodeSelector") or {}), tolerations=tuple(existing.get("tolerations") or ())
    )


def belongs(provider: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Return whether `node` is one of the cluster's: it has every label of the selector."""
    labels = node["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in placement(provider).node_selector.items())
