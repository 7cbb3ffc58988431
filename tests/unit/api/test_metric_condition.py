"""What a metric must be for a model to be registered."""

from __future__ import annotations

import pytest

from trainyard_operator.api.fields import SpecError
from trainyard_operator.api.metric_condition import MetricCondition


def condition(**over):
    return MetricCondition.parse({"metric": "accuracy", **over}, "when")


@pytest.mark.parametrize(
    ("bounds", "value", "satisfied"),
    [
        pytest.param({"atLeast": 0.9}, 0.9, True, id="just enough"),
        pytest.param({"atLeast": 0.9}, 0.8999, False, id="too little"),
        pytest.param({"atMost": 0.1}, 0.1, True, id="just little enough"),
        pytest.param({"atMost": 0.1}, 1, False, id="too much"),
        pytest.param({"atLeast": 1, "atMost": 2}, 1.5, True, id="within a range"),
        pytest.param({"atLeast": 1, "atMost": 2}, 0.5, False, id="below a range"),
        pytest.param({"atLeast": 1, "atMost": 2}, 2.5, False, id="above a range"),
        pytest.param({"atLeast": 0}, 0, True, id="zero"),
        pytest.param({"atLeast": -1}, "NaN", False, id="NaN is not at least"),
        pytest.param({"atMost": 1}, "NaN", False, id="NaN is not at most"),
        pytest.param({"atMost": 1}, "Infinity", False, id="infinite loss"),
        pytest.param({"atLeast": 0.9}, "Infinity", True, id="infinite gain"),
        pytest.param({"atLeast": 0.9}, "-Infinity", False, id="infinitely bad"),
    ],
)
def test_a_value_satisfies_from_bound_to_bound(bounds, value, satisfied):
    assert (condition(**bounds).unmet({"accuracy": value}) == "") is satisfied


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        pytest.param({"accuracy": 0.85}, "asks for accuracy at least 0.9, and the run's is 0.85", id="too little"),
        pytest.param(
            {"loss": 1, "auc": 2},
            "asks for accuracy at least 0.9, and the run logged no metric of that name: it logged auc, loss",
            id="another metric",
        ),
        pytest.param(
            {},
            "asks for accuracy at least 0.9, and the run logged no metric of that name: it logged none at all",
            id="no metric",
        ),
    ],
)
def test_what_is_not_satisfied_is_said_with_the_value_and_what_there_is(metrics, words):
    assert condition(atLeast=0.9).unmet(metrics) == words


def test_of_many_metrics_some_are_named():
    words = condition(atMost=1).unmet({f"m{number:03}": 1 for number in range(500)})
    assert words.endswith("m008, m009 and 490 more")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        pytest.param([], "when must be an object", id="no object"),
        pytest.param({"atLeast": 1}, "when.metric must be text: it is missing", id="no metric"),
        pytest.param({"metric": "", "atLeast": 1}, "when.metric is empty", id="empty name"),
        pytest.param({"metric": "a"}, "when has neither atLeast nor atMost", id="no bound"),
        pytest.param({"metric": "a", "atLeast": "1"}, "when.atLeast is '1': give a number", id="text"),
        pytest.param({"metric": "a", "atMost": True}, "when.atMost is True: give a number", id="boolean"),
        pytest.param({"metric": "a", "atMost": float("nan")}, "when.atMost is nan", id="NaN"),
        pytest.param({"metric": "a", "atMost": 1e300}, "when.atMost is 1e+300", id="too large"),
        pytest.param({"metric": "a", "atLeast": 2, "atMost": 1}, "asks for at least 2 and at most 1", id="empty range"),
    ],
)
def test_a_condition_that_cannot_work_is_refused_in_words_that_help(broken, message):
    with pytest.raises(SpecError) as caught:
        MetricCondition.parse(broken, "when")
    assert message in str(caught.value)


def test_no_condition_is_none():
    assert MetricCondition.parse(None, "when") is None
