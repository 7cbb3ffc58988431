"""The commands of pods: ``read``, ``prepare``, ``execute`` of a run's; ``tools``, ``build``, ``pack`` of a build's.

And the one that people write into their own pods: ``fetch``, which brings a registered model.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from trainyard_runner.layout import Layout

# The container in whose name each command speaks.
CONTAINERS = {
    "read": "read",
    "prepare": "prepare",
    "execute": "train",
    "tools": "tools",
    "build": "build",
    "pack": "pack",
}
FETCH = "fetch"
USAGE = (
    f"usage: runner.pyz {'|'.join(CONTAINERS)} (inside a training pod, where the operator calls it)\n"
    f"       runner.pyz {FETCH} MODEL[:VERSION|@ALIAS] FOLDER [--namespace NS] (in a pod that serves a model)"
)


def run(command: str, *, layout: Layout) -> int:
    """Run `command` and return its exit code; whatever goes wrong is in the termination message."""
    try:
        if command == "prepare":
            from trainyard_runner.prepare import prepare  # noqa: PLC0415 - `execute` starts sooner without it

            return prepare(layout=layout, environ=os.environ, archive=Path(sys.argv[0]))
        if command == "execute":
            from trainyard_runner.execute import execute  # noqa: PLC0415

            return execute(layout=layout, environ=os.environ)
        if command == "read":
            from trainyard_runner.reading import read  # noqa: PLC0415

            return read(layout=layout, environ=os.environ)
        return _build(command, layout=layout)
    except Exception as error:  # noqa: BLE001 - the last place that can still say what happened
        return _broken(command, error, layout)


def main() -> NoReturn:
    """Run the command of the command line."""
    arguments = sys.argv[1:]
    if arguments[:1] == [FETCH]:
        from trainyard_runner.fetch import fetch  # noqa: PLC0415

        code = fetch(arguments[1:], layout=Layout(), environ=os.environ)
    elif len(arguments) == 1 and arguments[0] in CONTAINERS:
        code = run(arguments[0], layout=Layout())
    else:
        sys.exit(USAGE)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that still wait for somebody who is away must not hold up the end.
    os._exit(code)


def _build(command: str, *, layout: Layout) -> int:
    from trainyard_runner.build import build, tools  # noqa: PLC0415
    from trainyard_runner.pack import pack  # noqa: PLC0415

    if command == "tools":
        return tools(layout=layout, archive=Path(sys.argv[0]))
    return build(layout=layout, environ=os.environ) if command == "build" else pack(layout=layout, environ=os.environ)


def _broken(command: str, error: Exception, layout: Layout) -> int:
    import traceback  # noqa: PLC0415

    from trainyard_runner.termination import termination, write_termination  # noqa: PLC0415

    traceback.print_exc()
    message = f"the runner itself failed, please report this: {type(error).__name__}: {error}"
    document = termination(
        container=CONTAINERS[command],
        reason="RunFailed",
        message=message,
        exit_code=1,
        log_tail=traceback.format_exc()[-2048:],
    )
    write_termination(layout.termination_log, document)
    return 1


if __name__ == "__main__":
    main()
