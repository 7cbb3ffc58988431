"""Build runner.pyz: the runner and the package `trainyard` in one file that any python3 from 3.9 on can run.

The same sources always make the same bytes: names sorted, times and modes fixed, nothing compressed (an import is then
one read).

    python3 trainer-image/build_runner.py /opt/trainyard/runner.pyz
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (ROOT / "trainer-image" / "trainyard_runner", ROOT / "sdk" / "trainyard")
# What people work with from outside of a cluster has no use in a pod.
OUTSIDE = {"cli", "data", "local", "remote", "train", "widgets"}
MAIN = b"from trainyard_runner.__main__ import main\n\nmain()\n"
# The earliest time that a zip file can hold.
_TIME = (1980, 1, 1, 0, 0, 0)


def build(target: Path) -> None:
    """Write the archive to `target`."""
    members = {"__main__.py": MAIN}
    for package in PACKAGES:
        for path in package.rglob("*"):
            outside = OUTSIDE.intersection(path.relative_to(package).parts)
            if path.is_file() and path.suffix in {".py", ".typed"} and not outside:
                members[path.relative_to(package.parent).as_posix()] = path.read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, date_time=_TIME)
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, members[name])


if __name__ == "__main__":
    build(Path(sys.argv[1]))
