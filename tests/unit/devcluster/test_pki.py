from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from devcluster import kubeconfig, pki
from devcluster.pki import Subject

SERVER = Subject(file="server", common_name="s", hosts=("localhost", "127.0.0.1"))
CLIENT = Subject(file="client", common_name="admin", organization="system:masters")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pki.Pki:
    return pki.create(tmp_path_factory.mktemp("made") / "pki", (SERVER, CLIENT))


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_both_sides_of_a_connection_accept_each_other(made: pki.Pki, name: str):
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(made.authority))
    server_side.verify_mode = ssl.CERT_REQUIRED
    server_side.load_cert_chain(made.certificate("server"), made.key("server"))
    client_side = ssl.create_default_context(cafile=str(made.authority))
    # What newer Pythons do by default.
    client_side.verify_flags |= ssl.VERIFY_X509_STRICT
    client_side.load_cert_chain(made.certificate("client"), made.key("client"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
    assert waiting == []
    assert (("commonName", "admin"),) in server.getpeercert()["subject"]


def test_a_client_is_of_its_organization(made: pki.Pki):
    certificate = x509.load_pem_x509_certificate(made.certificate("client").read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=admin,O=system:masters"


def test_keys_are_for_their_owner_only(made: pki.Pki):
    assert {path.stat().st_mode & 0o077 for path in made.folder.glob("*.key")} == {0}


def test_certificates_that_exist_are_kept(made: pki.Pki):
    before = made.authority.read_bytes()
    assert pki.create(made.folder, (SERVER,)) == made
    assert made.authority.read_bytes() == before


def test_a_run_that_was_killed_half_way_leaves_no_half_authority(tmp_path: Path):
    (tmp_path / ".pki.new").mkdir()
    (tmp_path / ".pki.new" / "ca.key").write_text("half")
    made = pki.create(tmp_path / "pki", (SERVER,))
    assert x509.load_pem_x509_certificate(made.authority.read_bytes())
    assert [path.name for path in tmp_path.iterdir()] == ["pki"]


def test_a_kubeconfig_holds_all_that_it_needs_and_only_its_owner_reads_it(made: pki.Pki, tmp_path: Path):
    document = kubeconfig.document(server="https://127.0.0.1:1", pki=made, user="client", context="c")
    path = tmp_path / "kubeconfig"
    kubeconfig.write(path, document)
    assert path.stat().st_mode & 0o777 == 0o600
    assert str(made.folder) not in path.read_text()
    assert document["current-context"] == "c"
