"""Building an environment, in the image that it is for: what the image lacks is installed beside it.

Three containers, one after the other: `tools` brings this program, and what it installs with, from the trainer image;
`build` installs with the Python of the run's own image; and `pack` saves what came of it, in the trainer image again,
which has the programs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any, cast

from trainyard.contract import MAX_LOG_TAIL_BYTES
from trainyard.patience import TransferError
from trainyard_runner.buildlog import BuildLog, secrets_of
from trainyard_runner.conda import CondaError, install_conda
from trainyard_runner.gateway import Clients
from trainyard_runner.prepare import install_runner
from trainyard_runner.report import Reporter
from trainyard_runner.termination import termination, write_termination
from trainyard_runner.warnings import tell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from trainyard.contract import BuildDocument, CondaWish, Report
    from trainyard_runner.layout import Layout

CONTAINER = "build"
FAILED = "EnvironmentBuildFailed"
UV_IN_IMAGE = "/opt/trainyard/uv"
SOLVER_IN_IMAGE = "/opt/trainyard/rattler.whl"
_TAIL_LINES = 60
# What packages of the image are found by, after those of the environment.
_PATH_FILE = "zz_trainyard_image.pth"
_SITE = "import json, sys; print(json.dumps([p for p in sys.path if p.endswith(('site-packages', 'dist-packages'))]))"


class BuildError(Exception):
    """The environment cannot be built; the message says why, and `tail` is the end of the log."""

    def __init__(self, message: str, tail: str = "") -> None:
        super().__init__(message)
        self.tail = tail


def tools(*, layout: Layout, archive: Path) -> int:
    """Leave the runner, and what it installs with, where the image of the run finds them; return the exit code."""
    install_runner(archive, layout)
    layout.tools.mkdir(parents=True, exist_ok=True)
    shutil.copy(UV_IN_IMAGE, layout.uv)
    shutil.copy(SOLVER_IN_IMAGE, layout.solver)
    return 0


def build(*, layout: Layout, environ: Mapping[str, str]) -> int:
    """Install what a build's document asks for and return the container's exit code."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    try:
        clients = Clients(environ=environ, layout=layout)
        document = cast("BuildDocument", clients.gateway.grants({"op": "build"}))
        if document["built"]:
            layout.built_file.write_text(json.dumps({"built": True}))
            return 0
        builder = _Builder(document, clients=clients, layout=layout, environ=environ)
        packages = builder.run()
    except BuildError as error:
        return failed(layout, str(error), container=CONTAINER, tail=error.tail)
    except (TransferError, OSError, KeyError, ValueError) as error:
        return failed(layout, f"{type(error).__name__}: {error}", container=CONTAINER)
    layout.built_file.write_text(json.dumps({"hash": document["hash"], "packages": packages}))
    return 0


def failed(layout: Layout, message: str, *, container: str, tail: str = "") -> int:
    """Leave the reason of a failure for the operator and return the container's exit code."""
    tell(f"{FAILED}: {message}")
    raw = tail.encode(errors="replace")[-MAX_LOG_TAIL_BYTES:].decode(errors="ignore")
    document = termination(container=container, reason=FAILED, message=message, exit_code=1, log_tail=raw)
    write_termination(layout.termination_log, document)
    return 1


class _Builder:
    """One build; `message` says what it is at."""

    def __init__(
        self, document: BuildDocument, *, clients: Clients, layout: Layout, environ: Mapping[str, str]
    ) -> None:
        index = document["index"]
        self._document = document
        self._clients = clients
        self._layout = layout
        self._message = "looking for what the image has"
        self._tail: list[str] = []
        secrets = secrets_of([index["url"], *index["extraUrls"]])
        if "conda" in document:
            secrets.append(document["conda"]["password"])
        self._log = BuildLog(layout.home / "build.log", clients=clients, secrets=secrets)
        self._env = _uv_environment(environ, layout=layout)
        self._env["UV_DEFAULT_INDEX"] = index["url"]
        if index["extraUrls"]:
            self._env["UV_INDEX"] = " ".join(index["extraUrls"])
        if index["ca"]:
            bundle = layout.home / "index-ca.crt"
            bundle.write_text(index["ca"])
            self._env["SSL_CERT_FILE"] = str(bundle)

    def run(self) -> list[str]:
        """Install what the image lacks; return it, by name and version."""
        reporter = Reporter(gateway=self._clients.reports, snapshot=self._snapshot)
        reporter.start()
        self._log.start()
        begun = time.monotonic()
        try:
            packages = self._build()
            self._log.add(f"done in {time.monotonic() - begun:.1f} s")
        finally:
            self._log.finish()
            reporter.finish()
        return packages

    def _build(self) -> list[str]:
        if "conda" in self._document:
            installed = self._install_conda(self._document["conda"])
            return [*installed, *self._install_behind_conda()]
        python = shutil.which("python3", path=self._env.get("PATH"))
        if python is None:
            raise BuildError("the image of spec.environment.image has no python3 on its PATH")
        missing = self._missing(python)
        if not missing:
            self._log.add("the image has all packages already")
            return []
        target = self._layout.environment
        self._uv("venv", "--system-site-packages", "--no-project", "--python", python, str(target))
        self._find_image(python)
        self._install(missing, str(target / "bin" / "python3"))
        return missing

    def _install_conda(self, wish: CondaWish) -> list[str]:
        self._message = f"solving {_count(wish['packages'], 'conda package')}"
        try:
            found = install_conda(wish, layout=self._layout, say=self._take_conda)
        except CondaError as error:
            self._tail = [self._log.add(line) for line in str(error).splitlines()][-_TAIL_LINES:]
            raise BuildError(" ".join(" ".join(self._tail).split()), tail="\n".join(self._tail)) from None
        python = self._layout.environment / "bin" / "python3"
        if python.exists():
            # What is for any Python comes uncompiled, and would be compiled again by each run.
            folders = [str(folder) for folder in self._layout.environment.glob("lib/python3*/site-packages")]
            command = [str(python), "-I", "-m", "compileall", "-qq", "-j", "2", *folders]
            subprocess.run(command, env=self._env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        return found

    def _take_conda(self, line: str) -> None:
        self._message = "installing conda packages"
        self._log.add(line)

    def _install_behind_conda(self) -> list[str]:
        """Install the requirements of pip, if there are any, with the Python that came with the conda packages."""
        if not self._document["requirements"]:
            return []
        python = self._layout.environment / "bin" / "python3"
        if not python.exists():
            words = "spec.environment.conda brings no Python to install the packages of pip for"
            raise BuildError(f"{words}: add python to spec.environment.conda.packages")
        missing = self._missing(str(python))
        if missing:
            self._install(missing, str(python))
        return missing

    def _install(self, missing: Sequence[str], python: str) -> None:
        self._message = f"installing {_count(missing, 'package')}"
        wanted = self._layout.home / "requirements.txt"
        wanted.write_text("\n".join([*missing, ""]))
        options = ["--no-deps", "--break-system-packages", "--compile-bytecode", "--python", python]
        self._uv("pip", "install", *options, "--requirements", str(wanted))

    def _missing(self, python: str) -> list[str]:
        """Return what has to be installed for the requirements to be met: what `python` has is preferred."""
        self._message = f"resolving {_count(self._document['requirements'], 'requirement')}"
        wanted = self._layout.home / "requirements.txt"
        wanted.write_text("\n".join([*self._document["requirements"], ""]))
        found = self._layout.home / "resolution.json"
        options = ["--dry-run", "--break-system-packages", "--output-format", "json", "--python", python]
        with found.open("wb") as out:
            self._uv("pip", "install", *options, "--requirements", str(wanted), stdout=out.fileno())
        changes: list[dict[str, Any]] = json.loads(found.read_text())["changes"]
        return sorted(f"{c['name']}=={c['version']}" for c in changes if c["action"] == "installed")

    def _find_image(self, python: str) -> None:
        """Have the environment see the image's packages, which a virtual environment of another one does not."""
        done = subprocess.run([python, "-I", "-c", _SITE], env=self._env, capture_output=True, check=True)
        folders = json.loads(done.stdout)
        (site,) = self._layout.environment.glob("lib/python3*/site-packages")
        # Only of a line that begins with `import` is more than one path read; such folders may have files of paths too.
        lines = [f"import site; site.addsitedir({folder!r})\n" for folder in folders]
        (site / _PATH_FILE).write_text("".join(lines))

    def _uv(self, *arguments: str, stdout: int = subprocess.DEVNULL) -> None:
        command = [str(self._layout.uv), *arguments]
        process = subprocess.Popen(
            command,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=self._layout.home,
        )
        assert process.stderr is not None
        for raw in process.stderr:
            line = self._log.add(raw.decode(errors="replace").rstrip())
            self._tail = [*self._tail, line][-_TAIL_LINES:]
        if process.wait():
            raise BuildError(_words(self._tail), tail="\n".join(self._tail))

    def _snapshot(self) -> Report:
        return {"state": "Preparing", "metrics": {}, "message": self._message}


def _uv_environment(environ: Mapping[str, str], *, layout: Layout) -> dict[str, str]:
    kept = {name: value for name, value in environ.items() if not name.startswith(("TRAINYARD_", "UV_", "PIP_"))}
    return {
        **kept,
        # On the volume of the environment itself: what is linked need not be copied.
        "UV_CACHE_DIR": str(layout.home / "cache"),
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        # Half a minute of an index that is busy is no reason to fail all runs that wait for it.
        "UV_HTTP_RETRIES": "5",
        "NO_COLOR": "1",
    }


def _words(tail: Sequence[str]) -> str:
    """Return what uv says in the end, as one line."""
    first = next((n for n, line in enumerate(tail) if line.lstrip().startswith(("error", "×"))), max(0, len(tail) - 8))  # noqa: RUF001
    return " ".join(line.strip() for line in tail[first:] if line.strip()) or "uv ended without a word"


def _count(items: Sequence[str], what: str) -> str:
    return f"{len(items)} {what}{'s' * (len(items) != 1)}"
