"""Metrics from a pod are bounded whatever it sends."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard_operator.domain.metrics import bounded, summary, unchanged

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=400), inner, max_size=80),
    max_leaves=100,
)


@given(junk)
def test_anything_at_all_becomes_at_most_64_small_numbers(sent):
    metrics = bounded(sent)
    assert len(metrics) <= 64
    assert len(json.dumps(metrics, ensure_ascii=False, allow_nan=False).encode(errors="surrogatepass")) < 64 * 330
    assert bounded(metrics) == metrics


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_the_three_numbers_that_json_lacks_survive(value):
    assert bounded({"loss": value}) == {"loss": value}


@pytest.mark.parametrize(
    ("metrics", "parameters", "before", "shown"),
    [
        pytest.param({"regularization rate": 0.8, "accuracy": 0.9255}, {"regularization": 0.8}, None, "accuracy=0.9255", id="not the echo of a parameter"),
        pytest.param({"a": 1, "b": 2}, {}, None, "a=1", id="the first"),
        pytest.param({"b": 3, "a": 1}, {}, "a=0.5", "a=1", id="the one shown before"),
        pytest.param({"rate": 0.8}, {"rate": 0.8}, None, None, id="an echo waits for something more telling"),
        pytest.param({"loss": "NaN"}, {}, None, "loss=NaN", id="NaN"),
        pytest.param({"a=b": 1}, {}, "a=b=0", "a=b=1", id="a name with an equals sign"),
        pytest.param({}, {}, None, None, id="none"),
    ],
)  # fmt: skip
def test_the_table_shows_one_metric(metrics, parameters, before, shown):
    assert summary(metrics=metrics, parameters=parameters, before=before) == shown


@pytest.mark.parametrize(
    ("there", "logged", "same"),
    [
        pytest.param(1, 1.0, True, id="a whole number"),
        pytest.param(56273873351327430, 5.627387335132743e16, True, id="more digits than a float has"),
        pytest.param("NaN", "NaN", True, id="NaN"),
        pytest.param(1, 1.5, False, id="another value"),
        pytest.param("NaN", 1, False, id="a number at last"),
    ],
)
def test_the_api_servers_spelling_of_a_number_is_no_change(there, logged, same):
    kept = unchanged(old={"m": there}, new={"m": logged})["m"]
    assert (kept is there) == same
