"""The process of one run: ``python -m trainyard.local.worker HOME NAMESPACE NAME LOCK``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from trainyard.local.home import Home
from trainyard.local.objects import LocalObjects
from trainyard.local.supervisor import Supervisor


def main(arguments: list[str]) -> None:
    """Carry out the run that `arguments` name."""
    folder, namespace, name, lock = arguments
    environ = dict(os.environ)
    # The script gets what the person had, and not what this process was found with.
    own = environ.pop("TRAINYARD_LOCAL_PATH", "")
    environ.pop("PYTHONPATH", None)
    if own:
        environ["PYTHONPATH"] = own
    try:
        Supervisor(LocalObjects(Home(Path(folder)), namespace=namespace), name, environ=environ).carry_out()
    finally:
        os.close(int(lock))


if __name__ == "__main__":
    main(sys.argv[1:])
