"""Alerts and dashboard: every expression can be read, speaks of metrics that there are, and every alert has its runbook."""

from __future__ import annotations

import json
import re

import promql_parser
import pytest

from tests.unit.helm.chart import CHART, EVERYTHING, ROOT, render
from trainyard_operator.gateway.metrics import GatewayMetrics
from trainyard_operator.telemetry.inventory import gauges, model_gauges
from trainyard_operator.telemetry.metrics import Metrics

RUNBOOKS = "https://wiki.example.com/runbooks"
# Of every process, and of the alerts' own making.
COMMON = {"process_resident_memory_bytes"}
CLUSTER = {
    "metadata": {"namespace": "ns", "name": "c"},
    "status": {
        "targetNodeCount": 2,
        "nodeStateCounts": {"idle": 1, "running": 0},
        "queue": {"pending": 3, "running": 1, "oldestPendingTime": "2026-01-01T00:00:00Z"},
        "slots": {"total": 4, "used": 1},
        "usage": {"nodeSeconds": 50, "idleNodeSeconds": 20, "preemptions": 1, "asOf": "2026-01-01T00:00:00Z"},
    },
}
MODEL = {
    "metadata": {"namespace": "ns", "name": "m-1"},
    "spec": {"modelName": "M"},
    "status": {"versions": [{"state": state} for state in ("Corrupted", "Ready", "Corrupted", "Failed")]},
}
RUN = {"metadata": {"namespace": "ns", "name": "r"}, "status": {"phase": "Running"}}


def rules():
    (found,) = [o for o in render(EVERYTHING) if o["kind"] == "PrometheusRule"]
    return [rule for group in found["spec"]["groups"] for rule in group["rules"]]


def dashboard():
    (found,) = [o for o in render(EVERYTHING) if o["metadata"]["name"] == "trainyard-dashboard"]
    return json.loads(found["data"]["trainyard.json"])


def expressions():
    yield from ((rule["alert"], rule["expr"]) for rule in rules())
    for panel in dashboard()["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", ()))


def selected(expression):
    """Return the metrics that an expression reads, each with the labels that it is narrowed by."""
    return {
        (match["name"], tuple(re.findall(r'(\w+)\s*[=!]~?\s*"', match["labels"] or "")))
        for match in re.finditer(r"(?P<name>(?:trainyard|process)_\w+)(?:\{(?P<labels>[^}]*)\})?", expression)
    }


@pytest.fixture(scope="module")
def exported():
    """The names of all metrics, with the names of their labels."""
    metrics = Metrics()
    GatewayMetrics(metrics.registry).observe(op="grants", code=200, seconds=0.1)
    metrics.count(gauges(runs=lambda: [RUN], clusters=lambda: [CLUSTER]))
    metrics.count(model_gauges(models=lambda: [MODEL]))
    metrics.reconciled(kind="TrainingJob", result="Conflict", seconds=0.1, failed=True)
    metrics.called("GET", "Job", "200")
    metrics.heard("Job", "ADDED")
    metrics.unreadable("Job")
    metrics.missed("Job", 1)
    metrics.ended("Failed", "ScriptFailed")
    found = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    # The depth of the operator's queues is counted where they are made.
    return found | {"trainyard_queue_depth": {"kind"}}


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_an_expression_can_be_read_and_speaks_of_what_is_exported(title, expression, exported):
    promql_parser.parse(expression.replace("$namespace", ".*").replace("$cluster", ".*"))
    read = selected(expression)

    assert read, title
    for name, labels in read:
        assert name in exported or name in COMMON, name
        assert set(labels) <= exported[name], name


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_where_to_read_on(rule):
    text = (ROOT / "docs" / "runbooks.md").read_text()
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")

    assert page == RUNBOOKS
    assert anchor == rule["alert"].lower()
    assert f"\n## {rule['alert']}\n" in text
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")


def test_every_runbook_is_of_an_alert():
    text = (ROOT / "docs" / "runbooks.md").read_text()

    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == [rule["alert"] for rule in rules()]


def test_panels_of_the_dashboard_do_not_overlap():
    taken = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_neither_is_made_unless_asked_for():
    names = {(o["kind"], o["metadata"]["name"]) for o in render({})}

    assert not {name for kind, name in names if kind == "PrometheusRule" or name == "trainyard-dashboard"}
    assert (CHART / "files" / "alerts.yaml").exists()


def test_clusters_are_counted_by_what_their_status_says():
    metrics = Metrics()
    metrics.count(gauges(runs=lambda: [RUN, {"metadata": {}}], clusters=lambda: [CLUSTER, {**CLUSTER, "status": {}}]))
    text = metrics.exposition().decode()

    assert 'trainyard_training_jobs{phase="Pending"} 1.0' in text
    assert 'trainyard_cluster_runs{cluster="c",cluster_namespace="ns",state="pending"} 3.0' in text
    assert 'trainyard_cluster_node_seconds{cluster="c",cluster_namespace="ns",state="idle"} 20.0' in text
    assert "oldestPendingTime" not in text


def test_corrupted_versions_are_counted_by_model_and_whole_models_are_left_out():
    whole = {**MODEL, "spec": {"modelName": "whole"}, "status": {"versions": [{"state": "Ready"}]}}
    metrics = Metrics()
    metrics.count(model_gauges(models=lambda: [MODEL, whole, {**MODEL, "status": {}}]))
    text = metrics.exposition().decode()

    assert 'trainyard_corrupted_versions{model="M",model_namespace="ns"} 2.0' in text
    assert "whole" not in text
