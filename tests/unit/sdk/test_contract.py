"""The wire format: what one side writes the other reads, whatever a user came up with."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard import contract

NUMBERS = st.one_of(st.integers(), st.floats(), st.booleans())


@given(NUMBERS)
def test_a_metric_survives_the_way_there_and_back(value):
    decoded = contract.decode_metric(json.loads(json.dumps(contract.encode_metric(value), allow_nan=False)))
    assert decoded == value or (math.isnan(decoded) and math.isnan(value))


@pytest.mark.parametrize("value", ["nan", "inf", "1", "", "Infinity ", "-infinity"])
def test_a_string_that_is_no_metric_value_is_refused(value):
    with pytest.raises(ValueError, match="not a metric value"):
        contract.decode_metric(value)


@given(st.text())
def test_a_metric_name_fits_a_status(name):
    clean = contract.metric_name(name)
    assert 0 < len(clean.encode()) <= contract.MAX_METRIC_NAME_BYTES
    assert not any(unicodedata.category(c) in {"Cc", "Cs"} for c in clean)
    assert contract.metric_name(clean) == clean


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Z"]), min_size=1, max_size=60))
def test_a_usual_name_stays_as_it_is(name):
    assert contract.metric_name(name) == name


REFUSED = [
    pytest.param("", "is empty", id="empty"),
    pytest.param("/etc/passwd", "absolute", id="absolute"),
    pytest.param("..", "'..'", id="up"),
    pytest.param("a/../b", "'..'", id="up within"),
    pytest.param("../a", "'..'", id="up first"),
    pytest.param("a/..", "'..'", id="up last"),
    pytest.param("./a", "'.'", id="here"),
    pytest.param("a//b", "empty parts", id="empty part"),
    pytest.param("a\\b", "backslashes", id="backslash"),
    pytest.param("a\nb", "control characters", id="line end"),
    pytest.param("a\0b", "control characters", id="NUL"),
    pytest.param("\udcff", "control characters", id="not UTF-8"),
    pytest.param("x" * 1025, "longer than", id="long"),
    pytest.param("ä" * 513, "longer than", id="long in bytes"),
]


@pytest.mark.parametrize(("path", "words"), REFUSED)
def test_a_path_that_does_not_stay_inside_is_refused_by_name(path, words):
    with pytest.raises(contract.InvalidPathError, match=r"^entryScript is") as caught:
        contract.check_relative_path(path, what="entryScript")
    assert words in str(caught.value)


@pytest.mark.parametrize("path", ["a", "a/b", "a b", "ä", "a/", "...", "..a", "a..b", "-x", "x" * 1024])
def test_a_path_that_stays_inside_is_kept(path):
    assert contract.check_relative_path(path) == path


def test_the_root_is_a_path_only_where_it_may_be():
    assert contract.check_relative_path("", empty=True) == ""


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("./\\")))
def test_an_accepted_path_never_leaves_its_folder(path):
    try:
        kept = contract.check_relative_path(path)
    except contract.InvalidPathError:
        return
    assert not kept.startswith("/")
    assert ".." not in kept.split("/")


RENDERED = [
    pytest.param(0.8, "0.8", id="float"),
    pytest.param(3, "3", id="int"),
    pytest.param(True, "true", id="bool"),
    pytest.param(None, "null", id="null"),
    pytest.param("a b;$(X)'\"\n", "a b;$(X)'\"\n", id="text of any kind"),
    pytest.param("", "", id="empty text"),
]


@pytest.mark.parametrize(("value", "expected"), RENDERED)
def test_a_parameter_becomes_one_argument(value, expected):
    assert contract.arguments_of({"n": value}, [], {}) == ["--n", expected]


def test_parameters_come_sorted_and_inputs_are_filled_into_arguments_only():
    argv = contract.arguments_of(
        {"b": "$(inputs.data)", "a": 1}, ["--data", "$(inputs.data)/x", "$(inputs.none)"], {"data": "/inputs/data"}
    )
    assert argv == ["--a", "1", "--b", "$(inputs.data)", "--data", "/inputs/data/x", "$(inputs.none)"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aä€"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=10,
)


@given(JSON)
def test_canonical_json_is_one_form_of_the_same_document(document):
    raw = contract.canonical_json(document)
    assert json.loads(raw) == document
    assert contract.canonical_json(json.loads(raw)) == raw


def test_canonical_json_ignores_the_order_of_keys_and_refuses_nan():
    assert contract.canonical_json({"b": 1, "a": "ä"}) == '{"a":"ä","b":1}'.encode()
    with pytest.raises(ValueError, match="JSON compliant"):
        contract.canonical_json(math.nan)


def test_importing_what_a_script_imports_is_quick_and_leaves_little_behind():
    code = "import sys; before = set(sys.modules); from trainyard import Run; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"ssl", "http.client", "asyncio", "logging", "subprocess", "numpy", "urllib.request"}
    assert heavy & set(done.stdout.split()) == set()
