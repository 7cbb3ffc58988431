"""Code from a real git server over TLS, with all that can be wrong about it."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest

from tests.support.git_server import git_server
from trainyard.patience import Retry
from trainyard_runner import git
from trainyard_runner.git import fetch
from trainyard_runner.source import SourceError


@pytest.fixture
def server(tmp_path):
    """A server with a repository of two commits, the first one tagged."""
    (tmp_path / "server").mkdir()
    with git_server(tmp_path / "server") as made:
        made.first = made.commit(
            "code", {"train.py": "one", "src/model/net.py": "net"}, links={"src/link": "model/net.py"}
        )
        made.tag("code", "v1.0")
        made.last = made.commit("code", {"train.py": "two"})
        yield made


@pytest.fixture
def secret(tmp_path, server):
    """The folder of a Secret that knows the server's authority."""
    folder = tmp_path / "secret"
    folder.mkdir()
    (folder / "ca.crt").write_text(server.ca_pem)
    return folder


@pytest.fixture
def get(tmp_path, server, secret):
    """Fetch from the server."""
    troubles = []

    def call(*, repository="code", **over):
        source = {"url": f"{server.url}/{repository}.git", "revision": "HEAD", "path": "", **over}
        return fetch(source, scratch=tmp_path / "scratch", secret=secret, on_trouble=troubles.append)

    call.troubles = troubles
    return call


@pytest.mark.parametrize(
    ("revision", "commit", "text"),
    [
        pytest.param("HEAD", "last", "two", id="default branch"),
        pytest.param("main", "last", "two", id="branch"),
        pytest.param("refs/heads/main", "last", "two", id="whole name of a branch"),
        pytest.param("v1.0", "first", "one", id="annotated tag"),
        pytest.param("first", "first", "one", id="commit"),
    ],
)
def test_a_revision_becomes_the_files_of_one_commit(get, server, revision, commit, text):
    wanted = getattr(server, commit)
    found = get(revision=wanted if revision == "first" else revision)
    assert found.commit == wanted
    assert (found.folder / "train.py").read_text() == text


def test_a_folder_of_the_repository_can_be_the_source(get):
    found = get(path="src/")
    assert sorted(p.name for p in found.folder.iterdir()) == ["link", "model"]


def test_a_private_repository_is_read_with_a_token_that_no_process_shows(get, server, secret, tmp_path, monkeypatch):
    calls = []
    run = git.subprocess.run
    monkeypatch.setattr(
        git.subprocess, "run", lambda argv, **more: calls.append((argv, more["env"])) or run(argv, **more)
    )
    server.commit("private", {"train.py": "private"})
    (secret / "token").write_text("a-token\n")
    assert (get(repository="private").folder / "train.py").read_text() == "private"
    assert "a-token" not in repr(calls)
    assert (tmp_path / "scratch" / "credential").stat().st_mode & 0o777 == 0o600


def test_a_redirect_to_another_host_gets_no_credential(get, server, secret, tmp_path):
    (tmp_path / "other").mkdir()
    with git_server(tmp_path / "other") as other:
        other.commit("private", {"train.py": ""})
        server.redirect = other.url
        (secret / "token").write_text("a-token")
        (secret / "ca.crt").write_text(server.ca_pem + other.ca_pem)
        with pytest.raises(SourceError):
            get(url=f"{server.url}/moved/private.git")
        assert {authorization for _, authorization in other.seen} == {""}


@pytest.mark.parametrize(
    ("over", "reason", "words"),
    [
        pytest.param({"repository": "none"}, "SourceNotFound", ["spec.source.git.url", "not found"], id="no repository"),
        pytest.param({"revision": "no-such"}, "SourceNotFound", ["spec.source.git.revision", "couldn't find remote ref no-such"], id="no revision"),
        pytest.param({"revision": "ab" * 20}, "SourceNotFound", ["spec.source.git.revision", "not our ref"], id="no commit"),
        pytest.param({"path": "lib"}, "SourceNotFound", ["spec.source.git.path", "'lib'", "src/"], id="no folder"),
        pytest.param({"path": "train.py"}, "SourceNotFound", ["spec.source.git.path"], id="a file in place of a folder"),
        pytest.param({"repository": "private"}, "SourceInvalid", ["could not read Username", "spec.source.git.secretRef"], id="no credential"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_in_gits_own_words(get, server, over, reason, words):
    server.commit("private", {"train.py": ""})
    with pytest.raises(SourceError) as error:
        get(**over)
    assert error.value.reason == reason
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_wrong_token_is_refused_and_never_repeated(get, server, secret):
    server.commit("private", {"train.py": ""})
    (secret / "username").write_text("somebody")
    (secret / "password").write_text("a-wrong-password")
    with pytest.raises(SourceError, match="Authentication failed") as error:
        get(repository="private", secret="deploy")
    assert "a-wrong-password" not in str(error.value)
    assert "correct username, password or token" in str(error.value)


def test_a_server_of_an_unknown_authority_is_not_believed(get, secret):
    (secret / "ca.crt").unlink()
    with pytest.raises(SourceError, match=r"ca\.crt"):
        get()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.git", "file:///etc", "ext::sh -c true", "git://127.0.0.1/a"])
def test_no_other_protocol_is_spoken(get, url):
    with pytest.raises(SourceError, match="not allowed"):
        get(url=url)


def test_a_server_that_fails_is_asked_again(get, server):
    server.faults[:] = [503, 500]
    assert get().commit == server.last
    assert len(get.troubles) == 2


def test_a_server_that_stays_away_ends_the_run(get, monkeypatch):
    monkeypatch.setattr(git, "PATIENCE", Retry(limit=0.5, first=0.1))
    with pytest.raises(SourceError, match="cannot be reached") as error:
        get(url="https://127.0.0.1:9/a.git")
    assert error.value.reason == "SourceNotFound"


def test_a_repository_that_is_too_large_is_not_let_fill_the_disk(get, server, monkeypatch):
    server.commit("large", {"noise": hashlib.shake_256(b"").hexdigest(400_000)})
    monkeypatch.setattr(git, "MAX_SOURCE_BYTES", 100_000)
    with pytest.raises(SourceError, match="larger than"):
        get(repository="large")


@pytest.mark.parametrize("version", ["git version 2.30.9", "git version 1.99", "something else"])
def test_a_git_that_would_overlook_its_settings_is_not_used(get, tmp_path, monkeypatch, version):
    program = tmp_path / "git"
    program.write_text(f"#!/bin/sh\necho '{version}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(git.shutil, "which", lambda _: str(program))
    with pytest.raises(SourceError, match=r"needs git 2\.31 or newer"):
        get()


def test_hooks_filters_and_submodules_of_a_repository_do_nothing(get, server, tmp_path):
    marker = tmp_path / "marker"
    files = {
        ".gitattributes": "* filter=evil",
        ".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = {server.url}/code.git\n',
        "hooks/post-checkout": f"#!/bin/sh\ntouch {marker}\n",
        "train.py": "",
    }
    server.commit("evil", files)
    get(repository="evil")
    assert not marker.exists()


def test_the_first_pod_freezes_what_it_fetched(pod, server):
    secrets = pod.layout.secrets / "source"
    secrets.mkdir(parents=True)
    (secrets / "ca.crt").write_text(server.ca_pem)
    wanted = {"url": f"{server.url}/code.git", "revision": "main", "path": "src", "secret": "deploy"}
    pod.serve_git(wanted, entry="model/net.py")
    assert pod.prepare() == 0, pod.container_log("prepare")
    assert (pod.layout.work / "link").read_text() == "net"
    (put,) = [grant for grant in pod.yard.gateway.grants if grant["op"] == "source-put"]
    frozen = pod.yard.store.objects["source.tar.gz"]
    assert put == {"op": "source-put", "sha256": hashlib.sha256(frozen).hexdigest(), "commit": server.last}
    with tarfile.open(fileobj=io.BytesIO(frozen)) as tar:
        assert sorted(tar.getnames()) == ["link", "model/net.py"]
    assert not (pod.layout.home / "git").exists()
    pod.execute()
    assert pod.manifest()["sourceCommit"] == server.last


def test_a_pod_that_was_second_runs_what_the_first_one_froze(pod, server, targz):
    secrets = pod.layout.secrets / "source"
    secrets.mkdir(parents=True)
    (secrets / "ca.crt").write_text(server.ca_pem)
    pod.serve_git(
        {"url": f"{server.url}/code.git", "revision": "main", "path": ""}, taken=targz([("train.py", "other")])
    )
    assert pod.prepare() == 0, pod.container_log("prepare")
    assert (pod.layout.work / "train.py").read_text() == "other"
