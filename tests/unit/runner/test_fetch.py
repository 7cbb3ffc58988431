"""Fetching a model: whole and verified, or not at all; and what is said where it is not."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.fake_yard import DROP
from trainyard.contract import MODEL_MANIFEST_SCHEMA, canonical_json

DRIVER = """
import os, sys
from pathlib import Path
root, pyz, *arguments = sys.argv[1:]
sys.path.insert(0, pyz)
from trainyard.patience import Retry
from trainyard_runner.fetch import fetch
from trainyard_runner.layout import Layout
patience = Retry(limit=float(os.environ["PATIENCE"]), first=0.05, most=0.1)
sys.exit(fetch(arguments, layout=Layout.below(Path(root)), environ=os.environ, retry=patience))
"""
FILES = {"model.skops": b"weights" * 1000, "deep/er/labels.txt": b"0\n1\n", "empty": b""}


class Registry:
    """Versions by number, as the gateway gives them; `champion` is 1."""

    def __init__(self, yard):
        self.yard = yard
        self.versions = {}
        self.offered = {}  # entries that differ from the manifest's, by path; None leaves one out
        self.page = 500
        self.signed = set()
        self.asked = []
        yard.gateway.answer = self.answer

    def add(self, number, files, *, listed=None, **more):
        entries = [
            {"path": path, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
            for path, body in sorted(files.items())
        ]
        document = {"schema": MODEL_MANIFEST_SCHEMA, "files": entries if listed is None else listed, **more}
        body = canonical_json(document)
        self.versions[number] = (body, hashlib.sha256(body).hexdigest(), entries)
        self.yard.store.objects[f"m/{number}.manifest.json"] = body
        for path, content in files.items():
            self.yard.store.objects[f"m/{number}/{path}"] = content

    def answer(self, op, request):
        assert op == "model"
        self.asked.append(request)
        number = {"latest": max(self.versions), "@champion": 1}.get(request["version"]) or int(request["version"])
        body, sha256, entries = self.versions[number]
        offers = [{**entry, **(self.offered.get(entry["path"]) or {})} for entry in entries]
        offers = [offer for offer in offers if self.offered.get(offer["path"], {}) is not None]
        offers += [extra for path, extra in self.offered.items() if extra and path == extra.get("path")]
        page = [offer for offer in offers if offer["path"] > request["after"]][: self.page]
        sign = self.yard.gateway.sign
        return {
            "namespace": request.get("namespace", "team-a"),
            "model": request["model"],
            "version": number,
            "id": f"{request['model']}:{number}",
            "state": "Ready",
            "manifestSha256": sha256,
            "manifest": {"path": "x", "bytes": len(body), "url": sign(f"m/{number}.manifest.json")},
            **(
                {"signature": {"path": "x", "bytes": 2, "url": sign(f"m/{number}.sig")}}
                if number in self.signed
                else {}
            ),
            "files": [{**offer, "url": sign(f"m/{number}/{offer['path']}")} for offer in page],
            "next": page[-1]["path"] if page and page[-1]["path"] != offers[-1]["path"] else None,
        }

    def sign(self, number):
        self.signed.add(number)
        self.yard.store.objects[f"m/{number}.sig"] = b"{}"


@pytest.fixture
def registry(yard):
    made = Registry(yard)
    made.add(1, {"model.skops": b"old"})
    made.add(2, FILES)
    return made


@pytest.fixture
def target(tmp_path):
    return tmp_path / "volume" / "model"


@pytest.fixture
def fetch(pod, tmp_path):
    """Run the command and return its exit status, what it printed, and what it said of trouble."""

    def run(*arguments, patience=120.0, **env):
        command = [sys.executable, "-I", "-S", "-c", DRIVER, pod.root, pod.pyz, *arguments]
        environment = {name: value for name, value in {**pod.env, **env}.items() if value is not None}
        done = subprocess.run(
            command,
            env={**environment, "PATIENCE": str(patience)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def contents(folder: Path):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def nothing_is_left(target):
    return not target.exists() and sorted(path.name for path in target.parent.glob(".*")) == []


def test_the_signature_of_a_version_is_beside_the_folder_and_goes_with_the_version(fetch, registry, target):
    registry.sign(2)
    signature = target.parent / "model.sig"
    assert fetch("digits", target)[0] == 0
    assert signature.read_bytes() == b"{}"
    signature.unlink()
    assert fetch("digits", target)[0] == 0
    assert signature.read_bytes() == b"{}"
    assert fetch("digits:1", target)[0] == 0
    assert not signature.exists()


def test_a_model_is_fetched_whole_with_its_manifest_beside_it(fetch, registry, target):
    code, said, trouble = fetch("digits", target)
    body, sha256, _ = registry.versions[2]
    assert (code, trouble) == (0, "")
    assert said == (
        f"digits:2 of namespace team-a is in {target}: 3 files, 7004 bytes, verified by manifest sha256:{sha256}\n"
    )
    assert contents(target) == FILES
    assert (target.parent / "model.manifest.json").read_bytes() == body
    assert sorted(path.name for path in target.parent.iterdir()) == ["model", "model.manifest.json"]


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        pytest.param(["digits"], {"version": "latest"}, id="latest"),
        pytest.param(["digits:1"], {"version": "1"}, id="number"),
        pytest.param(["digits:latest"], {"version": "latest"}, id="latest-in-words"),
        pytest.param(["digits@champion"], {"version": "@champion"}, id="alias"),
        pytest.param(["digits", "--namespace", "prod"], {"version": "latest", "namespace": "prod"}, id="elsewhere"),
    ],
)
def test_the_gateway_is_asked_for_what_was_named(fetch, registry, target, arguments, asked):
    assert fetch(*arguments, target)[0] == 0
    assert registry.asked == [{"op": "model", "model": "digits", "after": "", **asked}]


def test_pages_after_the_first_are_asked_for_by_number(fetch, registry, target):
    registry.add(1, {f"part-{n}": bytes([n]) for n in range(5)})
    registry.page = 2
    assert fetch("digits@champion", target)[0] == 0
    assert [request["version"] for request in registry.asked] == ["@champion", 1, 1]
    assert sorted(contents(target)) == [f"part-{n}" for n in range(5)]


def test_a_second_call_only_verifies(fetch, registry, target, yard):
    assert fetch("digits", target)[0] == 0
    yard.store.requests.clear()
    code, said, _ = fetch("digits", target)
    assert code == 0
    assert "is in" in said
    assert " already: 3 files" in said
    assert [key for method, key, _ in yard.store.requests if method == "GET"] == ["m/2.manifest.json"]


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda folder: (folder / "empty").write_bytes(b"x"), id="changed"),
        pytest.param(lambda folder: (folder / "empty").unlink(), id="removed"),
        pytest.param(lambda folder: (folder / "more").write_bytes(b""), id="added"),
        pytest.param(lambda folder: (folder / "link").symlink_to("empty"), id="linked"),
    ],
)
def test_what_was_changed_since_is_fetched_again(fetch, registry, target, harm):
    assert fetch("digits", target)[0] == 0
    harm(target)
    code, said, _ = fetch("digits", target)
    assert (code, " already" in said) == (0, False)
    assert contents(target) == FILES
    assert not (target / "link").is_symlink()


def test_another_version_takes_the_place_of_the_one_before(fetch, registry, target):
    assert fetch("digits:1", target)[0] == 0
    assert fetch("digits:2", target)[0] == 0
    assert contents(target) == FILES
    assert sorted(path.name for path in target.parent.iterdir()) == ["model", "model.manifest.json"]


def test_what_a_killed_call_has_left_is_cleared_away(fetch, registry, target):
    for name in (".model.fetching", ".model.old"):
        (target.parent / name / "deep").mkdir(parents=True)
    (target.parent / "model.manifest.json").write_bytes(b"of the version before")
    assert fetch("digits", target)[0] == 0
    assert sorted(path.name for path in target.parent.iterdir()) == ["model", "model.manifest.json"]


SHA = "0" * 64


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        pytest.param(
            lambda r: r.yard.store.objects.update({"m/2/model.skops": b"WEIGHTS" * 1000}),
            "'model.skops' has the SHA-256",
            id="other-bytes",
        ),
        pytest.param(
            lambda r: r.yard.store.objects.update({"m/2/model.skops": b"short"}), "5 bytes more to give", id="shorter"
        ),
        pytest.param(
            lambda r: r.yard.store.objects.update({"m/2.manifest.json": b"x" * len(r.versions[2][0])}),
            "the manifest has the SHA-256",
            id="other-manifest",
        ),
        pytest.param(
            lambda r: r.offered.update({"extra": {"path": "extra", "bytes": 0, "sha256": SHA}}),
            "'extra' is offered, and is not in the manifest",
            id="unknown-file",
        ),
        pytest.param(
            lambda r: r.offered.update({"empty": {"sha256": SHA}}), "'empty' is offered with another size", id="digest"
        ),
        pytest.param(
            lambda r: r.offered.update({"empty": None}), "'empty' is in the manifest and was not offered", id="missing"
        ),
        pytest.param(
            lambda r: r.yard.store.objects.pop("m/2/empty"), "does not give 'empty': it was removed", id="removed"
        ),
    ],
)
def test_bytes_that_are_not_the_registered_ones_are_refused(fetch, registry, target, harm, words):
    harm(registry)
    code, said, trouble = fetch("digits", target)
    assert (code, said) == (4, "")
    assert words in trouble
    assert nothing_is_left(target)


def listed(path, **more):
    return {"path": path, "bytes": 0, "sha256": hashlib.sha256(b"").hexdigest(), **more}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        pytest.param([listed("../x")], "must stay inside", id="climbs"),
        pytest.param([listed("/etc/passwd")], "an absolute path", id="absolute"),
        pytest.param([listed("a\\b")], "backslashes", id="backslash"),
        pytest.param([listed("a/")], "names the folder 'a/' as a file", id="folder"),
        pytest.param([listed("a"), listed("a")], "names 'a' twice", id="twice"),
        pytest.param([listed("a"), listed("a/b")], "'a' both as a file and as a folder", id="file-and-folder"),
        pytest.param([listed("a", bytes=-1)], "an entry that is no file", id="negative-size"),
        pytest.param([listed("a", sha256="x")], "an entry that is no file", id="no-digest"),
        pytest.param([{"path": "a"}], "the manifest is none: KeyError", id="half-an-entry"),
        pytest.param("files", "the manifest is none", id="no-list"),
    ],
)
def test_a_manifest_that_no_folder_can_follow_is_refused(fetch, registry, target, entries, words):
    registry.add(3, {}, listed=entries)
    code, _, trouble = fetch("digits", target)
    assert code == 4
    assert words in trouble
    assert nothing_is_left(target)


def test_addresses_that_expired_are_asked_for_again(fetch, registry, target, yard):
    registry.page = 2
    for key in ("m/2.manifest.json",):
        yard.gateway.expired.add(key)
    yard.gateway.expire_first = True
    assert fetch("digits", target)[0] == 0
    assert contents(target) == FILES


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param(403, "the service account default may not read a model digits", id="no-right"),
        pytest.param(404, "digits has no version 9", id="no-version"),
        pytest.param(409, "digits:2 is Corrupted", id="not-ready"),
    ],
)
def test_a_no_of_the_gateway_is_final_and_passed_on(fetch, pod, target, status, message):
    pod.yard.gateway.refusals["model"] = (status, {"reason": "No", "message": message})
    pod.layout.termination_log.write_text("")
    code, _, trouble = fetch("digits", target)
    assert (code, trouble) == (3, f"trainyard: {message}\n")
    assert pod.layout.termination_log.read_text() == message
    assert nothing_is_left(target)


def test_an_outage_is_waited_out(fetch, registry, target, yard):
    began = []

    def away(*_):
        began[:] = began or [time.monotonic()]
        return DROP if time.monotonic() - began[0] < 1 else None

    yard.gateway.fault = yard.store.fault = away
    code, _, trouble = fetch("digits", target)
    assert code == 0
    assert "trying again" in trouble
    assert contents(target) == FILES


def test_an_outage_without_end_is_told_apart(fetch, registry, target, yard):
    yard.gateway.fault = lambda *_: DROP
    code, _, trouble = fetch("digits", target, patience=0.5)
    assert code == 5
    assert "given up waiting" in trouble
    assert nothing_is_left(target)


def test_a_folder_of_somebody_else_is_left_alone(fetch, registry, target):
    target.mkdir(parents=True)
    (target / "precious").write_text("mine")
    code, _, trouble = fetch("digits", target)
    assert code == 6
    assert "has files of somebody else" in trouble
    assert contents(target) == {"precious": b"mine"}


@pytest.mark.parametrize("make", ["file", "link"])
def test_what_is_no_folder_is_left_alone(fetch, registry, target, make):
    target.parent.mkdir(parents=True)
    if make == "file":
        target.write_text("mine")
    else:
        target.symlink_to(target.parent)
    code, _, trouble = fetch("digits", target)
    assert (code, "is no folder: remove it" in trouble) == (6, True)


def test_a_mount_point_is_refused_with_what_to_name_instead(fetch, registry):
    code, _, trouble = fetch("digits", "/proc")
    assert code == 6
    assert "name a folder below it, such as /proc/model" in trouble


def test_an_empty_folder_is_filled(fetch, registry, target):
    target.mkdir(parents=True)
    assert fetch("digits", target)[0] == 0
    assert contents(target) == FILES


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param([], "the following arguments are required: MODEL", id="nothing"),
        pytest.param(["digits"], "the following arguments are required: FOLDER", id="no-folder"),
        pytest.param([":3", "x"], "is no MODEL[:VERSION|@ALIAS]", id="no-name"),
        pytest.param(["digits:", "x"], "is no MODEL[:VERSION|@ALIAS]", id="no-version"),
        pytest.param(["digits@", "x"], "is no MODEL[:VERSION|@ALIAS]", id="no-alias"),
        pytest.param(["digits:1@champion", "x"], "is no MODEL[:VERSION|@ALIAS]", id="both"),
        pytest.param(["digits", "x", "--fast"], "unrecognized arguments: --fast", id="unknown-option"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_explained(fetch, arguments, words):
    code, _, trouble = fetch(*arguments)
    assert code == 2
    assert words in trouble
    assert "usage: runner.pyz fetch" in trouble


def test_a_container_without_the_config_map_is_told_of_it(fetch, target):
    code, _, trouble = fetch("digits", target, TRAINYARD_GATEWAY=None, TRAINYARD_CA=None)
    assert code == 2
    assert "TRAINYARD_GATEWAY and TRAINYARD_CA not set: copy the ConfigMap trainyard-gateway" in trouble


def test_a_container_without_a_token_is_told_what_to_mount(fetch, pod, target):
    pod.layout.token.unlink()
    code, _, trouble = fetch("digits", target)
    assert code == 2
    assert "mount a projected service account token of the audience trainyard" in trouble


def test_the_archive_itself_knows_the_command(runner_pyz):
    command = [sys.executable, "-I", "-S", runner_pyz, "fetch", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]})
    assert "MODEL[:VERSION|@ALIAS]" in done.stdout
    assert "exit status:" in done.stdout
