"""Which Python and which libraries a script had: what somebody needs who wants to load its model later.

Read from the names of the ``.dist-info`` folders beside the interpreter, since asking it would cost a start of it.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

LIBRARIES = (
    *("scikit-learn", "numpy", "scipy", "joblib", "pandas", "skops", "onnx"),
    *("torch", "tensorflow", "keras", "xgboost", "lightgbm", "catboost"),
)
_DIST_INFO = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)\.dist-info")
_CONDA_PYTHON = re.compile(r"python-(?P<version>[^-]+)-[^-]+\.json")


def software(*, executable: Path | None = None, environment: Path | None = None) -> dict[str, str]:
    """Return versions by name: ``python``, ``platform`` and those of `LIBRARIES` that are installed.

    What is in `environment`, where there is one, hides what the image has, as it does for the script; behind a Python
    that came with conda packages there is nothing of the image at all.
    """
    system = os.uname()
    found = {"python": sys.version.split()[0], "platform": f"{system.sysname}-{system.machine}"}
    own = sorted(environment.glob("lib/python3*/site-packages")) if environment is not None else []
    conda = _conda_python(environment) if environment is not None else {}
    found |= conda
    for folder in own if conda else [*own, *_package_folders(executable or Path(sys.executable))]:
        for name, version in _installed(folder).items():
            if name in LIBRARIES:
                found.setdefault(name, version)
    return found


def _conda_python(environment: Path) -> dict[str, str]:
    """Return the version of the Python that came with conda packages, which is the script's then."""
    for path in environment.glob("conda-meta/python-*.json"):
        match = _CONDA_PYTHON.fullmatch(path.name)
        if match:
            return {"python": match["version"]}
    return {}


def _package_folders(executable: Path) -> list[Path]:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # A virtual environment is found from the link that was called; what lies behind the link comes second.
    prefixes = dict.fromkeys([executable.parent.parent, executable.resolve().parent.parent])
    below = (f"lib/{version}/site-packages", f"local/lib/{version}/dist-packages", "lib/python3/dist-packages")
    return [prefix / folder for prefix in prefixes for folder in below]


def _installed(folder: Path) -> dict[str, str]:
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return {}
    matches = filter(None, map(_DIST_INFO.fullmatch, names))
    return {match["name"].lower().replace("_", "-"): match["version"] for match in matches}
