"""Where everything is inside a training pod."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainyard import contract


@dataclass(frozen=True)
class Layout:
    """The paths that the runner works with; `below` moves them all under another root."""

    home: Path = Path(contract.HOME)
    library: Path = Path(contract.LIBRARY_DIR)
    run_file: Path = Path(contract.RUN_FILE)
    environment: Path = Path(contract.ENVIRONMENT_DIR)
    tools: Path = Path(contract.TOOLS_DIR)
    work: Path = Path(contract.WORK_DIR)
    inputs: Path = Path(contract.INPUTS_DIR)
    checkpoint: Path = Path(contract.CHECKPOINT_DIR)
    secrets: Path = Path(contract.SECRETS_DIR)
    claims: Path = Path(contract.CLAIMS_DIR)
    input_cache: Path = Path(contract.INPUT_CACHE_DIR)
    token: Path = Path(contract.TOKEN_FILE)
    termination_log: Path = Path(contract.TERMINATION_LOG)
    cgroup: Path = Path("/sys/fs/cgroup")

    @classmethod
    def below(cls, root: Path) -> Layout:
        """Return the same layout with `root` in the place of ``/``."""
        moved = {name: root / str(path).lstrip("/") for name, path in vars(cls()).items()}
        return cls(**moved)

    @property
    def archive(self) -> Path:
        """The runner itself, as `prepare` leaves it for `execute`."""
        return self.library / "runner.pyz"

    @property
    def uv(self) -> Path:
        """What builds of environments install with."""
        return self.tools / "uv"

    @property
    def solver(self) -> Path:
        """The wheel of what solves conda packages."""
        return self.tools / "rattler.whl"

    @property
    def solver_library(self) -> Path:
        """Where that wheel is unpacked."""
        return self.tools / "rattler"

    @property
    def built_file(self) -> Path:
        """What `build` leaves for `pack`."""
        return self.home / "built.json"

    @property
    def pack_file(self) -> Path:
        """The packages of an environment in one file."""
        return self.home / "pack.tar.zst"

    @property
    def metrics_file(self) -> Path:
        """Where scripts append metrics and progress as JSON lines."""
        return self.home / "metrics.jsonl"

    @property
    def restored(self) -> Path:
        """What `prepare` has noted of the checkpoint that it has restored."""
        return self.home / "restored.json"

    @property
    def log_spool(self) -> Path:
        """Where log parts wait for the object store."""
        return self.home / "logs"

    @property
    def prepare_log(self) -> Path:
        """What `prepare` printed."""
        return self.home / "prepare.log"

    @property
    def outputs(self) -> Path:
        """What a script leaves to be saved."""
        return self.work / contract.OUTPUTS
