"""Saving an environment that was built: one file, and a manifest that says that it is whole."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from trainyard.contract import ENVIRONMENT_MANIFEST_SCHEMA, MANIFEST, EnvironmentManifest, canonical_json, pack_path
from trainyard.digest import digest_of
from trainyard.patience import TransferError
from trainyard.transfer import Upload
from trainyard.uploads import open_regular, put_file
from trainyard_runner.build import failed
from trainyard_runner.gateway import Clients
from trainyard_runner.report import Reporter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainyard.contract import PackFile, Report
    from trainyard_runner.layout import Layout

CONTAINER = "pack"
_MEBIBYTE = 1024 * 1024
# A quarter of the size, and unpacked faster than it comes over most networks. Each thread takes memory of its own.
_ZSTD = {"ZSTD_CLEVEL": "3", "ZSTD_NBTHREADS": "2"}


def pack(*, layout: Layout, environ: Mapping[str, str]) -> int:
    """Save what `build` left and return the container's exit code."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    try:
        built = json.loads(layout.built_file.read_text())
        if built.get("built"):
            return 0
        clients = Clients(environ=environ, layout=layout)
        reporter = Reporter(gateway=clients.reports, snapshot=lambda: _report(layout))
        reporter.start()
        packed = _save(layout, environ, clients) if built["packages"] else None
        manifest = EnvironmentManifest(
            schema=ENVIRONMENT_MANIFEST_SCHEMA, hash=built["hash"], pack=packed, packages=built["packages"]
        )
        content = canonical_json(manifest)
        upload = Upload.of_bytes(MANIFEST, content, sha256=hashlib.sha256(content).hexdigest())
        put_file(upload, gateway=clients.gateway, store=clients.store, op="build-put")
        reporter.finish()
    except (TransferError, OSError, ValueError, KeyError) as error:
        return failed(layout, f"what was built could not be saved: {error}", container=CONTAINER)
    return 0


def _save(layout: Layout, environ: Mapping[str, str], clients: Clients) -> PackFile:
    target = layout.pack_file
    command = ["tar", "--create", "--zstd", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]
    command += ["--file", str(target), "--directory", str(layout.home), layout.environment.name]
    done = subprocess.run(command, env={**environ, **_ZSTD}, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.decode(errors="replace").strip()[-500:])
    with target.open("rb") as file:
        sha256, size = digest_of(file)
    path = pack_path(sha256)
    upload = Upload(path=path, size=size, opener=lambda: open_regular(target), sha256=sha256)
    put_file(upload, gateway=clients.gateway, store=clients.store, op="build-put")
    return {"path": path, "sha256": sha256, "bytes": size}


def _report(layout: Layout) -> Report:
    try:
        size = layout.pack_file.stat().st_size
    except OSError:
        size = 0
    return {"state": "Preparing", "metrics": {}, "message": f"keeping the packages: {size / _MEBIBYTE:.0f} MiB packed"}
