"""What the restore command says."""

from __future__ import annotations

import pytest

from trainyard_operator.restore import EXIT_CONFIG, Row, main, ranges, table


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        pytest.param([], "", id="none"),
        pytest.param([7], "7", id="one"),
        pytest.param([3, 1, 2, 6, 9, 8], "1-3, 6, 8-9", id="runs-of-numbers"),
    ],
)
def test_numbers_are_written_as_people_do(numbers, text):
    assert ranges(numbers) == text


def test_each_model_has_a_line_and_what_is_to_know_below_it():
    rows = [
        Row(namespace="a", model="mnist", outcome="created", added=(1, 2), highest=3, notes=("number 3 stays used",)),
        Row(namespace="b", model="iris", outcome="unchanged", highest=1),
    ]
    assert table(rows, dry_run=True).splitlines() == [
        "NAMESPACE   MODEL   OUTCOME     VERSIONS ADDED   HIGHEST NUMBER",
        "a           mnist   created     1-2              3",
        "  number 3 stays used",
        "b           iris    unchanged   -                1",
        "would add 2 version(s) to 1 of 2 model(s)",
    ]


def test_an_empty_store_is_said_to_be_empty():
    assert table([], dry_run=False).splitlines()[-1] == "added 0 version(s) to 0 of 0 model(s)"


def test_without_the_operators_settings_it_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.delenv("TRAINYARD_TRAINER_IMAGE", raising=False)
    assert main([]) == EXIT_CONFIG
    assert "TRAINYARD_TRAINER_IMAGE is not set" in capsys.readouterr().err
