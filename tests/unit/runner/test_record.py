"""What a script says of its run beside numbers, from its lines to the manifest, however hostile they are."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard.contract import canonical_json
from trainyard_runner.metrics import MetricsTail
from trainyard_runner.warnings import Warnings


@pytest.fixture
def warnings():
    return Warnings()


@pytest.fixture
def read(tmp_path, warnings):
    """Return what is known after these lines."""

    def read(*entries):
        tail = MetricsTail(tmp_path / "metrics.jsonl", warnings=warnings)
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        tail.poll(limit=None)
        return tail

    return read


MANY = [
    pytest.param({"list": "a", "values": [1, 2, "NaN"]}, {"a": "NaN"}, id="list"),
    pytest.param({"list": "a", "values": []}, {}, id="empty list"),
    pytest.param({"row": "a", "values": {"x": 1, "y": "text"}}, {"a/x": 1}, id="row"),
    pytest.param({"row": "a", "values": {"x": "Infinity"}}, {"a/x": "Infinity"}, id="infinite in a row"),
    pytest.param({"table": "a", "columns": {"x": [1, 2], "y": []}}, {"a/x": 2}, id="table"),
    pytest.param({"file": "a", "path": "outputs/images/a.png"}, {}, id="image"),
]


@pytest.mark.parametrize(("entry", "metrics"), MANY)
def test_of_many_values_the_last_is_the_latest(read, warnings, entry, metrics):
    assert read(entry).state()[0] == metrics
    assert warnings.listed() == []


def test_tags_change_and_properties_do_not(read, warnings):
    record = read(
        {"tags": {"a": "1", "b": None}},
        {"tags": {"a": "2"}},
        {"properties": {"p": "1"}},
        {"properties": {"p": "2", "q": 3}},
    ).record
    assert record.tags == {"a": "2", "b": ""}
    assert record.properties == {"p": "1", "q": "3"}
    assert warnings.listed() == []


def test_what_is_too_much_costs_one_warning_of_each_kind(read, warnings):
    record = read(
        *({"tags": {f"t{n}": ""}} for n in range(100)),
        *({"model": {"name": f"m{n}", "path": "m"}} for n in range(100)),
    ).record
    assert len(record.tags) == 32
    assert [model["name"] for model in record.models] == [f"m{n}" for n in range(16)]
    tags, models = warnings.listed()
    assert "more than 32 tags were set, 't32'" in tags
    assert "more than 16 models were to be registered, m16" in models


def test_a_model_that_is_wished_again_has_the_newer_words(read):
    wish = {"name": "m", "path": "outputs/m"}
    record = read({"model": wish}, {"model": {**wish, "description": "better"}}).record
    assert record.models == [{**wish, "description": "better"}]


HOSTILE = [
    {"tags": 7},
    {"tags": {"": "x"}},
    {"tags": {"a": {"b": 1}}},
    {"tags": {"a": "x" * 1000}},
    {"properties": [1]},
    {"model": {}},
    {"model": {"name": "../m", "path": "m"}},
    {"model": {"name": "m", "path": "../../models/other"}},
    {"model": {"name": "m", "path": "/etc/passwd"}},
    {"model": {"name": "m" * 300, "path": "m"}},
    {"model": {"name": "m", "path": "m", "tags": {"a": []}}},
    {"fail": 7},
    {"fail": {}},
    {"row": 1, "values": 2},
    {"row": "a", "values": {"x": [1]}},
    {"table": "a", "columns": {"x": 7}},
    {"list": "a", "values": 1},
    {"list": "a", "values": {"x": 1}},
    {"file": "a"},
    {"file": "a", "path": "/etc/passwd"},
]


@pytest.mark.parametrize("entry", HOSTILE, ids=json.dumps)
def test_a_line_that_makes_no_sense_costs_a_warning_and_nothing_else(read, warnings, entry):
    tail = read(entry, {"metric": "after", "value": 1})
    assert tail.state() == ({"after": 1}, None)
    assert (tail.record.tags, tail.record.properties, tail.record.models, tail.record.failure) == ({}, {}, [], None)
    assert len(warnings.listed()) == 1


WORDS = ("metric", "progress", "tags", "properties", "model", "fail", "list", "row", "table", "file")
FIELDS = ("value", "values", "columns", "path", "name", "message", "percent")
VALUES = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=300) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(st.sampled_from(WORDS + FIELDS), VALUES, max_size=4), max_size=5))
def test_no_line_ends_the_runner_or_spoils_the_manifest(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("lines") / "metrics.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    tail = MetricsTail(path, warnings=Warnings())
    tail.poll(limit=None)
    record = tail.record
    canonical_json([tail.state(), record.tags, record.properties, record.models, record.failure])


RECORD = """
import os
from trainyard import Run
run = Run.get_context()
os.makedirs("outputs")
os.chdir("/")
run.upload_file("model.pkl", __import__("io").BytesIO(b"model"))
run.set_tags({"data": "mnist", "ä": "ö"})
run.add_properties({"seed": 7})
run.log_row("epoch", loss=0.5)
run.register_model("digits", "model.pkl", tags={"kind": "logistic"})
"""


def test_what_a_script_says_is_in_the_manifest_and_in_the_reports(pod):
    assert pod.prepared(RECORD).execute() == 0
    manifest = pod.manifest()
    assert manifest["tags"] == {"data": "mnist", "ä": "ö"}
    assert manifest["properties"] == {"seed": "7"}
    assert manifest["models"] == [{"name": "digits", "path": "outputs/model.pkl", "tags": {"kind": "logistic"}}]
    assert manifest["metrics"] == {"epoch/loss": 0.5}
    assert pod.saved_outputs() == ["outputs/model.pkl"]
    assert pod.yard.gateway.reports[-1][1]["tags"] == manifest["tags"]


ENDS = [
    pytest.param('run.fail("no data")', 1, 1, "train.py said that it failed: no data", id="and ends with 0"),
    pytest.param(
        'run.fail("no data"); raise SystemExit(3)',
        3,
        3,
        "train.py said that it failed: no data (train.py ended with exit code 3)",
        id="and ends with 3",
    ),
    pytest.param('run.fail("no data"); run.complete()', 0, 0, "", id="and takes it back"),
]


@pytest.mark.parametrize(("script", "code", "recorded", "message"), ENDS)
def test_a_script_says_that_it_failed(pod, script, code, recorded, message):
    assert pod.prepared(f"from trainyard import Run\nrun = Run.get_context()\n{script}\n").execute() == code
    termination = pod.termination()
    assert (termination["exitCode"], termination["message"]) == (recorded, message)
    assert termination["reason"] == ("ScriptFailed" if code else None)
    assert pod.manifest()["exitCode"] == recorded
