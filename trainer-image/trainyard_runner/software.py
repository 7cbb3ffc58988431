"""Which Python and which libraries a script had: what somebody needs who wants to load its model later.

Read from the names of the ``.dist-info`` folders beside the interpreter, since asking it would cost a start of it.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

LIBRARIES = ("scikit-learn", "numpy", "scipy", "joblib", "pandas", "torch", "xgboost", "lightgbm")
_DIST_INFO = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)\.dist-info")


def software(*, executable: Path | None = None, environment: Path | None = None) -> dict[str, str]:
    """Return versions by name: ``python``, ``platform`` and those of `LIBRARIES` that are installed.

    What is in `environment`, where there is one, hides what the image has, as it does for the script.
    """
    system = os.uname()
    found = {"python": sys.version.split()[0], "platform": f"{system.sysname}-{system.machine}"}
    own = sorted(environment.glob("lib/python3*/site-packages")) if environment is not None else []
    for folder in [*own, *_package_folders(executable or Path(sys.executable))]:
        for name, version in _installed(folder).items():
            if name in LIBRARIES:
                found.setdefault(name, version)
    return found


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
