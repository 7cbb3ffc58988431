"""Writes the table of reasons in docs/life-of-a-run.md from what the operator says and does.

Run it as ``python -m tools.reason_docs`` after a change of a reason; with ``--check`` it only says whether it is stale.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tools.generated import write_pages
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
    return write_pages(
        {PAGE: render(PAGE.read_text())},
        arguments=arguments,
        root=ROOT,
        description="Write the table of reasons in docs/life-of-a-run.md.",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
