"""A version's signature says yes to its bytes and no to everything else, by the library that consumers use."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from model_signing import hashing, verifying

from trainyard_operator.signer.__main__ import serving
from trainyard_operator.signer.signing import Key, KeyUnusable
from trainyard_operator.storage.signatures import SignerUnavailable, SocketSigner

FILES = {"model.pkl": b"model", "deep/b.txt": b"b", ".github/workflows/ci.yaml": b"on: push"}


def write_key(path: Path, key=None):
    key = key or ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path


def write(folder: Path, files):
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


def digests(files):
    return {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}


def verify(folder: Path, bundle: bytes, public: Path):
    signature = folder.parent / "model.sig"
    signature.write_bytes(bundle)
    rules = hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)
    config = verifying.Config().use_elliptic_key_verifier(public_key=public).set_hashing_config(rules)
    config.verify(folder, signature)


@pytest.fixture
def key(tmp_path):
    return write_key(tmp_path / "key.pem")


@pytest.fixture
def bundle(key):
    return Key(key).sign(name="m:1", files=digests(FILES))


def reordered(bundle: bytes) -> bytes:
    document = json.loads(bundle)
    statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    statement["predicate"]["resources"].reverse()
    document["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    return json.dumps(document).encode()


def test_a_signature_is_valid_for_the_files_that_were_signed(tmp_path, key, bundle):
    verify(write(tmp_path / "m", FILES), bundle, key.with_suffix(".pub"))


@pytest.mark.parametrize(
    ("files", "names"),
    [
        pytest.param(FILES | {"model.pkl": b"other"}, "model.pkl", id="changed"),
        pytest.param({n: b for n, b in FILES.items() if n != "deep/b.txt"}, "deep/b.txt", id="removed"),
        pytest.param(FILES | {".github/evil.sh": b"x"}, ".github/evil.sh", id="smuggled under .github"),
        pytest.param(FILES | {".git/config": b"x"}, ".git/config", id="smuggled under .git"),
        pytest.param(FILES | {"model.sig": b"x"}, "model.sig", id="smuggled as a signature"),
    ],
)
def test_files_that_are_not_those_that_were_signed_are_named(tmp_path, key, bundle, files, names):
    with pytest.raises(ValueError, match="Signature mismatch") as caught:
        verify(write(tmp_path / "m", files), bundle, key.with_suffix(".pub"))
    assert names in str(caught.value)


@pytest.mark.parametrize(
    "change", [pytest.param(reordered, id="reordered"), pytest.param(lambda bundle: bundle[:-20], id="cut")]
)
def test_a_signature_that_was_changed_is_refused(tmp_path, key, bundle, change):
    with pytest.raises((ValueError, InvalidSignature)):
        verify(write(tmp_path / "m", FILES), change(bundle), key.with_suffix(".pub"))


def test_another_key_does_not_verify(tmp_path, bundle):
    other = write_key(tmp_path / "other.pem")
    with pytest.raises(ValueError, match="Key mismatch"):
        verify(write(tmp_path / "m", FILES), bundle, other.with_suffix(".pub"))


def test_a_signature_names_its_key(key, bundle):
    hint = json.loads(bundle)["verificationMaterial"]["publicKey"]["hint"]
    assert hint == Key(key).sha256 == hashlib.sha256(key.with_suffix(".pub").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path, id="absent"),
        pytest.param(lambda path: path.write_bytes(b"no key"), id="no key"),
        pytest.param(lambda path: write_key(path, rsa.generate_private_key(65537, 2048)), id="RSA"),
    ],
)
def test_a_key_that_cannot_sign_is_refused_in_words(tmp_path, make):
    path = tmp_path / "key.pem"
    make(path)
    with pytest.raises(KeyUnusable, match=r"key\.pem"):
        Key(path)


async def test_the_operator_asks_over_a_socket(tmp_path, key):
    socket = str(tmp_path / "signer.sock")
    with pytest.raises(SignerUnavailable, match="does not answer"):
        await SocketSigner(socket).sign(name="m:1", files=digests(FILES))
    async with serving(Key(key), socket=socket):
        made = await SocketSigner(socket).sign(name="m:1", files=digests(FILES))
        with pytest.raises(SignerUnavailable, match="SHA-256 of at least one file"):
            await SocketSigner(socket).sign(name="m:1", files={})
    await asyncio.to_thread(verify, write(tmp_path / "m", FILES), made.bundle, key.with_suffix(".pub"))
    assert made.key_sha256 == Key(key).sha256
