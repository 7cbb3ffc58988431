"""Pods without a cluster: the real runner.pyz in a process of its own, below a root of its own."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_yard import TOKEN, FakeYard, fake_yard
from trainyard import contract
from trainyard_runner.layout import Layout

DRIVER = """
import os, sys
from pathlib import Path
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0])
from trainyard_runner.__main__ import run
from trainyard_runner.layout import Layout
code = run(sys.argv[2], layout=Layout.below(Path(sys.argv[1])))
sys.stdout.flush()
os._exit(code)
"""


@pytest.fixture(scope="session")
def runner_pyz(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runner as the image carries it."""
    target = tmp_path_factory.mktemp("runner") / "runner.pyz"
    subprocess.run([sys.executable, repository / "trainer-image" / "build_runner.py", target], check=True)
    return target


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[FakeYard]:
    """A gateway and a store that fail on demand."""
    with fake_yard(tmp_path) as servers:
        yield servers


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., float]:
    """Give `wait_until`, since test modules do not import each other."""
    return wait_until


def wait_until(condition: Callable[[], Any], *, seconds: float = 120.0, what: str = "the condition") -> float:
    """Wait for `condition` and return the time at which it was met."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what} was not met within {seconds} s"
        time.sleep(0.02)
    return time.time()


@dataclass
class Pod:
    """The file systems and the environment that the containers of one pod share."""

    root: Path
    pyz: Path
    yard: FakeYard
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    max_rss_mb: float = 0.0
    prefix: list[str] = field(default_factory=list)

    @property
    def layout(self) -> Layout:
        return Layout.below(self.root)

    def prepared(self, script: str, *, name: str = "train.py", arguments: list[str] | None = None) -> Pod:
        """Put there what `prepare` would have left."""
        self.layout.work.mkdir(parents=True, exist_ok=True)
        (self.layout.work / name).write_text(script)
        document = {
            "name": "mnist",
            "namespace": "team-a",
            "uid": "0c5d3b9e-1111-2222-3333-444455556666",
            "experiment": "digits",
            "entryScript": name,
            "arguments": arguments or [],
            "source": {"url": "", "sha256": "5" * 64, "bytes": 1},
            "inputs": [],
        }
        self.layout.library.mkdir(parents=True, exist_ok=True)
        (self.layout.library / "trainyard").symlink_to(Path(__file__).resolve().parents[3] / "sdk" / "trainyard")
        self.layout.run_file.write_text(json.dumps(document))
        return self

    def start(self, command: str = "execute") -> Pod:
        """Start a container's command."""
        with (self.root / f"{command}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-I", "-S", "-c", DRIVER, self.pyz, self.root, command],
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.root,
            )
        return self

    def wait(self, *, seconds: float = 300.0) -> int:
        """Wait for the container's end and return its exit code."""
        assert self.process is not None
        until = time.monotonic() + seconds
        while True:
            self._look_at_memory(self.process.pid)
            pid, status = os.waitpid(self.process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > until:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"the runner did not end within {seconds} s:\n{self.container_log()}")
            time.sleep(0.01)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.process.returncode

    def _look_at_memory(self, pid: int) -> None:
        # Not from wait4: what that tells begins with the size of the process that this one was forked from.
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                self.max_rss_mb = int(line.split()[1]) / 1024

    def execute(self, *, seconds: float = 300.0) -> int:
        """Run the training container to its end."""
        return self.start().wait(seconds=seconds)

    def prepare(self, *, seconds: float = 300.0) -> int:
        """Run the init container to its end."""
        return self.start("prepare").wait(seconds=seconds)

    def container_log(self, command: str = "execute") -> str:
        """Return what `kubectl logs` would show."""
        return (self.root / f"{command}.log").read_bytes().decode(errors="replace")

    def termination(self) -> dict[str, Any]:
        """Return the termination message."""
        raw = self.layout.termination_log.read_bytes()
        assert len(raw) <= 4096
        document: dict[str, Any] = json.loads(raw)
        return document

    def manifest(self) -> dict[str, Any]:
        """Return the manifest, checked against the digest in the termination message."""
        raw = self.yard.store.objects["manifest.json"]
        assert hashlib.sha256(raw).hexdigest() == self.termination()["manifestSha256"]
        document: dict[str, Any] = json.loads(raw)
        return document

    def saved_log(self) -> str:
        """Return the log as a reader puts it together: the whole, and where that is not there yet its parts."""
        objects = dict(self.yard.store.objects)
        if contract.TRAIN_LOG in objects:
            return objects[contract.TRAIN_LOG].decode()
        parts = sorted(key for key in objects if key.startswith(contract.LOG_PARTS))
        return b"".join(objects[key] for key in parts).decode()

    def log_parts(self) -> list[str]:
        """Return the keys of the log's parts."""
        return sorted(key for key in list(self.yard.store.objects) if key.startswith(contract.LOG_PARTS))

    def saved_outputs(self) -> list[str]:
        """Return the paths of the outputs that are in the store."""
        return sorted(key for key in self.yard.store.objects if key.startswith("outputs/"))

    def serve_source(self, files: dict[str, str] | bytes, *, entry: str = "train.py", **run: Any) -> Pod:
        """Let the gateway hand out a run with this source."""
        packed = files if isinstance(files, bytes) else targz([(name, text) for name, text in files.items()])
        self.yard.store.objects["source.tar.gz"] = packed
        self.yard.gateway.run = {
            "name": "mnist",
            "namespace": "team-a",
            "uid": "0c5d3b9e-1111-2222-3333-444455556666",
            "experiment": "digits",
            "entryScript": entry,
            "arguments": [],
            "source": {"key": "source.tar.gz", "sha256": hashlib.sha256(packed).hexdigest(), "bytes": len(packed)},
            "inputs": [],
            "checkpoint": None,
            **run,
        }
        return self

    def serve_git(self, wanted: dict[str, str], *, entry: str = "train.py", taken: bytes | None = None) -> Pod:
        """Let the gateway hand out a run whose source is in git; `taken` is what another pod freezes first."""
        self.serve_source({}, entry=entry)
        del self.yard.store.objects["source.tar.gz"]
        self.yard.gateway.run["source"] = {"url": "", "sha256": "", "bytes": 0, "git": wanted}
        self.yard.gateway.taken = taken
        return self

    def serve_input(self, name: str, pages: list[dict[str, bytes]], **more: Any) -> Pod:
        """Let the gateway list an input; `more` is told of it in the run's document."""
        gateway, listed = self.yard.gateway, []
        for page in pages:
            for path, content in page.items():
                self.yard.store.objects[f"data/{path}"] = content
            listed.append([{"path": p, "key": f"data/{p}", "bytes": len(c)} for p, c in page.items()])
        gateway.inputs[name] = listed
        wanted = {
            "name": name,
            "path": str(self.layout.inputs / name),
            "field": f"spec.inputs[{len(gateway.run['inputs'])}]",
            "uri": f"s3://trainyard/data/team-a/{name}/",
        }
        gateway.run["inputs"] = [*gateway.run["inputs"], wanted | more]
        return self

    def stop(self) -> None:
        """End what is left at the end of a test."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


def targz(members: list[tuple[str, str] | tarfile.TarInfo]) -> bytes:
    """Return a tar.gz of files, or of whatever a member is said to be."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1].encode())
                tar.addfile(info, io.BytesIO(member[1].encode()))
    return buffer.getvalue()


@pytest.fixture
def pod(tmp_path: Path, runner_pyz: Path, yard: FakeYard) -> Iterator[Pod]:
    """A pod that has not done anything yet."""
    root = tmp_path / "pod"
    layout = Layout.below(root)
    for folder in (
        layout.home,
        layout.work,
        layout.inputs,
        layout.checkpoint,
        layout.token.parent,
        layout.termination_log.parent,
    ):
        folder.mkdir(parents=True, exist_ok=True)
    layout.token.write_text(TOKEN + "\n")
    env = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "TRAINYARD_GATEWAY": yard.gateway.url,
        "TRAINYARD_CA": yard.gateway.ca_pem,
        "TRAINYARD_RUN_UID": "0c5d3b9e-1111-2222-3333-444455556666",
        "TRAINYARD_RUN_NAME": "mnist",
        "TRAINYARD_EXPERIMENT": "digits",
    }
    made = Pod(root=root, pyz=runner_pyz, yard=yard, env=env)
    yield made
    made.stop()


@pytest.fixture(name="targz")
def targz_fixture() -> Callable[..., bytes]:
    """Give `targz`, since test modules do not import each other."""
    return targz
