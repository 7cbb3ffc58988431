import asyncio
import base64
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.unit.gateway.builders import KubeObjects
from trainyard_operator.gateway.tls import AuthorityError, issue, load_tls, new_authority, service_names

NAMES = service_names("trainyard-gateway", "trainyard-system")
NOW = datetime.now(UTC)


async def load(client, now=None):
    return await load_tls(client, namespace="trainyard-system", secret="tls", names=NAMES, now=now)


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def secret(certificate: bytes, key: bytes):
    data = {"tls.crt": base64.b64encode(certificate).decode(), "tls.key": base64.b64encode(key).decode()}
    metadata = {"namespace": "trainyard-system", "name": "tls"}
    return KubeObjects({("Secret", "trainyard-system", "tls"): {"metadata": metadata, "data": data}})


async def handshake(tls, name, ca_pem=None):
    async def answer(reader, writer):
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls.context)
    client = ssl.create_default_context(cadata=ca_pem or tls.ca_pem)
    # What Python 3.13 does by default.
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
        version = writer.get_extra_info("ssl_object").version()
        writer.close()
        return version


@pytest.mark.parametrize(
    "name", ["trainyard-gateway.trainyard-system.svc", "trainyard-gateway", "localhost", "127.0.0.1"]
)
async def test_a_client_that_trusts_the_authority_reaches_the_server_under_each_name(name):
    assert await handshake(await load(KubeObjects()), name) == "TLSv1.3"


async def test_another_name_is_not_accepted():
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        await handshake(await load(KubeObjects()), "evil.example.com")


async def test_another_authority_is_not_accepted():
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(await load(KubeObjects()), "localhost", new_authority(NOW).pem)


async def test_the_authority_outlasts_the_process():
    client = KubeObjects()
    first = await load(client)
    second = await load(client)
    assert first.ca_pem == second.ca_pem
    assert len(client.created) == 1
    assert await handshake(second, "localhost", first.ca_pem)


async def test_two_operators_that_start_at_once_agree_on_one_authority():
    class Late(KubeObjects):
        """Somebody else creates the Secret between this one's look and its write."""

        async def create(self, kind, obj, *, namespace=None):
            await super().create(kind, other, namespace=namespace)
            return await super().create(kind, obj, namespace=namespace)

    winner = KubeObjects()
    expected = await load(winner)
    other = winner.created[0]
    assert (await load(Late())).ca_pem == expected.ca_pem


async def test_the_certificate_ends_before_its_authority_does():
    authority = new_authority(NOW - timedelta(days=3600))
    certificate, _ = issue(authority, ["localhost"], NOW)
    assert certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc


def broken():
    good, other = new_authority(NOW), new_authority(NOW)
    old = new_authority(NOW - timedelta(days=3640))
    yield pytest.param(secret(b"", b""), "holds no certificate authority", id="empty")
    yield pytest.param(secret(good.pem.encode(), b"junk"), "holds no certificate authority", id="no-key")
    yield pytest.param(secret(good.pem.encode(), pem(other.key)), "not its certificate's", id="another-key")
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    yield pytest.param(secret(good.pem.encode(), pem(rsa_key)), "not its certificate's", id="another-kind-of-key")
    yield pytest.param(secret(old.pem.encode(), pem(old.key)), "ends", id="about-to-end")


@pytest.mark.parametrize(("client", "said"), list(broken()))
async def test_a_secret_that_cannot_be_used_is_named_with_the_way_out(client, said):
    with pytest.raises(AuthorityError) as error:
        await load(client)
    assert said in str(error.value)
    assert "trainyard-system/tls" in str(error.value)
    assert "delete it and restart the operator" in str(error.value)


async def test_the_key_is_an_elliptic_one_and_the_secret_is_of_the_type_for_tls():
    client = KubeObjects()
    await load(client)
    data = client.created[0]["data"]
    key = serialization.load_pem_private_key(base64.b64decode(data["tls.key"]), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert client.created[0]["type"] == "kubernetes.io/tls"
