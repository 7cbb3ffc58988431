"""Signatures of model versions, asked of the signer beside this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import aiohttp

from trainyard_operator.storage.errors import StoreUnavailable

SIGN_SECONDS = 30.0


class SignerUnavailable(StoreUnavailable):
    """The signer does not answer: the same request may work later."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A version's signature; `key_sha256` is that of the public key in PEM, as the signature itself names it."""

    bundle: bytes
    key_sha256: str


class Signer(Protocol):
    """Who signs versions."""

    async def sign(self, *, name: str, files: Mapping[str, str]) -> Signature:
        """Return a signature of `files`, SHA-256 by path.

        Raises
        ------
        SignerUnavailable
            If there is no answer.
        """
        ...


class SocketSigner:
    """The signer at a Unix socket."""

    def __init__(self, socket: str) -> None:
        self._socket = socket

    async def sign(self, *, name: str, files: Mapping[str, str]) -> Signature:
        """Return a signature of `files`, SHA-256 by path."""
        timeout = aiohttp.ClientTimeout(total=SIGN_SECONDS)
        connector = aiohttp.UnixConnector(path=self._socket)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.post("http://signer/sign", json={"name": name, "files": dict(files)}) as response,
            ):
                if response.status != HTTPStatus.OK:
                    raise SignerUnavailable(f"the signer refuses to sign {name}: {await response.text()}")
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            words = "the signer does not answer: see the log of the container signer in the operator's pod"
            raise SignerUnavailable(f"{words} ({error})") from error
        return Signature(bundle=answer["bundle"].encode(), key_sha256=answer["keySha256"])
