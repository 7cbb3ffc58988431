"""What every benchmark stands on: a control plane that knows our kinds, and runs to create in it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import yaml

from tests.perf.api import Api
from trainyard_operator.api.names import TRAINING_JOB, Kind

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = Kind(group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False)
DEFINITION = Kind(
    group="apiextensions.k8s.io",
    version="v1",
    plural="customresourcedefinitions",
    kind="CustomResourceDefinition",
    namespaced=False,
)
# What the first status of a run says, in the bytes of a watch event.
PLANNED = b'"jobName":"'


def training_job(namespace: str, number: int) -> dict[str, Any]:
    return {
        "apiVersion": TRAINING_JOB.api_version,
        "kind": TRAINING_JOB.kind,
        "metadata": {"name": f"run-{number:05d}", "namespace": namespace},
        "spec": {
            "experiment": "bench",
            "source": {"inline": {"train.py": "print('hello')\n" * 20}},
            "parameters": {"regularization": 0.8, "number": number},
        },
    }


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


async def prepare(api: Api) -> None:
    """Create what the operator expects of a cluster."""
    for name in ("trainyard-system", "warm", "floor"):
        with contextlib.suppress(RuntimeError):
            await api.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        with contextlib.suppress(RuntimeError):
            await api.create(DEFINITION, yaml.safe_load(path.read_text(encoding="utf-8")))
    while True:
        with contextlib.suppress(RuntimeError):
            await api.list(TRAINING_JOB, "warm")
            return
        await asyncio.sleep(0.1)
