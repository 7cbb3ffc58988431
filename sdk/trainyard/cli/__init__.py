"""The command line ``trainyard``, which is ``kubectl trainyard`` as well: thin, on top of `trainyard.remote`."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> int:
    """Run the command line, and return its exit code."""
    if find_spec("click") is None:
        sys.stderr.write("trainyard: the command line needs more than scripts do: pip install 'trainyard[sdk]'\n")
        return 2
    from trainyard.cli.root import run

    return run(sys.argv)
