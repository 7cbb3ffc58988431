"""The table of reasons on the page about a run's life."""

from __future__ import annotations

from tools import reason_docs
from trainyard_operator.api.reasons import TrainingJobReason


def test_the_table_of_reasons_says_what_the_operator_does():
    text = reason_docs.PAGE.read_text()
    assert text == reason_docs.render(text), "run python -m tools.reason_docs"
    assert reason_docs.main(["--check"]) == 0


def test_every_reason_is_in_the_table_and_says_whether_it_is_tried_again():
    lines = {line.split("`")[1]: line for line in reason_docs.table().splitlines()[2:]}
    assert set(lines) == {reason.value for reason in TrainingJobReason}
    assert "spec.retries" in lines["ScriptFailed"]
    assert "does not count" in lines["NodeLost"]
    assert lines["InputNotFound"].endswith("|  |")


def test_a_stale_table_is_noticed_and_mended(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{reason_docs.BEGIN}\nold\n{reason_docs.END}\nafter\n")
    monkeypatch.setattr(reason_docs, "PAGE", page)
    monkeypatch.setattr(reason_docs, "ROOT", tmp_path)
    assert reason_docs.main(["--check"]) == 1
    assert reason_docs.main([]) == 0
    assert "`ScriptFailed`" in page.read_text()
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
    assert reason_docs.main(["--check"]) == 0
