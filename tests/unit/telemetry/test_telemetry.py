from __future__ import annotations

import json
import logging

import aiohttp
import pytest

from trainyard_operator.telemetry.health import Health
from trainyard_operator.telemetry.inventory import Gauge
from trainyard_operator.telemetry.logs import JsonFormatter, configure_logs
from trainyard_operator.telemetry.metrics import Metrics
from trainyard_operator.telemetry.server import serve_telemetry


class TestLogs:
    def line(self, **extra):
        error = ValueError("broken")
        failure = (ValueError, error, None)
        record = logging.LogRecord("trainyard_operator.x", logging.WARNING, "f", 1, "took %d s", (3,), failure)
        vars(record).update(extra)
        return json.loads(JsonFormatter().format(record))

    def test_a_line_is_json_with_the_objects_reference(self):
        reference = {"kind": "TrainingJob", "namespace": "ns", "name": "one"}
        line = self.line(object=reference)
        assert line["message"] == "took 3 s"
        assert line["level"] == "warning"
        assert line["object"] == reference
        assert "ValueError: broken" in line["exception"]

    def test_a_line_about_no_object_has_no_reference(self):
        assert "object" not in self.line()

    def test_libraries_are_quiet_and_the_operator_is_not(self, capsys):
        root = logging.getLogger()
        before = root.handlers[:], root.level
        try:
            configure_logs("INFO")
            logging.getLogger("kopf.objects").info("called a handler")
            logging.getLogger("trainyard_operator.x").info("hello\nworld")
        finally:
            root.handlers[:], root.level = before
            logging.getLogger("trainyard_operator").setLevel(logging.NOTSET)
        [line] = capsys.readouterr().out.splitlines()
        assert json.loads(line)["message"] == "hello\nworld"


class TestHealth:
    @pytest.fixture
    def health(self):
        self.now = 0.0
        return Health(clock=lambda: self.now)

    def test_all_is_well_at_first(self, health):
        assert health.complaints() == []

    def test_what_gave_no_sign_of_life_for_too_long_is_named(self, health):
        health.beat("lease", seconds=30)
        self.now = 30
        assert health.complaints() == []
        self.now = 31
        assert health.complaints() == ["lease: no sign of life for 31 s"]
        health.beat("lease", seconds=30)
        assert health.complaints() == []

    def test_a_fault_stays_until_it_is_mended(self, health):
        health.fault("watch of jobs", "misses changes")
        assert health.complaints() == ["watch of jobs: misses changes"]
        health.fault("watch of jobs", None)
        assert health.complaints() == []


class TestMetrics:
    def samples(self, metrics):
        return metrics.exposition().decode()

    def test_reconciles_are_counted_and_timed(self):
        metrics = Metrics()
        metrics.reconciled(kind="TrainingJob", result="success", seconds=0.01, failed=False)
        metrics.reconciled(kind="TrainingJob", result="Conflict", seconds=0.01, failed=True)
        text = self.samples(metrics)
        assert 'trainyard_reconciles_total{kind="TrainingJob",result="success"} 1.0' in text
        assert 'trainyard_errors_total{error="Conflict",kind="TrainingJob"} 1.0' in text
        assert 'trainyard_reconcile_seconds_count{kind="TrainingJob"} 2.0' in text

    def test_gauges_are_asked_for_when_they_are_read(self):
        metrics = Metrics()
        counts = {}
        metrics.count(
            [Gauge(name="trainyard_training_jobs", text="by phase", labels=["phase"], samples=lambda: counts)]
        )
        counts["Running",] = 3
        assert 'trainyard_training_jobs{phase="Running"} 3.0' in self.samples(metrics)

    def test_two_processes_in_one_test_do_not_share_their_counts(self):
        first, second = Metrics(), Metrics()
        first.called("create", "Job", "201")
        assert "trainyard_api_calls_total{" in self.samples(first)
        assert "trainyard_api_calls_total{" not in self.samples(second)


class TestServer:
    @pytest.fixture
    async def served(self):
        self.now = 0.0
        self.health = Health(clock=lambda: self.now)
        server = await serve_telemetry(metrics=Metrics(), health=self.health, port=0)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
            yield session
        await server.close()

    async def get(self, session, path):
        async with session.get(path) as response:
            return response.status, await response.text()

    async def test_it_is_ready_once_it_is_told_to_be(self, served):
        assert (await self.get(served, "/readyz"))[0] == 503
        self.health.ready = True
        assert await self.get(served, "/readyz") == (200, "ok\n")

    async def test_it_is_unhealthy_with_the_reason(self, served):
        assert await self.get(served, "/healthz") == (200, "ok\n")
        self.health.beat("sweep", seconds=5)
        self.now = 6
        assert await self.get(served, "/healthz") == (503, "sweep: no sign of life for 6 s\n")

    async def test_metrics_are_served(self, served):
        status, text = await self.get(served, "/metrics")
        assert status == 200
        assert "process_resident_memory_bytes" in text
