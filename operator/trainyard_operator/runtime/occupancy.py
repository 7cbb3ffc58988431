"""Which node has which runs: kept as pods change, since ten thousand ended ones are on no node any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainyard_operator.api.names import ENVIRONMENT_LABEL, TRAINING_JOB_LABEL
from trainyard_operator.domain.cluster_status import run_label
from trainyard_operator.runtime.store import Change, ObjectKey, key_of

JsonObject = dict[str, Any]


class Occupancy:
    """The runs with an active pod, by node."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[ObjectKey, str]] = {}

    def heard(self, change: Change) -> None:
        """Take in that a pod has changed."""
        key = key_of(change.object)
        before, after = occupied(change.old), occupied(change.new)
        if before is not None and before != after:
            there = self._runs.get(before, {})
            there.pop(key, None)
            if not there:
                self._runs.pop(before, None)
        if after is not None:
            labels = change.object["metadata"].get("labels") or {}
            self._runs.setdefault(after, {})[key] = labels.get(TRAINING_JOB_LABEL, "")

    def runs(self, own: str) -> Mapping[str, Sequence[str]]:
        """Return what runs are called in a cluster of namespace `own`, by the name of the node that they are on."""
        return {
            node: tuple(run_label(namespace, name, own=own) for (namespace, _), name in names.items())
            for node, names in self._runs.items()
        }


def occupied(pod: JsonObject | None) -> str | None:
    """Return the name of the node that a run's pod keeps busy; builds of environments are no runs."""
    if pod is None or ENVIRONMENT_LABEL in (pod["metadata"].get("labels") or {}):
        return None
    if (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
        return None
    node: str | None = (pod.get("spec") or {}).get("nodeName")
    return node or None
