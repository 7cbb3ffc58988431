"""docs/cli.md tells of every command and exit code that there is."""

from __future__ import annotations

import re
from pathlib import Path

import click

from trainyard.cli import root

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text()


def commands(group, *path):
    """Return every command by the words that it is called by, in order."""
    found = {}
    for name in sorted(group.commands):
        command = group.commands[name]
        if isinstance(command, click.Group):
            found |= commands(command, *path, name)
        else:
            found[" ".join((*path, name))] = command
    return found


def usage(name, command):
    """Return a command with its arguments."""
    words = [part.make_metavar(click.Context(command)) for part in command.params if isinstance(part, click.Argument)]
    return " ".join((name, *words)).replace("|", "\\|")


def sentence(text):
    """Return the first sentence of a help text, without its end."""
    return re.split(r"\.(?:\s|$)", " ".join(text.split()))[0]


def test_the_table_has_every_command_with_what_it_does():
    expected = [
        f"| `{usage(name, command)}` | {sentence(command.help)} |" for name, command in commands(root.cli).items()
    ]
    table = PAGE.split("## Commands")[1].split("##")[0]
    assert [line for line in table.splitlines() if line.startswith("| `")] == expected


def test_the_table_has_every_exit_code():
    table = PAGE.split("## Exit codes")[1].split("##")[0]
    told = [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)]
    there = {code for _, code in root.CODES} | {0, root.BUG, root.INTERRUPTED, root.BROKEN_PIPE}
    assert told == sorted(there)
    short = re.search(r"Exit codes: (.*)", root.cli.epilog)[1]
    assert [int(code) for code in re.findall(r"\d+", short)] == [*range(8), root.INTERRUPTED]


def test_options_that_the_page_names_exist():
    there = {option for command in commands(root.cli).values() for part in command.params for option in part.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) - {"--help", "--data-folder"}
    assert named - there == set()
