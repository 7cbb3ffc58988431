"""Gauges over what the operator knows of: counted when they are scraped, so that keeping them costs nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

JsonObject = Mapping[str, Any]
Samples = Mapping[tuple[str, ...], float]

CLUSTER_LABELS = ("cluster_namespace", "cluster")
MODEL_LABELS = ("model_namespace", "model")


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """A gauge: its name, what it says, the names of its labels, and its samples by the labels' values."""

    name: str
    text: str
    labels: Sequence[str]
    samples: Callable[[], Samples]


class Inventory(Collector):
    """Collects gauges whose values are asked for at each scrape."""

    def __init__(self, gauges: Sequence[Gauge]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        """Return all gauges with their values of this moment."""
        for gauge in self._gauges:
            family = _family(gauge)
            for values, number in sorted(gauge.samples().items()):
                family.add_metric(list(values), number)
            yield family

    def describe(self) -> Iterable[Metric]:
        """Return names only: collecting would ask for values before there is anything to count."""
        return [_family(gauge) for gauge in self._gauges]


def gauges(*, runs: Callable[[], Iterable[JsonObject]], clusters: Callable[[], Iterable[JsonObject]]) -> list[Gauge]:
    """Return what is counted of TrainingJobs and ComputeClusters.

    Parameters
    ----------
    runs, clusters
        The objects as they are in the moment of the call.
    """
    return [
        Gauge(
            name="trainyard_training_jobs",
            text="TrainingJobs by phase",
            labels=("phase",),
            samples=lambda: Counter((_status(run).get("phase") or "Pending",) for run in runs()),
        ),
        Gauge(
            name="trainyard_cluster_nodes",
            text="Nodes of ComputeClusters by state",
            labels=(*CLUSTER_LABELS, "state"),
            samples=lambda: _by_cluster(clusters(), "nodeStateCounts"),
        ),
        Gauge(
            name="trainyard_cluster_nodes_wanted",
            text="Nodes that a ComputeCluster should have now",
            labels=CLUSTER_LABELS,
            samples=lambda: {
                _names(obj): _status(obj)["targetNodeCount"] for obj in clusters() if "targetNodeCount" in _status(obj)
            },
        ),
        Gauge(
            name="trainyard_cluster_runs",
            text="Runs of ComputeClusters: pending ones wait in the queue, running ones have been let in",
            labels=(*CLUSTER_LABELS, "state"),
            samples=lambda: _by_cluster(clusters(), "queue"),
        ),
        Gauge(
            name="trainyard_cluster_slots",
            text="Slots of ComputeClusters: how many there are in total, and how many are used",
            labels=(*CLUSTER_LABELS, "state"),
            samples=lambda: _by_cluster(clusters(), "slots"),
        ),
        Gauge(
            name="trainyard_cluster_node_seconds",
            text="Seconds of nodes that a ComputeCluster has had so far: all of them, and those without a run",
            labels=(*CLUSTER_LABELS, "state"),
            samples=lambda: _by_cluster(clusters(), "usage", names={"nodeSeconds": "all", "idleNodeSeconds": "idle"}),
        ),
        Gauge(
            name="trainyard_cluster_preemptions",
            text="Runs of ComputeClusters that have lost their node so far",
            labels=CLUSTER_LABELS,
            samples=lambda: {
                _names(obj): _status(obj)["usage"]["preemptions"]
                for obj in clusters()
                if "preemptions" in (_status(obj).get("usage") or {})
            },
        ),
    ]


def model_gauges(*, models: Callable[[], Iterable[JsonObject]]) -> list[Gauge]:
    """Return what is counted of RegisteredModels, which are asked for at each scrape."""
    return [
        Gauge(
            name="trainyard_corrupted_versions",
            text="Versions of a RegisteredModel that a verification found Corrupted; models without any are left out",
            labels=MODEL_LABELS,
            samples=lambda: {
                (obj["metadata"]["namespace"], str(obj["spec"].get("modelName"))): count
                for obj in models()
                if (count := sum(v.get("state") == "Corrupted" for v in _status(obj).get("versions") or ()))
            },
        )
    ]


def _family(gauge: Gauge) -> GaugeMetricFamily:
    return GaugeMetricFamily(gauge.name, gauge.text, labels=list(gauge.labels))


def _status(obj: JsonObject) -> Mapping[str, Any]:
    return obj.get("status") or {}


def _names(obj: JsonObject) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _by_cluster(clusters: Iterable[JsonObject], field: str, *, names: Mapping[str, str] | None = None) -> Samples:
    """Return the numbers of a field of each cluster's status; `names` are the fields to take, and their labels."""
    found: dict[tuple[str, ...], float] = {}
    for obj in clusters:
        for key, number in (_status(obj).get(field) or {}).items():
            state = key if names is None else names.get(key)
            if state is not None and isinstance(number, int | float):
                found[*_names(obj), state] = number
    return found
