"""Runs and version entries as tests want them."""

from __future__ import annotations

import hashlib
from typing import Any

from trainyard.contract import RUN_MANIFEST_SCHEMA, canonical_json

UID = "0b6f7d7e-6a54-4a6a-9a6c-0d3d3a7c1e11"
NAMESPACE = "team-a"


def run_manifest(files: dict[str, bytes], **over: Any) -> dict[str, Any]:
    outputs = [
        {"path": path, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()} for path, body in files.items()
    ]
    return {
        "schema": RUN_MANIFEST_SCHEMA,
        "run": {"name": "mnist", "namespace": NAMESPACE, "uid": UID},
        "sourceSha256": "ab" * 32,
        "exitCode": 0,
        "startTime": "2026-11-23T10:00:00Z",
        "endTime": "2026-11-23T10:01:00Z",
        "metrics": {"accuracy": 0.9255, "loss": "NaN"},
        "outputs": outputs,
        "warnings": [],
        "environment": {"python": "3.11.2"},
        **over,
    }


def saved_run(files: dict[str, bytes], **over: Any) -> dict[str, bytes]:
    """The objects that a run leaves behind."""
    root = f"runs/{NAMESPACE}/{UID}/attempts/1/"
    manifest = canonical_json(run_manifest(files, **over))
    return {root + path: body for path, body in files.items()} | {f"{root}manifest.json": manifest}


def entry(path: str, **over: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "id": "sklearn_mnist:1",
        "key": f"{UID}/sklearn_mnist/{path}",
        "run": {"name": "mnist", "uid": UID, "attempt": 1},
        "path": path,
        "metrics": {"accuracy": 0.9255},
        "tags": {"data": "mnist"},
        "sourceSha256": "ab" * 32,
        "imageDigest": "sha256:" + "cd" * 32,
        "createdTime": "2026-11-23T10:02:00Z",
        **over,
    }
