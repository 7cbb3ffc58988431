"""The outermost command: what its errors look like, and what its exit codes mean."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import click

from trainyard import errors
from trainyard.cli import clusters, data, models, runs, setup, submit
from trainyard.cli.doctor import doctor
from trainyard.cli.session import Session, YardGroup, with_global_options

FAILED, USAGE, NOT_FOUND, FORBIDDEN, UNREACHABLE, CONFLICT, TIMEOUT, BUG = 1, 2, 3, 4, 5, 6, 7, 70
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
# The first that fits counts.
CODES: Final[Sequence[tuple[type[errors.TrainyardError], int]]] = (
    (errors.NotFound, NOT_FOUND),
    (errors.Forbidden, FORBIDDEN),
    (errors.Unreachable, UNREACHABLE),
    (errors.StoreUnavailable, UNREACHABLE),
    (errors.Conflict, CONFLICT),
    (errors.Timeout, TIMEOUT),
    (errors.ConfigError, USAGE),
    (errors.Invalid, USAGE),
    (errors.SnapshotError, USAGE),
    (errors.TrainyardError, FAILED),
)


class Root(YardGroup):
    """Turns whatever ends a command into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        session = ctx.ensure_object(Session)
        try:
            result = super().invoke(ctx)
            # What is still kept back breaks here, and not when the interpreter has said goodbye.
            sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit):
            raise
        except BrokenPipeError:
            _drop_output()
            ctx.exit(BROKEN_PIPE)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except errors.TrainyardError as error:
            _report(str(error), debug=session.debug)
            ctx.exit(code_of(error))
        except OSError as error:
            _report(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "), debug=session.debug)
            ctx.exit(FAILED)
        except click.Abort:
            _report("given up", debug=False)
            ctx.exit(FAILED)
        except Exception as error:  # noqa: BLE001 - a mistake of this program is told like anything else
            _report(
                f"a mistake of trainyard itself, {type(error).__name__}: {error}. --debug prints where",
                debug=session.debug,
            )
            ctx.exit(BUG)
        finally:
            session.close()
        return result

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the command line, with what is wrong with it in one line."""
        try:
            code = super().main(*args, standalone_mode=False, **extra)  # type: ignore[call-overload]
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else self.name
            said = error.format_message()
            end = "" if said.endswith((".", "?")) else "."
            _report(f"{said}{end} Try: {path} --help", debug=False)
            code = USAGE
        except click.ClickException as error:
            _report(error.format_message(), debug=False)
            code = error.exit_code
        except click.Abort:
            code = INTERRUPTED
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


def code_of(error: BaseException) -> int:
    """Return the exit code of an error; that of its cause, where a compute target passes on what happened."""
    if isinstance(error, errors.ComputeTargetException) and isinstance(error.__cause__, errors.TrainyardError):
        return code_of(error.__cause__)
    return next((code for kind, code in CODES if isinstance(error, kind)), FAILED)


@with_global_options
@click.group(
    cls=Root,
    name="trainyard",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="The global options may also stand behind the command. Exit codes: 0 done, 1 failed, 2 usage, 3 not found, "
    "4 forbidden, 5 unreachable, 6 conflict, 7 timeout, 130 interrupted.",
)
@click.version_option(version("trainyard"), message="trainyard %(version)s")
def cli() -> None:
    """Train on a Kubernetes cluster that has Trainyard."""


for command in (*submit.COMMANDS, *runs.COMMANDS, clusters.cluster, models.models, data.data, doctor, *setup.COMMANDS):
    cli.add_command(command)


def run(argv: Sequence[str]) -> int:
    """Run the command line with the arguments of a process, and return its exit code."""
    plugin = Path(argv[0]).stem == "kubectl-trainyard"
    # The shell's question is the same by whichever name one is called.
    name = "kubectl trainyard" if plugin else "trainyard"
    code = cli.main(list(argv[1:]), prog_name=name, complete_var="_TRAINYARD_COMPLETE", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _report(text: str, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    click.echo(f"trainyard: {' '.join(text.split())}", err=True)


def _drop_output() -> None:
    # Whoever read the output has gone: what is left of it must not be complained about at the end either.
    with contextlib.suppress(OSError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
