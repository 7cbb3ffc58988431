"""How a script ended, in a code and in words."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace

from trainyard.contract import SIGNAL_BASE, explain_exit

_MEBIBYTE = 1024 * 1024
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


def outcome_of(  # noqa: PLR0913 - all but the first by name
    status: int,
    *,
    script: str,
    stopped_by: int | None,
    memory_kills: int,
    memory_limit: int | None,
    memory_peak: int | None,
    disk_full: bool,
) -> Outcome:
    """Return the outcome behind a wait status.

    A script that was told to stop is not done, whatever its exit code: it may have saved a checkpoint and ended with 0.

    Parameters
    ----------
    stopped_by
        The signal that came from outside and was passed on to the script.
    memory_kills
        How many processes were killed for want of memory while the script ran.
    memory_limit, memory_peak
        The container's memory limit, and the most that it has used, in bytes.
    disk_full
        Whether the script's last words were about a full disk.
    """
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    code = os.WEXITSTATUS(status) if number is None else SIGNAL_BASE + number
    if code == 0 and stopped_by is None:
        return Outcome(exit_code=0)
    ended = f"{script} ended with {explain_exit(code, number)}"
    if memory_kills and code:
        message = _out_of_memory(script, number, memory_limit, memory_peak)
        return Outcome(exit_code=code, signal=number, reason="OutOfMemory", message=message)
    if stopped_by is not None:
        name = signal.Signals(stopped_by).name
        message = f"{ended} after the pod was told to stop ({name}): it was deleted, evicted, or its node goes away"
        return Outcome(exit_code=code or SIGNAL_BASE + stopped_by, signal=number, reason="RunFailed", message=message)
    if disk_full:
        message = f"{ended}: no space was left on its disk; write less, or use nodes with larger disks"
        return Outcome(exit_code=code, signal=number, reason="DiskFull", message=message)
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


def _out_of_memory(script: str, number: int | None, limit: int | None, peak: int | None) -> str:
    whom = f"{script} was" if number == signal.SIGKILL else f"a process of {script} was"
    of = f" of {limit / _MEBIBYTE:.0f} MiB" if limit else ""
    used = f" (it used {peak / _MEBIBYTE:.0f} MiB at its peak)" if peak else ""
    return (
        f"{whom} killed because the container reached its memory limit{of}{used}: "
        "raise spec.resources.limits.memory or load less data at once"
    )
