"""Having the runner keep the checkpoint folder at once, instead of when it has come to rest."""

from __future__ import annotations

import os
import time

from trainyard.contract import CHECKPOINT_REQUEST, ENV_CHECKPOINT_DIR

_LOOK_SECONDS = 0.1


def save_now(timeout_seconds: float) -> None:
    """Ask for a save and wait until it is done; outside a training pod there is nobody to ask, and nothing to wait for.

    Raises
    ------
    TimeoutError
        If it takes longer; the runner goes on trying.
    """
    folder = os.environ.get(ENV_CHECKPOINT_DIR)
    if not folder:
        return
    request = os.path.join(folder, CHECKPOINT_REQUEST)  # noqa: PTH118 - pathlib costs a script its start
    end = time.monotonic() + timeout_seconds
    with open(request, "wb"):  # noqa: PTH123
        pass
    while os.path.exists(request):  # noqa: PTH110
        if time.monotonic() >= end:
            raise TimeoutError(f"the checkpoint was not saved in {timeout_seconds:g} s; the run goes on trying")
        time.sleep(_LOOK_SECONDS)
