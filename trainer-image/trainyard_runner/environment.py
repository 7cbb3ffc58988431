"""The packages of a run's environment: brought into the pod by `prepare`, and found by the script."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from trainyard.digest import digest_of
from trainyard.patience import TransferError
from trainyard.transfer import StoreRefused
from trainyard.uploads import GRANTS_PER_FILE
from trainyard_runner.warnings import tell

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trainyard.contract import PackGrant, RunDocument
    from trainyard_runner.gateway import Clients
    from trainyard_runner.layout import Layout

_MEBIBYTE = 1024 * 1024


class RestoreError(Exception):
    """The packages cannot be had; `reason` is one of the operator's."""

    reason = "EnvironmentNotRestored"


def restore_packages(document: RunDocument, *, clients: Clients, layout: Layout) -> None:
    """Bring the packages of a run to the place that they were built at; without any there is nothing to do.

    Raises
    ------
    RestoreError
        If they do not come, or are not what the operator wrote down.
    """
    pack = document.get("environment")
    if pack is None:
        return
    packed = layout.home / "environment.tar.zst"
    begun = time.monotonic()
    try:
        pack = _download(pack, packed, clients)
        _check(packed, pack["sha256"])
        # It is the operator's own record that these bytes were checked against.
        command = ["tar", "--extract", "--zstd", "--file", str(packed), "--directory", str(layout.home)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except (TransferError, OSError) as error:
        raise RestoreError(f"the packages of spec.environment could not be fetched: {error}") from error
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip()[-500:]
        raise RestoreError(f"the packages of spec.environment could not be unpacked: {words}")
    packed.unlink()
    tell(f"packages restored: {pack['bytes'] / _MEBIBYTE:.1f} MiB packed, in {time.monotonic() - begun:.1f} s")


def environment_variables(environ: Mapping[str, str], *, layout: Layout) -> dict[str, str]:
    """Return what makes a script and its children use the run's own packages; nothing where it has none."""
    folder = layout.environment
    conda = (folder / "conda-meta").is_dir()
    if not (conda or (folder / "bin").is_dir()):
        return {}
    path = environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    return {"PATH": f"{folder / 'bin'}:{path}", "CONDA_PREFIX" if conda else "VIRTUAL_ENV": str(folder)}


def _download(pack: PackGrant, target: Path, clients: Clients) -> PackGrant:
    for attempt in range(GRANTS_PER_FILE):
        try:
            clients.store.download(pack["url"], target, size=pack["bytes"])
            break
        except StoreRefused:
            if attempt == GRANTS_PER_FILE - 1:
                raise
            pack = clients.gateway.run()["environment"]
    return pack


def _check(packed: Path, expected: str) -> None:
    with packed.open("rb") as file:
        sha256, _ = digest_of(file)
    if sha256 != expected:
        raise RestoreError(f"the packages that arrived have the digest {sha256}, not {expected}")
