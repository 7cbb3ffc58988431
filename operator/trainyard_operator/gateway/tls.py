"""The gateway's own certificate authority, so that pods can trust it with no help from outside the cluster.

The authority lives in a Secret and outlasts the process; the server's certificate is made anew at each start and is
never written anywhere.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trainyard_operator.api.names import SECRET
from trainyard_operator.kube.client import Client
from trainyard_operator.kube.errors import AlreadyExists, NotFound

AUTHORITY_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=825)
RENEW_BEFORE = timedelta(days=30)
# Nodes' clocks differ, and a certificate from the future is refused.
CLOCK_SKEW = timedelta(hours=1)

_CERTIFICATE = "tls.crt"
_KEY = "tls.key"


class AuthorityError(Exception):
    """The Secret of the gateway's authority cannot be used; the message says how to get a new one."""


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A certificate authority with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """The certificate, for those who shall trust it."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


@dataclass(frozen=True, kw_only=True)
class ServerTls:
    """What a server needs, and what its clients must be given."""

    context: ssl.SSLContext
    ca_pem: str


async def load_tls(
    client: Client, *, namespace: str, secret: str, names: Sequence[str], now: datetime | None = None
) -> ServerTls:
    """Return the server's TLS settings, from the authority in the Secret, which is made where there is none.

    Parameters
    ----------
    names
        DNS names and IP addresses under which the server is reached; localhost is added, for port-forwards.

    Raises
    ------
    AuthorityError
        If what the Secret holds cannot be used.
    """
    moment = now or datetime.now(UTC)
    try:
        found = await client.get(SECRET, secret, namespace=namespace)
    except NotFound:
        try:
            found = await client.create(SECRET, _secret(namespace, secret, new_authority(moment)))
        except AlreadyExists:
            found = await client.get(SECRET, secret, namespace=namespace)
    authority = _read(found, moment)
    certificate, key = issue(authority, [*names, "localhost", "127.0.0.1"], moment)
    return ServerTls(context=_context(certificate, key), ca_pem=authority.pem)


def service_names(service: str, namespace: str) -> list[str]:
    """Return the DNS names of a Service."""
    return [service, f"{service}.{namespace}", f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local"]


def new_authority(now: datetime) -> Authority:
    """Return a new authority that signs servers' certificates only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trainyard gateway authority")])
    certificate = (
        _builder(name, name, key.public_key(), now, now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate=certificate, key=key)


def issue(
    authority: Authority, names: Sequence[str], now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Return a certificate for a server of these names, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trainyard gateway")])
    until = min(now + SERVER_LIFE, authority.certificate.not_valid_after_utc)
    issuer_key = x509.SubjectKeyIdentifier.from_public_key(authority.key.public_key())
    certificate = (
        _builder(name, authority.certificate.subject, key.public_key(), now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(n) for n in dict.fromkeys(names)]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _secret(namespace: str, name: str, authority: Authority) -> dict[str, Any]:
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/tls",
        "data": {
            _CERTIFICATE: base64.b64encode(authority.pem.encode()).decode(),
            _KEY: base64.b64encode(_key_pem(authority.key)).decode(),
        },
    }


def _read(secret: dict[str, Any], now: datetime) -> Authority:
    meta = secret["metadata"]
    where = f"the Secret {meta.get('namespace')}/{meta.get('name')}"
    mend = "delete it and restart the operator; running pods lose the gateway, their runs fail"
    try:
        data = secret.get("data") or {}
        certificate = x509.load_pem_x509_certificate(base64.b64decode(data[_CERTIFICATE]))
        key = serialization.load_pem_private_key(base64.b64decode(data[_KEY]), password=None)
    except (KeyError, ValueError, TypeError) as error:
        raise AuthorityError(f"{where} holds no certificate authority ({error!r}): {mend}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise AuthorityError(f"{where} holds a key that is not its certificate's: {mend}")
    if certificate.not_valid_after_utc - now < RENEW_BEFORE:
        raise AuthorityError(f"{where} holds an authority that ends {certificate.not_valid_after_utc}: {mend}")
    return Authority(certificate=certificate, key=key)


def _context(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # OpenSSL wants a file. This one is memory, so that the key touches no disk and a read-only root is no trouble.
    handle = os.memfd_create("gateway")
    try:
        os.write(handle, certificate.public_bytes(serialization.Encoding.PEM) + _key_pem(key))
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)
    return context


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
