"""Applying the example, under a name that is still free: a TrainingJob is one run and stays the record of it."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

    from demo.cluster import Cluster


def read_training_job(folder: Path) -> dict[str, Any]:
    """Return the TrainingJob of an example's folder."""
    document: dict[str, Any] = yaml.safe_load((folder / "training-job.yaml").read_text(encoding="utf-8"))
    return document


def free_name(name: str, *, taken: Iterable[str]) -> str:
    """Return `name`, or the first of ``name-2``, ``name-3`` … that comes after all that are taken."""
    pattern = re.compile(rf"{re.escape(name)}(?:-([1-9][0-9]*))?")
    numbers = [int(found[1] or 1) for found in map(pattern.fullmatch, taken) if found]
    return f"{name}-{max(numbers) + 1}" if numbers else name


def renaming(*, base: str, old: str, new: str) -> str:
    """Return a kustomization that is `base` but for the name of its TrainingJob."""
    patch = [{"op": "replace", "path": "/metadata/name", "value": new}]
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [base],
        "patches": [{"target": {"kind": "TrainingJob", "name": old}, "patch": yaml.safe_dump(patch)}],
    }
    return yaml.safe_dump(document, sort_keys=False)


def submit(cluster: Cluster, *, folder: Path, old: str, new: str) -> str:
    """Apply the example with its TrainingJob `old` called `new`; return what kubectl says of it."""
    if old == new:
        return cluster.run_kubectl("apply", "-k", str(folder))
    with tempfile.TemporaryDirectory() as overlay:
        # kustomize refuses absolute paths.
        base = os.path.relpath(folder.resolve(), Path(overlay).resolve())
        (Path(overlay) / "kustomization.yaml").write_text(renaming(base=base, old=old, new=new), encoding="utf-8")
        return cluster.run_kubectl("apply", "-k", overlay)
