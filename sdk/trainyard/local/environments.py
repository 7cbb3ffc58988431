"""The packages of runs: built once for each set of requirements, beside those of the Python that is here."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from trainyard.contract import canonical_json
from trainyard.local.claims import claim
from trainyard.local.home import environments_folder
from trainyard.local.processes import Root
from trainyard_operator.api.environment import Environment

DEFAULT_INDEX: Final = "https://pypi.org/simple"
DONE: Final = "done.json"
LOCK_SECONDS: Final = 0.2
_SITE_LINE: Final = "import site; site.addsitedir({!r})\n"

# Runs `build` of the runner below a root; returns why it could not, and the end of its log, or None.
Build = Callable[[Root, dict[str, Any]], "tuple[str, str] | None"]


def python_digest() -> str:
    """Return the digest of the Python that is here and its packages: what an image's digest is to a cluster."""
    names = {path.name for folder in sys.path if folder for path in Path(folder).glob("*.dist-info")}
    what = [sys.version, sys.platform, platform.machine(), *sorted(names)]
    return f"sha256:{hashlib.sha256(canonical_json(what)).hexdigest()}"


def index_of(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return where packages come from: what uv's and pip's variables say, or pip's configuration, or PyPI."""
    named = [environ.get(name, "") for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")]
    url = next(filter(None, named), "") or _configured(environ) or DEFAULT_INDEX
    extra = environ.get("UV_INDEX") or environ.get("UV_EXTRA_INDEX_URL") or environ.get("PIP_EXTRA_INDEX_URL", "")
    return {"url": url, "extraUrls": extra.split(), "ca": ""}


def uv_program(environ: Mapping[str, str]) -> str | None:
    """Return the program uv: that of ``uv run``, or on the PATH, or its package's; None where there is none."""
    found = environ.get("UV") or shutil.which("uv", path=environ.get("PATH"))
    if found is None and importlib.util.find_spec("uv") is not None:
        from uv import find_uv_bin

        found = str(find_uv_bin())
    return found


class Packages:
    """The environment of some requirements.

    Parameters
    ----------
    requirements
        In their one form, sorted.
    environ
        Of the person: where packages come from, and where they are kept.
    """

    def __init__(self, requirements: Sequence[str], *, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._index = index_of(environ)
        self._requirements = tuple(requirements)
        environment = Environment(
            image=f"{sys.executable} {python_digest()}",
            platform=platform.machine(),
            requirements=self._requirements,
            index=hashlib.sha256(canonical_json(self._index)).hexdigest(),
        )
        self.hash = environment.hash
        self.root = Root(folder=environments_folder(environ) / self.hash)

    @property
    def ready(self) -> bool:
        """Whether all is there."""
        return (self.root.folder / DONE).exists()

    @property
    def folder(self) -> Path | None:
        """The environment's folder; None where the Python that is here has all packages already."""
        place = self.root.layout.environment
        return place if place.is_dir() else None

    def lock(self) -> int | None:
        """Return the lock of whoever builds it, None where somebody else does."""
        return claim(self.root.folder.with_suffix(".lock"))

    def build(self, build: Build, *, archive: bytes, token: str) -> tuple[str, str] | None:
        """Install what is missing; return why that failed, and the end of the log, or None."""
        # What an earlier try has left, half of it perhaps.
        self.root.remove()
        self.root.make(archive=archive, token=token)
        uv = uv_program(self._environ)
        if uv is None:
            failure = self._with_pip()
        else:
            self.root.layout.uv.symlink_to(uv)
            document = {"hash": self.hash, "requirements": list(self._requirements), "built": False}
            failure = build(self.root, {**document, "index": self._index})
        if failure is None:
            shutil.rmtree(self.root.layout.home / "cache", ignore_errors=True)
            (self.root.folder / DONE).write_text(json.dumps({"requirements": self._requirements}))
        return failure

    def _with_pip(self) -> tuple[str, str] | None:
        """Do with pip what the runner does with uv."""
        target = self.root.layout.environment
        wanted = self.root.folder / "requirements.txt"
        wanted.write_text("\n".join([*self._requirements, ""]))
        index = ["--index-url", self._index["url"]]
        for url in self._index["extraUrls"]:
            index += ["--extra-index-url", url]
        made = self._call("-m", "venv", "--system-site-packages", "--without-pip", str(target))
        if made.returncode == 0:
            (site,) = target.glob("lib/python3*/site-packages")
            seen = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
            (site / "zz_trainyard_image.pth").write_text("".join(_SITE_LINE.format(path) for path in seen))
            python = str(target / "bin" / "python3")
            made = self._call("-m", "pip", "--python", python, "install", "--quiet", *index, "-r", str(wanted))
        if made.returncode == 0:
            return None
        tail = made.stdout.strip()[-2048:]
        return (tail.splitlines() or ["neither uv nor pip is installed: pip install uv"])[-1], tail

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env=dict(self._environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )


def path_of(environ: Mapping[str, str]) -> str:
    """Return the PATH with which ``python3`` is the Python that is here."""
    return os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)])


def _configured(environ: Mapping[str, str]) -> str:
    if importlib.util.find_spec("pip") is None:
        return ""
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    done = subprocess.run(command, env=dict(environ), capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
