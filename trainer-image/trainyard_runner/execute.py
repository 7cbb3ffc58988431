"""The training container: run the script, tell how it is going, and save what it leaves.

Nothing stands between the container's start and the script's first line but reading one file: TLS, HTTP and all that
they import come afterwards. Nothing of a run is lost while the gateway or the store is away, since everything is on
disk and saving it waits; only when it is saved does the container end.
"""

from __future__ import annotations

import errno
import json
import os
import time
from typing import TYPE_CHECKING, cast

from trainyard.contract import ENV_CA, ENV_GATEWAY
from trainyard_runner.cgroup import memory_kills, memory_limit, memory_peak
from trainyard_runner.child import Minder
from trainyard_runner.command import command_of, environment_of
from trainyard_runner.outcome import Outcome, not_started, outcome_of
from trainyard_runner.termination import termination, write_termination
from trainyard_runner.warnings import tell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainyard.contract import RunDocument
    from trainyard_runner.layout import Layout

CONTAINER = "train"


def execute(*, layout: Layout, environ: Mapping[str, str]) -> int:
    """Run the script that `prepare` made ready and return the container's exit code."""
    try:
        document = cast("RunDocument", json.loads(layout.run_file.read_text()))
    except (OSError, ValueError) as error:
        return _cannot_run(layout, f"what the container `prepare` left cannot be read: {error}")
    missing = [name for name in (ENV_GATEWAY, ENV_CA) if name not in environ]
    if missing:
        return _cannot_run(layout, f"the container has no variable {missing[0]}: the operator sets it")
    minder = Minder()
    begun, kills = time.time(), memory_kills(layout.cgroup)
    # A run that logs nothing has an empty history, not none.
    layout.metrics_file.touch()
    pipe, outcome = _start(minder, document, environ=environ, layout=layout)

    from trainyard_runner.session import Session  # noqa: PLC0415 - while the script is starting already

    session = Session(document=document, layout=layout, environ=environ, begun=begun)
    session.start()
    if pipe is None:
        return session.finish(outcome, ended=time.time())
    session.follow(pipe)
    status, ended = minder.wait(), time.time()
    session.drain(minder)
    outcome = outcome_of(
        status,
        script=document["entryScript"],
        stopped_by=minder.stopped_by,
        memory_kills=memory_kills(layout.cgroup) - kills,
        memory_limit=memory_limit(layout.cgroup),
        memory_peak=memory_peak(layout.cgroup),
        disk_full=session.tail().rstrip().endswith(os.strerror(errno.ENOSPC)),
    )
    return session.finish(outcome, ended=ended)


def _cannot_run(layout: Layout, message: str) -> int:
    tell(message)
    document = termination(container=CONTAINER, reason="RunFailed", message=message, exit_code=1)
    write_termination(layout.termination_log, document)
    return 1


def _start(
    minder: Minder, document: RunDocument, *, environ: Mapping[str, str], layout: Layout
) -> tuple[int | None, Outcome]:
    env = environment_of(environ=environ, layout=layout)
    try:
        return minder.start(command_of(document), cwd=layout.work, env=env), Outcome(exit_code=0)
    except OSError as error:
        return None, not_started(document["entryScript"], error)
    except ValueError as error:
        # A NUL in an argument: no program can be called like that.
        message = f"{document['entryScript']} could not be started: {error} in its arguments or variables"
        return None, Outcome(exit_code=126, reason="ScriptFailed", message=message)
