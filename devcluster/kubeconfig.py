"""Kubeconfig files with everything embedded, so that they can be copied."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import yaml

from devcluster.layout import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from devcluster.pki import Pki


def document(*, server: str, pki: Pki, user: str, context: str) -> dict[str, Any]:
    """Build the document by which `user` (the name of a certificate) reaches `server`."""

    def data(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [
            {"name": context, "cluster": {"server": server, "certificate-authority-data": data(pki.authority)}}
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": data(pki.certificate(user)),
                    "client-key-data": data(pki.key(user)),
                },
            }
        ],
        "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a kubeconfig that only its owner reads."""
    write_atomically(path, yaml.safe_dump(content, sort_keys=False), mode=0o600)
