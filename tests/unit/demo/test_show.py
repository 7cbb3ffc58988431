"""What is printed of a run that has ended."""

from __future__ import annotations

import pytest

from demo import show


def test_a_model_is_shown_with_name_id_and_version():
    models = [{"name": "sklearn_mnist", "id": "sklearn_mnist:2", "version": 2, "uri": "s3://…"}]
    assert show.model_lines(models) == ["sklearn_mnist\tsklearn_mnist:2\t2"]


def test_a_failure_is_shown_with_its_reason_message_and_the_end_of_the_log():
    status = {"failure": {"reason": "ScriptFailed", "message": "train.py ended with exit code 3", "logTail": "a\nb"}}
    assert show.failure_lines(status) == [
        "Failed: ScriptFailed: train.py ended with exit code 3",
        "The end of its log:",
        "  | a",
        "  | b",
    ]


def registered(state):
    return [{"spec": {"modelName": "m"}, "status": {"versions": [{"id": "m:1", "state": state}]}}]


@pytest.mark.parametrize(
    ("entries", "models", "expected"),
    [
        pytest.param([{"name": "m", "path": "outputs/m", "id": "m:1"}], registered("Ready"), [], id="ready"),
        pytest.param(
            [{"name": "m", "path": "outputs/m", "id": "m:1"}],
            registered("Pending"),
            ["the model version m:1 is Pending, not Ready"],
            id="pending",
        ),
        pytest.param(
            [{"name": "m", "path": "outputs/m", "id": "m:1"}],
            [{"spec": {}}],
            ["the model version m:1 is missing, not Ready"],
            id="no-status",
        ),
        pytest.param([], registered("Ready"), ["the model m was not registered"], id="not-registered"),
    ],
)
def test_a_model_counts_only_when_its_version_is_ready(entries, models, expected):
    assert (
        show.missing_models({"models": [{"name": "m", "path": "outputs/m"}]}, {"models": entries}, models) == expected
    )


def test_timings_say_where_the_time_went():
    moments = ["00:00:00", "00:00:02", "00:00:05", "00:00:40", "00:00:42"]
    phases = [
        {"name": name, "startTime": f"2026-01-01T{begin}Z", "endTime": f"2026-01-01T{end}Z"}
        for name, begin, end in zip(
            ("Pending", "Provisioning", "Running", "Finalizing"), moments[:-1], moments[1:], strict=True
        )
    ]
    phases.append({"name": "Completed", "startTime": "2026-01-01T00:00:42Z"})
    line = show.timings({"phases": phases}, upload=1.25, total=44.5)
    assert line == "upload 1.2 s, waiting 5 s, training 35 s, saving 2 s, total 44.5 s"
