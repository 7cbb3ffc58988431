"""What goes with a run that is deleted."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from trainyard.local.home import Home
from trainyard_operator.storage import layout


def clear_run(home: Home, job: Mapping[str, Any]) -> None:
    """Remove what a run worked with, and what it has saved where its `deletionPolicy` is Delete."""
    uid, namespace = job["metadata"]["uid"], job["metadata"]["namespace"]
    shutil.rmtree(home.work(uid), ignore_errors=True)
    if job["spec"].get("deletionPolicy") == "Delete":
        shutil.rmtree(home.key(layout.run_prefix(namespace, uid)), ignore_errors=True)
