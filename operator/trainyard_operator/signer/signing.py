"""Signatures of model versions, as OpenSSF's model-signing makes and verifies them.

A signature names every file by its path and its SHA-256, so the digests that a version's manifest has are enough: no
file is read again, and the signer needs no access to the object store.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import hashing, manifest, signing

# The one name that the public modules need and do not export.
from model_signing._hashing.hashing import Digest

# Every file counts. The library's own default leaves out what is under .git and .github.
_RULES = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}


class KeyUnusable(Exception):  # noqa: N818 - says what is the matter
    """The file with the key has no private key that can sign models."""


class Key:
    """A private key on an elliptic curve, kept in a file."""

    def __init__(self, path: Path) -> None:
        """Read the key.

        Raises
        ------
        KeyUnusable
            If it is not there, or no key of NIST's curves P-256, P-384 or P-521 without a password.
        """
        try:
            found = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise KeyUnusable(f"{path} is no private key in PEM without a password: {error}") from error
        if not isinstance(found, ec.EllipticCurvePrivateKey) or not found.curve.name.startswith("secp"):
            raise KeyUnusable(
                f"{path} is no key on an elliptic curve: make one with openssl ecparam -name prime256v1 -genkey -noout"
            )
        self._path = path
        public = found.public_key().public_bytes(
            encoding=serialization.Encoding.PEM, format=serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.sha256 = hashlib.sha256(public).hexdigest()

    def sign(self, *, name: str, files: Mapping[str, str]) -> bytes:
        """Return the signature of a version as a Sigstore bundle.

        Parameters
        ----------
        name
            What the signature calls the model; of no weight for its validity.
        files
            The SHA-256 of each file in hexadecimal, by its path below the version's folder.
        """
        config = signing.Config()  # type: ignore[no-untyped-call]
        config.use_elliptic_key_signer(private_key=self._path)
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder, "signature")
            config.set_hashing_config(_Recorded(name, files)).sign(name, made)
            return made.read_bytes()


class _Recorded(hashing.Config):
    """Takes the digests that were recorded for what hashing the files would give."""

    def __init__(self, name: str, files: Mapping[str, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._name = name
        self._files = files

    def hash(
        self,
        model_path: hashing.PathLike,  # noqa: ARG002 - there is no folder
        *,
        files_to_hash: Iterable[hashing.PathLike] | None = None,  # noqa: ARG002
    ) -> manifest.Manifest:
        kind = manifest.SerializationType.from_args(_RULES)
        items = [kind.new_item(path, Digest("sha256", bytes.fromhex(sha256))) for path, sha256 in self._files.items()]
        return manifest.Manifest(self._name, items, kind)
