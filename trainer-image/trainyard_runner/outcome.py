"""How a script ended, in a code and in words."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace

_MEBIBYTE = 1024 * 1024
_SIGNAL_BASE = 128
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


@dataclass(frozen=True)
class Outcome:
    """The end of a script; `reason` is None after success and else one of the operator's."""

    exit_code: int
    signal: int | None = None
    reason: str | None = None
    message: str = ""


def not_started(script: str, error: OSError) -> Outcome:
    """Return the outcome of a script that could not be started."""
    missing = isinstance(error, FileNotFoundError)
    what = error.filename or "python3"
    message = f"{script} could not be started: {error.strerror or error}: {what!r}"
    if missing:
        message += ": the image needs python3 3.9 or newer on its PATH"
    return Outcome(exit_code=_NOT_FOUND if missing else _NOT_EXECUTABLE, reason="ScriptFailed", message=message)


def outcome_of(
    status: int, *, script: str, stopped_by: int | None, memory_kills: int, memory_limit: int | None
) -> Outcome:
    """Return the outcome behind a wait status.

    Parameters
    ----------
    stopped_by
        The signal that came from outside and was passed on to the script.
    memory_kills
        How many processes were killed for want of memory while the script ran.
    memory_limit
        The container's memory limit in bytes.
    """
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    code = os.WEXITSTATUS(status) if number is None else _SIGNAL_BASE + number
    if code == 0:
        return Outcome(exit_code=0)
    ended = _words(script, code, number)
    if memory_kills:
        limit = f" of {memory_limit / _MEBIBYTE:.0f} MiB" if memory_limit else ""
        whom = f"{script} was" if number == signal.SIGKILL else f"a process of {script} was"
        message = (
            f"{whom} killed because the container reached its memory limit{limit}: "
            "raise spec.resources.limits.memory or load less data at once"
        )
        return Outcome(exit_code=code, signal=number, reason="OutOfMemory", message=message)
    if stopped_by is not None:
        name = signal.Signals(stopped_by).name
        message = f"{ended} after the pod was told to stop ({name}): it was deleted, evicted, or its node goes away"
        return Outcome(exit_code=code, signal=number, reason="RunFailed", message=message)
    return Outcome(exit_code=code, signal=number, reason="ScriptFailed", message=ended)


def called_off(outcome: Outcome, *, script: str, words: str | None) -> Outcome:
    """Return the outcome of a script that said of itself that it failed, in `words`; None if it did not say so."""
    if words is None:
        return outcome
    message = f"{script} said that it failed: {words}"
    if outcome.exit_code == 0:
        return Outcome(exit_code=1, reason="ScriptFailed", message=message)
    if outcome.reason != "ScriptFailed":
        return outcome
    return replace(outcome, message=f"{message} ({outcome.message})")


def _words(script: str, code: int, number: int | None) -> str:
    if number is not None:
        return f"{script} was killed by {_signal_name(number)} (exit code {code})"
    if code > _SIGNAL_BASE and (name := _signal_name(code - _SIGNAL_BASE)).startswith("SIG"):
        return f"{script} ended with exit code {code}, which means that a process of it was killed by {name}"
    return f"{script} ended with exit code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
