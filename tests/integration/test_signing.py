"""Versions are signed before anybody can see them, and wait where nobody signs."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import hashing, verifying

from tests.support.lab import BODY
from trainyard_operator.api.names import REGISTERED_MODEL
from trainyard_operator.storage import layout

DIGITS = {"name": "digits", "path": "outputs/m.pkl"}


@pytest.fixture
def signer(tmp_path, monkeypatch):
    """Starts the signer's process, with a key of its own."""
    key = ec.generate_private_key(ec.SECP384R1())
    private, public = serialization.PrivateFormat.PKCS8, serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    )
    (tmp_path / "key.pub").write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, public))
    monkeypatch.setenv("TRAINYARD_SIGNER_SOCKET", str(tmp_path / "s"))

    async def start():
        environment = {**os.environ, "TRAINYARD_SIGNING_KEY": str(tmp_path / "key.pem")}
        return await asyncio.create_subprocess_exec(sys.executable, "-m", "trainyard_operator.signer", env=environment)

    return start


def verify(folder: Path):
    rules = hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)
    config = verifying.Config().use_elliptic_key_verifier(public_key=folder / "key.pub").set_hashing_config(rules)
    config.verify(folder / "model", folder / "model.sig")


async def test_a_version_waits_for_its_signature_which_consumers_verify_offline(lab, operator, signer, tmp_path):
    async with operator():
        training = asyncio.create_task(lab.train("one", DIGITS))
        waiting = await lab.until(REGISTERED_MODEL, "digits", lambda model: model["status"].get("versions"))
        assert waiting["status"]["versions"][0]["state"] == "Pending"
        process = await signer()
        try:
            run = await training
        finally:
            process.terminate()
            await process.wait()
    model = await lab.find(REGISTERED_MODEL, "digits")
    (version,) = model["status"]["versions"]
    public = (tmp_path / "key.pub").read_bytes()
    assert run["status"]["models"][0]["id"] == "digits:1"
    assert version["state"] == "Ready"
    assert version["signature"] == {
        "uri": f"s3://trainyard/models/{lab.namespace}/digits/1.sig",
        "keySha256": hashlib.sha256(public).hexdigest(),
    }

    signature = await lab.objects.get(layout.model_signature_key(lab.namespace, "digits", 1), limit=1 << 20)
    (tmp_path / "model.sig").write_bytes(signature)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "m.pkl").write_bytes(BODY)
    await asyncio.to_thread(verify, tmp_path)
    (tmp_path / "model" / "m.pkl").write_bytes(b"other")
    with pytest.raises(ValueError, match="Signature mismatch"):
        await asyncio.to_thread(verify, tmp_path)
