"""Tables line up on a terminal, and say durations and sizes as people do."""

from __future__ import annotations

import pytest

from trainyard.cli import tables
from trainyard.cli.values import entries, parameters


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        pytest.param([("a", "x")], ["NAME  WHAT", "a     x"], id="short"),
        pytest.param([("longer", ""), ("b", "y")], ["NAME    WHAT", "longer  -", "b       y"], id="empty cells"),
        pytest.param([("精度", "x"), ("ab", "y")], ["NAME  WHAT", "精度  x", "ab    y"], id="wide characters"),
        pytest.param([("e\u0301", "x")], ["NAME  WHAT", "e\u0301     x"], id="combining characters"),
        pytest.param([("a\x1b[31m", "x\ny")], ["NAME    WHAT", "a\ufffd[31m  x y"], id="what moves the cursor"),
    ],
)
def test_columns_line_up(rows, lines):
    assert tables.table(("NAME", "WHAT"), rows) == lines


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0s"), (0, "0s"), (59.4, "59s"), (60, "1m00s"), (312, "5m12s"), (600, "10m"), (3599, "59m"),
        (3600, "1h00m"), (86399, "23h59m"), (90000, "1d01h"),
    ],
)  # fmt: skip
def test_a_duration_is_as_short_as_people_say_it(seconds, said):
    assert tables.span(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_500_000, "1.5 MB"), (2e9, "2.0 GB"), (5e15, "5000.0 TB")],
)
def test_a_size_has_its_unit(count, said):
    assert tables.size(int(count)) == said


def test_a_time_that_is_not_known_is_a_dash():
    assert tables.since(None) == "-"
    assert tables.since("2026-11-26T00:00:00Z", "2026-11-26T00:01:05Z") == "1m05s"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.8", 0.8), ("3", 3), ("-2", -2), ("1e5", 1e5), ("007", 7), ("true", "true"), ("", ""), ("1_000", "1_000"),
        ("nan", "nan"), ("-inf", "-inf"), (" 3", " 3"), ("a=b", "a=b"),
    ],
)  # fmt: skip
def test_a_parameter_that_looks_like_a_number_is_one(text, value):
    found = parameters([f"rate={text}"], what="--param")["rate"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["rate"], "--tag is 'rate': give NAME=VALUE", id="no value"),
        pytest.param(["=1"], "--tag is '=1': give NAME=VALUE", id="no name"),
        pytest.param(["a=1", "a=2"], "--tag has a twice: give it once", id="twice"),
    ],
)
def test_what_is_no_pair_is_refused(words, said):
    from click import UsageError

    with pytest.raises(UsageError) as caught:
        entries(words, what="--tag")
    assert caught.value.format_message() == said
