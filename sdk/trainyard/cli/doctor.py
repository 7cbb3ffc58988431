"""`doctor`: whether all that the SDK and the command line need is there, and what to do where it is not."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from trainyard.cli.output import dumped, output_option, say
from trainyard.cli.session import Session, YardCommand, pass_session
from trainyard.cli.tables import clean

if TYPE_CHECKING:
    from trainyard.cli.checks import Check

_COLOURS: Final = {"ok": "green", "warn": "yellow", "FAIL": "red"}
_NAME_COLUMNS: Final = 10


@click.command(cls=YardCommand)
@output_option("json", default="text")
@pass_session
def doctor(session: Session, output: str) -> None:
    """Check the way to the cluster and what it has; exit code 1 if anything fails."""
    from trainyard.cli import quick

    quick.install()
    from trainyard.cli.checks import FAIL, examine

    found: list[Check] = []
    for check in examine(session):
        found.append(check)
        if output == "text":
            # As it comes: what takes long is what is wrong.
            say(lines_of(check))
    if output == "json":
        say(dumped([asdict(check) for check in found], "json"))
    if any(check.level == FAIL for check in found):
        raise click.exceptions.Exit(1)


def lines_of(check: Check) -> list[str]:
    """Return the line of a check, and below it what to do."""
    level = f"{check.level:<4}"
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        level = click.style(level, fg=_COLOURS[check.level])
    line = f"{level}  {check.name:<{_NAME_COLUMNS}}  {clean(check.message)}"
    return [line, f"{'':<4}  {'':<{_NAME_COLUMNS}}  -> {clean(check.fix)}"] if check.fix else [line]
