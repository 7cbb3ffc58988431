"""The operator as a process and the runner as pods have it: from a RegisteredModel to verified bytes, or to a no."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.perf.process import OperatorProcess
from trainyard.contract import ENV_CA, ENV_GATEWAY, MODEL_MANIFEST_SCHEMA, TOKEN_AUDIENCE, canonical_json
from trainyard_runner.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path

    from devcluster.controlplane import ControlPlane
    from tests.support.objectstore import ObjectServer

SYSTEM, BUCKET = "trainyard-system", "trainyard"
DRIVER = """
import os, sys
from pathlib import Path
root, pyz, *arguments = sys.argv[1:]
sys.path.insert(0, pyz)
from trainyard_runner.fetch import fetch
from trainyard_runner.layout import Layout
sys.exit(fetch(arguments, layout=Layout.below(Path(root)), environ=os.environ))
"""
FILES = {"model.skops": b"weights" * 100_000, "labels/names.txt": b"zero\none\n"}


@dataclass
class Place:
    """One cluster with a model in a namespace, and a consumer's pod that is a folder of this machine."""

    control_plane: ControlPlane
    objects: ObjectServer
    folder: Path
    pyz: Path
    namespace: str

    def create(self, kind: str, name: str, *, version: str = "v1", **fields) -> None:
        document = {"apiVersion": version, "kind": kind, "metadata": {"name": name, **fields.pop("metadata", {})}}
        self.control_plane.kubectl(
            "apply", f"--namespace={self.namespace}", "-f", "-", text=json.dumps({**document, **fields})
        )

    def register(self, name: str) -> str:
        """Make version 1 as the operator leaves it, and return the digest of its manifest."""
        entries = [
            {"path": path, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
            for path, body in sorted(FILES.items())
        ]
        manifest = canonical_json({"schema": MODEL_MANIFEST_SCHEMA, "files": entries})
        prefix = f"models/{self.namespace}/{name}/1"
        for path, body in FILES.items():
            self.objects.client().put_object(Bucket=BUCKET, Key=f"{prefix}/{path}", Body=body)
        self.objects.client().put_object(Bucket=BUCKET, Key=f"{prefix}.manifest.json", Body=manifest)
        self.create(
            "RegisteredModel",
            name,
            version="trainyard.dev/v1alpha1",
            spec={"modelName": name, "aliases": {"champion": 1}},
        )
        sha256 = hashlib.sha256(manifest).hexdigest()
        entry = {
            "version": 1,
            "id": f"{name}:1",
            "key": f"u/{name}/outputs",
            "state": "Ready",
            "path": "outputs",
            "run": {"name": "r", "uid": "u", "attempt": 1},
            "createdTime": "2026-11-25T12:00:00Z",
            "manifestSha256": sha256,
        }
        self.control_plane.kubectl(
            "patch", "registeredmodel", name, f"--namespace={self.namespace}", "--subresource=status", "--type=merge",
            "-p", json.dumps({"status": {"latestVersion": 1, "versions": [entry]}}),
        )  # fmt: skip
        return sha256

    def allow(self, model: str, account: str) -> None:
        rule = {"apiGroups": ["trainyard.dev"], "resources": ["registeredmodels"], "verbs": ["get"]}
        group = "rbac.authorization.k8s.io"
        self.create("Role", "reads", version=f"{group}/v1", rules=[{**rule, "resourceNames": [model]}])
        subject = {"kind": "ServiceAccount", "name": account, "namespace": self.namespace}
        reference = {"apiGroup": group, "kind": "Role", "name": "reads"}
        self.create("RoleBinding", "reads", version=f"{group}/v1", roleRef=reference, subjects=[subject])

    async def published(self) -> str:
        """Return the authority, once the operator has put it beside the address that the chart gives."""
        while True:
            data = json.loads(
                self.control_plane.kubectl("get", "configmap", "trainyard-gateway", f"-n={SYSTEM}", "-o=json")
            )["data"]
            assert data[ENV_GATEWAY] == "https://the-address"
            if ENV_CA in data:
                return str(data[ENV_CA])
            await asyncio.sleep(0.1)

    async def champion(self, name: str) -> None:
        """Wait for the operator to give the alias that the spec wishes."""
        command = ("get", "registeredmodel", name, f"-n={self.namespace}", "-o=jsonpath={.status.aliases.champion}")
        while not self.control_plane.kubectl(*command):  # noqa: ASYNC110 - another process brings it about
            await asyncio.sleep(0.1)

    async def fetch(self, model: str, *, account: str, port: int, ca: str) -> tuple[int, str]:
        root = self.folder / account
        token = Layout.below(root).token
        token.parent.mkdir(parents=True, exist_ok=True)
        token.write_text(
            self.control_plane.kubectl(
                "create", "token", account, f"--namespace={self.namespace}", f"--audience={TOKEN_AUDIENCE}"
            )
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", DRIVER, root, self.pyz, model, self.folder / "fetched"),
            env={ENV_GATEWAY: f"https://localhost:{port}", ENV_CA: ca},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()


@pytest.fixture
def place(control_plane, versitygw, repository, tmp_path):
    pyz = tmp_path / "runner.pyz"
    subprocess.run([sys.executable, repository / "trainer-image" / "build_runner.py", pyz], check=True)
    made = Place(control_plane, versitygw, tmp_path, pyz, f"serving-{uuid.uuid4().hex[:8]}")
    for name in (SYSTEM, made.namespace):
        if not control_plane.kubectl("get", "namespace", name, "--ignore-not-found"):
            control_plane.kubectl("create", "namespace", name)
    if BUCKET not in [bucket["Name"] for bucket in versitygw.client().list_buckets()["Buckets"]]:
        versitygw.client().create_bucket(Bucket=BUCKET)
    control_plane.kubectl(
        "create", "configmap", "trainyard-gateway", f"-n={SYSTEM}", f"--from-literal={ENV_GATEWAY}=https://the-address"
    )
    yield made
    control_plane.kubectl("delete", "configmap", "trainyard-gateway", f"-n={SYSTEM}")
    control_plane.kubectl("delete", "lease", "trainyard-operator", f"-n={SYSTEM}", "--ignore-not-found")


async def test_a_registered_model_reaches_whom_rbac_lets_have_it_whole_and_nobody_else(place):
    sha256 = place.register("digits")
    for account in ("server", "stranger"):
        place.create("ServiceAccount", account)
    place.allow("digits", "server")
    log = place.folder / "operator.log"
    async with OperatorProcess(kubeconfig=place.control_plane.kubeconfig, log=log, objects=place.objects) as operator:
        ca = await place.published()
        at = {"port": operator.gateway_port, "ca": ca}
        await place.champion("digits")
        code, said = await place.fetch("digits@champion", account="server", **at)
        target = place.folder / "fetched"
        assert (code, f"verified by manifest sha256:{sha256}" in said) == (0, True), said
        assert {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()} == FILES

        code, said = await place.fetch("digits:1", account="stranger", **at)
        assert (code, "may not read a model digits" in said) == (3, True), said
        code, other = await place.fetch("nothing", account="stranger", **at)
        assert (code, other) == (3, said.replace("digits", "nothing"))

        # The registry's word stands, whatever somebody has done in the bucket since.
        key = f"models/{place.namespace}/digits/1/labels/names.txt"
        place.objects.client().put_object(Bucket=BUCKET, Key=key, Body=b"zero\ntwo\n")
        (target / "labels/names.txt").unlink()
        code, said = await place.fetch("digits", account="server", **at)
        assert (code, "'labels/names.txt' has the SHA-256" in said) == (4, True), said
