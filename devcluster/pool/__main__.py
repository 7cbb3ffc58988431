"""Run the agent: ``python -m devcluster.pool SETTINGS``; `up` starts it inside the cluster's machine."""

from __future__ import annotations

import sys
from pathlib import Path

from devcluster.pool.agent import Agent
from devcluster.pool.settings import Settings

if __name__ == "__main__":
    Agent(settings=Settings.read(Path(sys.argv[1]))).run()
