"""What a model's manifest says of where it comes from, beyond what its version's entry knows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from trainyard.contract import RunManifest

JsonObject = dict[str, Any]

# Nobody but the one framework writes files that are called so.
_OWN = {
    ".skops": "scikit-learn",
    ".pt": "torch",
    ".pth": "torch",
    ".keras": "tensorflow",
    ".tflite": "tensorflow",
    ".ubj": "xgboost",
    ".bst": "xgboost",
    ".cbm": "catboost",
    ".onnx": "onnx",
}
# Anybody may pickle anything; the only framework that is there is the one that it was.
_PICKLES = frozenset({".pkl", ".pickle", ".joblib"})
_PICKLED = ("scikit-learn", "torch", "tensorflow", "xgboost", "lightgbm", "catboost")
# Names that are common, and mean a framework only where the file is all that there is.
_COMMON = {".json": "xgboost", ".txt": "lightgbm", ".h5": "tensorflow"}
MAX_SOFTWARE = 64


def provenance(run: RunManifest, names: Collection[str]) -> JsonObject:
    """Return what a run's manifest tells of a model made of its outputs; what is not known is left out.

    Parameters
    ----------
    names
        The names of the model's files.
    """
    software = run.get("environment") or {}
    found: JsonObject = {}
    framework = framework_of(software, names)
    if framework is not None:
        found["framework"] = framework
    if software:
        found["software"] = {name: software[name] for name in sorted(software)[:MAX_SOFTWARE]}
    if "environmentHash" in run:
        found["environmentHash"] = run["environmentHash"]
    if "image" in run:
        found["image"] = run["image"]
    if "sourceCommit" in run:
        found["sourceCommit"] = run["sourceCommit"]
    if "inputs" in run:
        found["inputs"] = [dict(record) for record in run["inputs"]]
    return found


def framework_of(software: Mapping[str, str], names: Collection[str]) -> JsonObject | None:
    """Return name and version of what a model was made with, None where files and packages leave that open."""
    suffixes = {f".{name.rsplit('.', 1)[-1].lower()}" for name in names if "." in name.rsplit("/", 1)[-1]}
    candidates = {_OWN[suffix] for suffix in suffixes if suffix in _OWN}
    if not candidates and suffixes & _PICKLES:
        candidates = {name for name in _PICKLED if name in software}
    elif not candidates and len(names) == 1:
        candidates = {_COMMON[suffix] for suffix in suffixes if suffix in _COMMON}
    if len(candidates) != 1:
        return None
    (name,) = candidates
    return {"name": name, "version": software[name]} if name in software else None
