"""Setting a run going in a process of its own, which outlives the one that has submitted it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from trainyard.local.home import Home

MODULE = "trainyard.local.worker"


def launch(home: Home, namespace: str, name: str, claimed: int) -> None:
    """Have a run carried out; `claimed` is its lock, which the new process takes over."""
    log = home.folder / "work" / "worker.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", MODULE, str(home.folder), namespace, name, str(claimed)]
    # What was importable here is so there, however this process came to it.
    paths = os.pathsep.join(path for path in sys.path if path)
    environ = {**os.environ, "TRAINYARD_LOCAL_PATH": os.environ.get("PYTHONPATH", ""), "PYTHONPATH": paths}
    try:
        with log.open("ab") as out:
            process = subprocess.Popen(
                command,
                cwd=home.folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=(claimed,),
                start_new_session=True,
            )
    finally:
        os.close(claimed)
    threading.Thread(target=process.wait, name=f"reaper-{process.pid}", daemon=True).start()
