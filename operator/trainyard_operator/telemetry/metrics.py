"""Prometheus metrics of the operator. Names and labels are an API: dashboards and alerts stand on them."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from trainyard_operator.telemetry import inventory

_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)


class Metrics:
    """All metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.leader = Gauge("trainyard_leader", "1 while this process leads", registry=self.registry)
        self._reconciles = Counter(
            "trainyard_reconciles", "Reconciles by kind and result", ["kind", "result"], registry=self.registry
        )
        self._seconds = Histogram(
            "trainyard_reconcile_seconds",
            "How long reconciles took",
            ["kind"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._errors = Counter("trainyard_errors", "Failed reconciles", ["kind", "error"], registry=self.registry)
        self._calls = Counter(
            "trainyard_api_calls",
            "Calls to the API server by verb, kind and HTTP status (0: no answer)",
            ["verb", "kind", "code"],
            registry=self.registry,
        )
        self._events = Counter(
            "trainyard_watch_events", "Watch events by kind and type", ["kind", "type"], registry=self.registry
        )
        self._malformed = Counter(
            "trainyard_unreadable_objects", "Objects that could not be read", ["kind"], registry=self.registry
        )
        self._ended = Counter(
            "trainyard_runs_ended", "Runs that ended, by phase and reason", ["phase", "reason"], registry=self.registry
        )
        self._missed = Counter(
            "trainyard_missed_changes",
            "Changes that the sweep found and the watch had not",
            ["kind"],
            registry=self.registry,
        )

    def reconciled(self, *, kind: str, result: str, seconds: float, failed: bool) -> None:
        """Count one reconcile."""
        self._reconciles.labels(kind, result).inc()
        self._seconds.labels(kind).observe(seconds)
        if failed:
            self._errors.labels(kind, result).inc()

    def called(self, verb: str, kind: str, code: str) -> None:
        """Count one call to the API server."""
        self._calls.labels(verb, kind, code).inc()

    def heard(self, kind: str, event_type: str) -> None:
        """Count one watch event."""
        self._events.labels(kind, event_type).inc()

    def unreadable(self, kind: str) -> None:
        """Count one object that could not be read."""
        self._malformed.labels(kind).inc()

    def ended(self, phase: str, reason: str) -> None:
        """Count one run that has ended."""
        self._ended.labels(phase, reason).inc()

    def missed(self, kind: str, count: int) -> None:
        """Count changes that only the sweep found."""
        self._missed.labels(kind).inc(count)

    def count(self, gauges: Sequence[inventory.Gauge]) -> None:
        """Export gauges whose values are asked for at each scrape."""
        self.registry.register(inventory.Inventory(gauges))

    def exposition(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
