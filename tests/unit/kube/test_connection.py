from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from trainyard_operator.kube.connection import (
    TOKEN_SECONDS,
    ConnectionConfigError,
    TokenFile,
    find_connection,
    from_kubeconfig,
)


@pytest.fixture(scope="module")
def pair():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), pem


@pytest.fixture
def kubeconfig(tmp_path):
    def write(user, *, cluster=None, context="here"):
        config = {
            "current-context": context,
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://host:6443", **(cluster or {})}}],
            "users": [{"name": "u", "user": user}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    return write


def test_a_token_is_read_again_once_it_is_old(tmp_path):
    path = tmp_path / "token"
    path.write_text("first\n")
    now = [0.0]
    token = TokenFile(path, clock=lambda: now[0])
    assert token() == "first"
    path.write_text("second\n")
    now[0] = TOKEN_SECONDS - 1
    assert token() == "first"
    now[0] = TOKEN_SECONDS
    assert token() == "second"


def test_a_kubeconfig_with_embedded_certificates(kubeconfig, pair):
    certificate, key = (base64.b64encode(part).decode() for part in pair)
    path = kubeconfig(
        {"client-certificate-data": certificate, "client-key-data": key},
        cluster={"certificate-authority-data": certificate},
    )
    connection = from_kubeconfig(path)
    assert connection.server == "https://host:6443"
    assert connection.token() is None
    assert len(connection.tls.get_ca_certs()) == 1


def test_a_kubeconfig_with_files_beside_it(kubeconfig, tmp_path, pair):
    (tmp_path / "ca.crt").write_bytes(pair[0])
    (tmp_path / "token").write_text("from a file")
    connection = from_kubeconfig(kubeconfig({"tokenFile": "token"}, cluster={"certificate-authority": "ca.crt"}))
    assert connection.token() == "from a file"


def test_a_kubeconfig_with_a_token(kubeconfig):
    assert from_kubeconfig(kubeconfig({"token": "abc"})).token() == "abc"


@pytest.mark.parametrize(
    ("user", "context", "message"),
    [
        pytest.param({"exec": {"command": "aws"}}, "here", "logs in by a program", id="a login program"),
        pytest.param({"token": "x"}, "nowhere", "context 'nowhere'", id="a context that is not there"),
    ],
)
def test_what_cannot_be_used_is_said(kubeconfig, user, context, message):
    with pytest.raises(ConnectionConfigError, match=message):
        from_kubeconfig(kubeconfig(user, context=context))


class TestFindConnection:
    @pytest.fixture
    def account(self, tmp_path, pair):
        folder = tmp_path / "account"
        folder.mkdir()
        (folder / "token").write_text("of the pod")
        (folder / "ca.crt").write_bytes(pair[0])
        return folder

    def test_in_a_pod_the_service_account_is_used(self, account):
        environment = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
        connection = find_connection(environment, service_account=account)
        assert connection.server == "https://10.96.0.1:6443"
        assert connection.token() == "of the pod"

    def test_an_address_of_version_6_is_bracketed(self, account):
        connection = find_connection({"KUBERNETES_SERVICE_HOST": "fd00::1"}, service_account=account)
        assert connection.server == "https://[fd00::1]:443"

    def test_kubeconfig_goes_first(self, account, kubeconfig):
        environment = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBECONFIG": str(kubeconfig({"token": "abc"}))}
        assert find_connection(environment, service_account=account).token() == "abc"

    def test_with_nothing_it_says_what_to_do(self, tmp_path):
        with pytest.raises(ConnectionConfigError, match="set KUBECONFIG"):
            find_connection({"HOME": str(tmp_path)}, service_account=tmp_path)
