"""What the gateway counts about itself."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0)


class GatewayMetrics:
    """Requests by operation and status, and how long they took."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._requests = Counter(
            "trainyard_gateway_requests", "Requests to the run gateway.", ["op", "code"], registry=registry
        )
        self._seconds = Histogram(
            "trainyard_gateway_request_seconds",
            "Time from a request's head to its answer.",
            ["op"],
            buckets=_BUCKETS,
            registry=registry,
        )

    def observe(self, *, op: str, code: int, seconds: float) -> None:
        """Count one request; `op` must come from a closed list."""
        self._requests.labels(op, str(code)).inc()
        self._seconds.labels(op).observe(seconds)
