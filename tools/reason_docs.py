"""Writes the table of reasons in docs/life-of-a-run.md from what the operator says and does.

Run it as ``python tools/reason_docs.py`` after a change of a reason; with ``--check`` it only says whether it is stale.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trainyard_operator.api.reasons import TrainingJobReason
from trainyard_operator.domain.retries import COUNTED, DISRUPTIONS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "life-of-a-run.md"
BEGIN = "<!-- Made by tools/reason_docs.py from api/reasons.py and domain/retries.py: begin -->"
END = "<!-- end -->"


def table() -> str:
    """Return the table of all reasons of a TrainingJob."""
    lines = ["| Reason | Meaning | Another attempt |", "| --- | --- | --- |"]
    lines += [f"| `{reason}` | {reason.explanation} | {_again(reason)} |" for reason in TrainingJobReason]
    return "\n".join(lines)


def _again(reason: TrainingJobReason) -> str:
    if reason in COUNTED:
        return "as often as `spec.retries` says"
    return "yes; it does not count" if reason in DISRUPTIONS | {TrainingJobReason.SUSPENDED} else ""


def render(text: str) -> str:
    """Return the page `text` with the table as it has to be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Write the table, or with ``--check`` compare it."""
    parser = argparse.ArgumentParser(description="Write the table of reasons in docs/life-of-a-run.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the table is stale")
    check = parser.parse_args(arguments).check
    text = PAGE.read_text()
    wanted = render(text)
    if text == wanted:
        return 0
    print(f"{PAGE.relative_to(ROOT)} {'is stale' if check else 'written'}")
    if not check:
        PAGE.write_text(wanted)
    return 1 if check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
