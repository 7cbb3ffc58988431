"""One container's part of a run as a process: the runner's own command, below another root.

It is the main program of the archive that `archive.py` makes, and runs with that on its path and nothing else.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from trainyard_runner.__main__ import run
from trainyard_runner.layout import Layout

# What a script gets to save what it has, once whoever has started this is gone.
LAST_SECONDS = 10.0


def main() -> None:
    """Run ``COMMAND ROOT`` of the command line."""
    command, root = sys.argv[1:]
    sys.argv[1:] = [command]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    code = run(command, layout=Layout.below(Path(root)))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end_with_parent() -> None:
    """Stop when the other end of standard input is closed: nobody is left to save anything for."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LAST_SECONDS)
    os._exit(128 + signal.SIGTERM)
