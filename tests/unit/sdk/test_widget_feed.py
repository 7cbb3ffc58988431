"""What is heard of a run becomes what is shown of it, whole or as what is new."""

from __future__ import annotations

import json
import math
from array import array

import pytest

from trainyard.widgets import paper
from trainyard.widgets.feed import FEW_POINTS, LINE_CHARS, LOG_LINES, RunFeed
from trainyard.widgets.look import bytes_in_words, look_of, seconds_in_words
from trainyard.widgets.series import MAX_POINTS, Series, series_of, thinned

EVIL = '<img src=x onerror="alert(1)">'
NOON = 1795608000.0  # 2026-11-25T12:00:00Z


def job(phase="Running", *, message="train.py runs", spec=None, name="digits-1", **status):
    ready = {"type": "Ready", "status": "False", "reason": "Because", "message": message}
    return {
        "metadata": {"name": name, "namespace": "team-a", "uid": "u", "creationTimestamp": "2026-11-25T12:00:00Z"},
        "spec": {"experiment": "digits", **(spec or {})},
        "status": {"phase": phase, "conditions": [ready], **status},
    }


def applied(shown, difference):
    """Do what the page does with a difference."""
    shown["view"].update(difference.message["view"])
    if "log" in difference.message:
        shown["log"] += difference.message["log"]["lines"]
    buffers = iter(difference.buffers)
    for about in difference.message.get("series", {}).get("of", []):
        x, y = next(buffers), next(buffers)
        had = shown["series"].setdefault(about["name"], ([], []))
        had[0].extend(x)
        had[1].extend(y)


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        pytest.param(
            job("Queued", message="2 runs are before it", queue={"position": 3, "pending": 5, "estimatedStart": {"likely": "2026-11-25T12:05:00Z"}}),
            {"status": "Queued", "tone": "waiting", "message": "2 runs are before it", "queue": {"position": 3, "pending": 5, "likely": NOON + 300}},
            id="its-place-in-the-queue",
        ),
        pytest.param(
            job(startTime="2026-11-25T12:00:00Z", progress={"percent": 25, "updatedTime": "2026-11-25T12:01:00Z", "message": "epoch 1"}),
            {"tone": "active", "progress": {"percent": 25, "eta": NOON + 240, "message": "epoch 1"}},
            id="how-long-it-takes-from-how-far-it-is",
        ),
        pytest.param(
            job(progress={"etaSeconds": 30, "updatedTime": "2026-11-25T12:01:00Z"}),
            {"progress": {"percent": None, "eta": NOON + 90, "message": ""}},
            id="how-long-it-takes-as-the-script-says",
        ),
        pytest.param(
            job("Failed", failure={"reason": "UserError", "message": "exit code 1", "exitCode": 1, "logTail": "ValueError"}),
            {"tone": "bad", "ended": True, "reason": "UserError", "failure": {"reason": "UserError", "message": "exit code 1", "exitCode": 1, "logTail": "ValueError"}},
            id="why-it-failed",
        ),
        pytest.param(
            job(spec={"cancel": True}), {"status": "CancelRequested", "tone": "warn", "ended": False}, id="being-canceled"
        ),
        pytest.param(
            job("Completed", models=[{"id": "digits:2", "path": "outputs/m.pkl"}], heldModels=[{"name": "best", "message": "accuracy is 0.1"}]),
            {"tone": "good", "models": [{"id": "digits:2", "path": "outputs/m.pkl"}], "held": [{"name": "best", "message": "accuracy is 0.1"}]},
            id="its-models",
        ),
        pytest.param({"metadata": {"name": "new"}}, {"status": "NotStarted", "phases": [], "progress": None}, id="nothing-known"),
    ],
)  # fmt: skip
def test_a_run_is_shown_with(job, expected):
    look = look_of(job)
    assert {name: look[name] for name in expected} == expected
    json.dumps(look)


def test_phases_are_shown_without_the_one_that_ends_it():
    phases = [
        {"name": "Queued", "startTime": "2026-11-25T12:00:00Z", "endTime": "2026-11-25T12:00:10Z"},
        {"name": "Running", "startTime": "2026-11-25T12:00:10Z", "endTime": "2026-11-25T12:00:30Z"},
        {"name": "Completed", "startTime": "2026-11-25T12:00:30Z", "endTime": "2026-11-25T12:00:30Z"},
    ]
    shown = look_of(job("Completed", phases=phases))["phases"]
    assert [(phase["name"], phase["end"] - phase["start"]) for phase in shown] == [("Queued", 10), ("Running", 20)]


def test_all_differences_together_are_the_whole():
    feed, shown = RunFeed(), {"view": {}, "log": [], "series": {}}
    steps = [
        lambda: feed.job(job("Queued")),
        lambda: feed.job(job(metrics={"loss": 0.5})),
        lambda: feed.lines(["one", "two"]),
        lambda: feed.job(job(metrics={"loss": 0.25, "accuracy": "NaN"})),
        lambda: feed.files({"logs/train.log": 12}),
        lambda: feed.lines(["three"]),
        lambda: feed.note("files", "the store is away"),
    ]
    for number, step in enumerate(steps, start=1):
        step()
        difference = feed.difference(now=NOON)
        assert difference.message["number"] == number
        applied(shown, difference)
        assert feed.difference(now=NOON) is None
    whole = feed.snapshot(now=NOON)
    assert (shown["view"], shown["log"]) == (whole["view"], whole["log"]["lines"])
    assert [*shown["series"]["loss"][1]] == whole["series"]["of"][0]["y"] == [0.5, 0.25]
    assert whole["number"] == len(steps)


def test_only_what_changed_is_sent():
    feed = RunFeed()
    feed.job(job(metrics={"loss": 0.5}))
    feed.lines(["one"])
    feed.difference(now=NOON)
    feed.job(job(metrics={"loss": 0.4}))
    feed.lines(["two"])
    news = feed.difference(now=NOON)
    assert news.message == {
        "number": 2,
        "now": NOON,
        "view": {"latest": [["loss", 0.4]]},
        "log": {"epoch": 0, "from": 1, "lines": ["two"]},
        "series": {"epoch": 0, "of": [{"name": "loss", "axis": "time", "from": 1, "count": 2}]},
    }
    assert [part.tolist() for part in news.buffers] == [[0.0], [0.4]]


def test_a_log_without_end_takes_no_memory_without_end():
    feed = RunFeed()
    feed.lines(f"line {number}" for number in range(3 * LOG_LINES))
    feed.lines(["x" * 10 * LINE_CHARS])
    log = feed.snapshot(now=NOON)["log"]
    assert (log["from"], len(log["lines"])) == (2 * LOG_LINES + 1, LOG_LINES)
    assert len(log["lines"][-1]) <= LINE_CHARS + 2
    assert len(feed.difference(now=NOON).message["log"]["lines"]) == LOG_LINES


def test_another_attempt_begins_its_log_anew():
    feed = RunFeed()
    feed.lines(["of the first"])
    feed.difference(now=NOON)
    feed.new_log()
    assert feed.difference(now=NOON).message["log"] == {"epoch": 1, "from": 0, "lines": []}
    feed.lines(["of the second"])
    assert feed.difference(now=NOON).message["log"] == {"epoch": 1, "from": 0, "lines": ["of the second"]}


def test_colours_of_terminals_are_not_shown():
    feed = RunFeed()
    feed.lines(["\x1b[1;31mred\x1b[0m and \x1b]0;title\x07plain\x00"])
    assert feed.snapshot(now=NOON)["log"]["lines"] == ["red and plain"]


def test_the_history_takes_the_place_of_what_was_heard():
    feed = RunFeed()
    feed.job(job(metrics={"loss": 0.5}))
    feed.difference(now=NOON)
    feed.history([{"metric": "loss", "value": 1 / step, "step": step} for step in (1, 2, 4)])
    feed.job(job(metrics={"loss": 0.1}))
    news = feed.difference(now=NOON)
    assert news.message["series"] == {"epoch": 1, "of": [{"name": "loss", "axis": "step", "from": 0, "count": 3}]}
    assert [part.tolist() for part in news.buffers] == [[1, 2, 4], [1, 0.5, 0.25]]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([{"metric": "a", "value": 1}, {"metric": "a", "value": "NaN"}], {"a": ("order", [1, 2], [1, None])}, id="no-steps"),
        pytest.param([{"list": "l", "values": [3, 2]}], {"l": ("order", [1, 2], [3, 2])}, id="list"),
        pytest.param([{"row": "r", "values": {"x": 1, "who": "ann"}}], {"r/x": ("order", [1], [1])}, id="row"),
        pytest.param([{"table": "t", "columns": {"x": [1, 2]}}], {"t/x": ("order", [1, 2], [1, 2])}, id="table"),
        pytest.param([{"metric": "big", "value": 10**400}, {"metric": "b"}, {"tags": {}}, {"list": "l", "values": 3}], {}, id="nothing-to-draw"),
    ],
)  # fmt: skip
def test_series_are_made_of(entries, expected):
    found = series_of(entries)
    shown = {n: (s.axis, s.x.tolist(), [None if math.isnan(y) else y for y in s.y]) for n, s in found.items()}
    assert shown == expected


def test_few_points_keep_each_peak_and_the_ends():
    x, y = array("d", range(100_000)), array("d", [0.0]) * 100_000
    y[54_321], y[99_999] = 7.0, -1.0
    few_x, few_y = thinned(x, y, FEW_POINTS)
    assert len(few_x) <= FEW_POINTS + 1
    assert dict(zip(few_x, few_y, strict=True))[54_321] == 7.0
    assert (few_x[0], few_x[-1], few_y[-1]) == (0, 99_999, -1.0)


def test_a_series_without_end_is_thinned_and_counted():
    series = Series("order")
    for number in range(MAX_POINTS + 10):
        series.add(number, math.inf if number % 7 == 0 else number)
    assert len(series.x) <= MAX_POINTS
    assert series.count == MAX_POINTS + 10
    feed = RunFeed()
    feed.history([{"metric": "m", "value": number} for number in range(3 * FEW_POINTS)])
    (one,) = feed.snapshot(now=NOON)["series"]["of"]
    assert (one["count"], len(one["x"]) <= FEW_POINTS + 1) == (3 * FEW_POINTS, True)
    ((about, x, _),) = feed.whole_series()
    assert (about["count"], len(x)) == (3 * FEW_POINTS, 3 * FEW_POINTS)


def test_nothing_that_a_run_says_becomes_markup():
    feed = RunFeed()
    failed = {"reason": EVIL, "message": EVIL, "logTail": EVIL}
    feed.job(
        job("Failed", message=EVIL, name=EVIL, metrics={EVIL: 1}, failure=failed, models=[{"id": EVIL, "path": EVIL}])
    )
    feed.lines([EVIL])
    feed.files({EVIL: 1})
    feed.note("watch", EVIL)
    feed.history([{"metric": EVIL, "value": 1}, {"metric": EVIL, "value": 2}])
    text = paper.html_of(feed.snapshot(now=NOON))
    assert text.count("&lt;img") >= 8
    assert "<img" not in text


def test_a_run_as_text():
    feed = RunFeed()
    phases = [{"name": "Running", "startTime": "2026-11-25T12:00:00Z"}]
    feed.job(job(phases=phases, progress={"percent": 40, "message": "epoch 4"}, metrics={"loss": 0.123456789}))
    feed.files({"outputs/m.pkl": 4100})
    assert paper.text_of(feed.snapshot(now=NOON + 125)).splitlines() == [
        "Run digits-1 of digits: Running",
        "  train.py runs",
        "  40 % epoch 4",
        "  Running 2 min 05 s",
        "  loss = 0.123457",
        "  outputs/m.pkl  4.1 kB",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.4, "59 s"), (125, "2 min 05 s"), (11040, "3 h 04 min"), (None, ""), (-3, "0 s")],
)
def test_durations_in_words(seconds, words):
    assert seconds_in_words(seconds) == words


@pytest.mark.parametrize(("size", "words"), [(812, "812 B"), (4100, "4.1 kB"), (12_300_000, "12 MB"), (5e12, "5.0 TB")])
def test_sizes_in_words(size, words):
    assert bytes_in_words(size) == words
