"""Code from archives, from git, and from other runs: what was run is known, and the next attempt runs the same."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import uuid
import zipfile
from collections.abc import Iterator

import pytest

from tests.e2e import scripts
from tests.e2e.bucket import Bucket, root
from tests.e2e.yard import Json, Yard, ready, secret, training_job
from tests.support.git_server import GitServer, git_server

pytestmark = pytest.mark.e2e

SCRIPT = """
import json, os, sys
sys.path.insert(0, "lib")
from helper import WORD
os.makedirs("outputs", exist_ok=True)
json.dump({"word": WORD, "argv": sys.argv[1:]}, open("outputs/said.json", "w"))
"""
CODE = {"train.py": SCRIPT, "lib/helper.py": "WORD = 'archived'"}


def targz(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, text in files.items():
            target.writestr(name, text)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def server(yard: Yard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """A git server with an authority of its own, that pods reach."""
    with git_server(tmp_path_factory.mktemp("git"), address=yard.host_address()) as made:
        made.first = made.commit("code", {"src/train.py": SCRIPT, "src/lib/helper.py": "WORD = 'first'"})
        made.commit("private", {"train.py": SCRIPT, "lib/helper.py": "WORD = 'private'"})
        yard.apply(secret("git-authority", **{"ca.crt": made.ca_pem}))
        yard.apply(secret("git-reader", **{"ca.crt": made.ca_pem, "token": made.password}))
        yield made


def from_git(server: GitServer, repository: str, *, name: str = "git-authority", **git: str) -> Json:
    return {"git": {"url": f"{server.url}/{repository}.git", "secretRef": {"name": name}, **git}}


# Small, pure, without dependencies, and not in the trainer image.
IMPORTS = """
import json, os, tabulate
os.makedirs("outputs", exist_ok=True)
json.dump({"word": tabulate.__version__}, open("outputs/said.json", "w"))
"""


@pytest.fixture(scope="module")
def packaged(yard: Yard, files: Bucket, server: GitServer) -> dict[str, Json]:
    """Start runs whose packages are listed in their source, and in no session before: all of them the same."""
    listed = f"tabulate>=0.8,<{1000 + uuid.uuid4().int % 10**9}  # and nothing else\n"
    code = {"train.py": IMPORTS, "needs/requirements.txt": listed}
    packed, other = targz(code), targz({**code, "README": "other bytes"})
    for content in (packed, other):
        files.put(f"snapshots/default/{sha256(content)}.tar.gz", content)
    server.commit("needy", {f"app/{name}": text for name, text in code.items()})
    named = {"environment": {"requirements": "needs/requirements.txt"}}

    def archive(content: bytes, **over: Json) -> Json:
        path = f"snapshots/{sha256(content)}.tar.gz"
        return training_job(source={"archive": {"path": path, "sha256": sha256(content)}}, **{**named, **over})

    jobs = {
        "archive": archive(packed),
        "same archive": archive(packed),
        "other archive": archive(other),
        "git": training_job(source=from_git(server, "needy", name="git-reader", path="app"), **named),
        "no file": archive(packed, environment={"requirements": "requirements.txt"}),
        "option": training_job(source=from_git(server, "needy", path="app"), environment={"requirements": "train.py"}),
    }
    jobs["rerun"] = training_job(rerunOf=jobs["git"]["metadata"]["name"])
    names = {about: yard.apply(job) for about, job in jobs.items()}
    return {about: yard.wait_for_end(name) for about, name in names.items()}


PACKAGED = ["archive", "same archive", "other archive", "git", "rerun"]


def test_a_requirements_file_of_an_archive_or_of_git_is_read_before_the_run_and_its_packages_are_built_once(
    packaged, files, yard
):
    for about in PACKAGED:
        assert said(files, packaged[about])["word"], about
    (digest,) = {packaged[about]["status"]["environment"]["hash"] for about in PACKAGED}
    assert len(yard.items("jobs", "-n", "default", "-l", f"trainyard.dev/environment=env-{digest[:12]}")) == 1
    readers = yard.items("jobs", "-n", "default")
    owners = {job["metadata"]["ownerReferences"][0]["name"] for job in readers if "trainyard.dev/reads" in notes(job)}
    assert packaged["rerun"]["metadata"]["name"] not in owners
    assert len({packaged[about]["metadata"]["name"] for about in ("archive", "same archive")} & owners) == 1


def notes(job: Json) -> Json:
    return job["metadata"].get("annotations", {})


def test_the_source_that_was_read_is_the_one_that_runs(packaged, files):
    run = packaged["git"]
    manifest = json.loads(files.read(run, "manifest.json"))
    assert manifest["sourceSha256"] == sha256(files.bytes(root(run) + "source.tar.gz"))
    assert manifest["sourceCommit"] == run["status"]["source"]["commit"]
    assert manifest["environmentHash"] == run["status"]["environment"]["hash"]
    assert files.bytes(root(run) + "requirements.txt").startswith(b"tabulate>=0.8")


def test_the_build_has_nothing_of_the_secret_that_the_source_was_fetched_with(packaged, yard):
    digest = packaged["git"]["status"]["environment"]["hash"]
    (build,) = yard.items("jobs", "-n", "default", "-l", f"trainyard.dev/environment=env-{digest[:12]}")
    assert "git-reader" not in json.dumps(build)


@pytest.mark.parametrize(
    ("about", "reason", "words"),
    [
        pytest.param(
            "no file",
            "SourceInvalid",
            ["spec.environment.requirements", "no such file", "needs/requirements.txt, train.py"],
            id="no such file",
        ),
        pytest.param("option", "InvalidSpec", ["line 2 of train.py", "no requirement"], id="not a list of packages"),
    ],
)
def test_a_requirements_file_that_cannot_be_used_fails_the_run_in_words(packaged, about, reason, words):
    failure = packaged[about]["status"]["failure"]
    assert failure["reason"] == reason, failure
    assert all(word in failure["message"] for word in words), failure


@pytest.fixture(scope="module")
def ended(yard: Yard, files: Bucket, server: GitServer) -> dict[str, Json]:
    """Start all runs at once: they are independent, or wait for one another by themselves."""
    packed, small = targz(CODE), zipped(CODE)
    archive, snapshot = f"code/{uuid.uuid4().hex}.tar.gz", f"snapshots/{sha256(small)}.zip"
    files.put(f"data/default/{archive}", packed)
    files.put(f"snapshots/default/{sha256(small)}.zip", small)
    words = {"parameters": {"rate": 0.5}, "arguments": ["--and", "a b"]}
    jobs = {
        "archive": training_job(source={"archive": {"path": archive, "sha256": sha256(packed)}}),
        "snapshot": training_job(source={"archive": {"path": snapshot, "sha256": sha256(small)}}),
        "other digest": training_job(source={"archive": {"path": archive, "sha256": "ab" * 32}}),
        "no script": training_job(
            source={"archive": {"path": archive, "sha256": sha256(packed)}}, entryScript="a/b.py"
        ),
        "git": training_job(source=from_git(server, "code", revision="main", path="src"), **words),
        "folder": training_job(source=from_git(server, "code", path="src/", revision=server.first)),
        "private": training_job(source=from_git(server, "private", name="git-reader")),
        "no token": training_job(source=from_git(server, "private")),
        "no revision": training_job(source=from_git(server, "code", revision="no-such-branch")),
    }
    jobs["rerun"] = training_job(rerunOf=jobs["git"]["metadata"]["name"], experiment="again")
    jobs["rerun of the rerun"] = training_job(rerunOf=jobs["rerun"]["metadata"]["name"])
    names = {about: yard.apply(job) for about, job in reversed(jobs.items())}
    return {about: yard.wait_for_end(name) for about, name in names.items()}


def said(files: Bucket, run: Json) -> Json:
    assert run["status"]["phase"] == "Completed", run["status"]
    return json.loads(files.read(run, "outputs/said.json"))


@pytest.mark.parametrize("about", ["archive", "snapshot"])
def test_an_archive_is_run_and_its_very_bytes_are_kept(ended, files, about):
    run = ended[about]
    assert said(files, run)["word"] == "archived"
    digest = run["spec"]["source"]["archive"]["sha256"]
    assert run["status"]["source"] == {"sha256": digest}
    assert sha256(files.bytes(root(run) + "source.tar.gz")) == digest


@pytest.mark.parametrize(
    ("about", "reason", "words"),
    [
        pytest.param("other digest", "SourceInvalid", ["spec.source.archive.sha256", "ab" * 32], id="other digest"),
        pytest.param("no script", "SourceInvalid", ["a/b.py", "lib/helper.py, train.py"], id="no entry script"),
        pytest.param(
            "no token", "SourceInvalid", ["could not read Username", "spec.source.git"], id="private repository"
        ),
        pytest.param("no revision", "SourceNotFound", ["couldn't find remote ref no-such-branch"], id="no revision"),
    ],
)
def test_code_that_cannot_be_had_fails_the_run_in_words(ended, about, reason, words):
    failure = ended[about]["status"]["failure"]
    assert failure["reason"] == reason, failure
    assert all(word in failure["message"] for word in words), failure


def test_a_revision_is_pinned_to_its_commit(ended, files, server):
    run = ended["git"]
    assert said(files, run) == {"word": "first", "argv": ["--rate", "0.5", "--and", "a b"]}
    assert run["status"]["source"]["commit"] == server.first
    manifest = json.loads(files.read(run, "manifest.json"))
    assert (manifest["sourceCommit"], manifest["sourceSha256"]) == (server.first, run["status"]["source"]["sha256"])


def test_a_commit_and_a_folder_of_a_repository_can_be_named(ended, files):
    assert said(files, ended["folder"])["word"] == "first"


def test_a_private_repository_is_read_with_a_secret_that_the_script_does_not_see(ended, files, yard):
    run = ended["private"]
    assert said(files, run)["word"] == "private"
    pod = yard.get("pod", run["status"]["podName"])
    mounts = {m["mountPath"] for c in pod["spec"]["containers"] for m in c["volumeMounts"]}
    assert not any("trainyard-spec" in path for path in mounts)
    assert "a-token" not in yard.kubectl("logs", run["status"]["podName"], "--all-containers")


@pytest.mark.parametrize("about", ["rerun", "rerun of the rerun"])
def test_a_rerun_runs_the_same_code_with_the_same_words(ended, files, about):
    run = ended[about]
    assert said(files, run) == said(files, ended["git"])
    assert run["status"]["source"] == ended["git"]["status"]["source"]
    assert run["status"]["environment"] == ended["git"]["status"]["environment"]


def test_a_rerun_needs_neither_the_repository_nor_the_run_that_it_repeats_once_it_has_begun(yard, files, server):
    server.commit("moving", {"train.py": scripts.FINE})
    first = yard.wait_for_end(yard.apply(training_job(source=from_git(server, "moving"))))
    server.commit("moving", {"train.py": scripts.EXIT_3})
    second = yard.wait_for_end(yard.apply(training_job(rerunOf=first["metadata"]["name"])))
    yard.kubectl("delete", "tj", first["metadata"]["name"])
    assert second["status"]["phase"] == "Completed"
    assert files.bytes(root(second) + "source.tar.gz") == files.bytes(root(first) + "source.tar.gz")


def test_a_run_waits_for_its_archive_and_for_the_run_that_it_repeats(yard, files):
    packed, path = targz(CODE), f"late/{uuid.uuid4().hex}.tar.gz"
    original = f"late-{uuid.uuid4().hex[:8]}"
    rerun = yard.apply(training_job(rerunOf=original))
    assert f"no TrainingJob {original}" in ready(yard.wait_for_reason(rerun, "SourceNotFound"))["message"]
    yard.apply(training_job(name=original, source={"archive": {"path": path, "sha256": sha256(packed)}}))
    waiting = yard.wait_for_reason(original, "SourceNotFound")
    assert waiting["status"]["phase"] == "Pending"
    assert f"s3://trainyard/data/default/{path}" in ready(waiting)["message"]
    files.put(f"data/default/{path}", packed)
    assert yard.wait_for_end(original)["status"]["phase"] == "Completed"
    assert yard.wait_for_end(rerun)["status"]["phase"] == "Completed"
