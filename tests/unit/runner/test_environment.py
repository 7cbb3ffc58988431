"""Packages: built by the real runner with a uv that does as it is told, packed, and restored into another pod."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import sys

import pytest

from trainyard.contract import is_pack

pytestmark = pytest.mark.skipif(shutil.which("zstd") is None, reason="the trainer image has zstd, this machine has not")

HASH = "a" * 64
# Resolves to what the requirements name, and makes an environment of one module.
UV = """#!{python}
import json, os, pathlib, sys
arguments = sys.argv[1:]
print("uv", *arguments[:2], "from", os.environ["UV_DEFAULT_INDEX"], file=sys.stderr)
assert int(os.environ["UV_HTTP_RETRIES"]) > 3, "uv's own patience is over in seconds"
if "--dry-run" in arguments:
    wanted = pathlib.Path(arguments[-1]).read_text().split()
    if "impossible" in wanted:
        print("error: No solution found when resolving dependencies", file=sys.stderr)
        print("  cause: Because impossible was not found", file=sys.stderr)
        sys.exit(1)
    changes = [dict(name=name, version="1.0", action="installed") for name in wanted if name != "present"]
    print(json.dumps(dict(changes=changes)))
elif arguments[0] == "venv":
    folder = pathlib.Path(arguments[-1])
    (folder / "lib/python3.11/site-packages").mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin/python3").symlink_to(sys.executable)
else:
    site = pathlib.Path(arguments[arguments.index("--python") + 1]).parent.parent / "lib/python3.11/site-packages"
    (site / "wished.py").write_text("name = 'wished'")
"""


@pytest.fixture
def build(pod):
    """A pod of a build that has its tools, and not begun."""
    pod.layout.tools.mkdir(parents=True)
    pod.layout.uv.write_text(UV.format(python=sys.executable))
    pod.layout.uv.chmod(pod.layout.uv.stat().st_mode | stat.S_IXUSR)
    return pod


def ask(pod, *requirements, **over):
    index = {"url": "https://me:hush@index/simple", "extraUrls": [], "ca": "PEM"}
    pod.yard.gateway.build = {
        "hash": HASH, "requirements": list(requirements), "index": index, "built": False, **over
    }  # fmt: skip
    return pod.start("build").wait()


def objects(pod):
    return pod.yard.store.objects


def test_what_the_image_lacks_is_installed_packed_and_said(build):
    assert ask(build, "wished") == 0
    assert build.start("pack").wait() == 0
    manifest = json.loads(objects(build)["manifest.json"])
    assert (manifest["hash"], manifest["packages"]) == (HASH, ["wished==1.0"])
    pack = manifest["pack"]
    assert is_pack(pack["path"])
    assert hashlib.sha256(objects(build)[pack["path"]]).hexdigest() == pack["sha256"]
    site = build.layout.environment / "lib/python3.11/site-packages"
    assert "site.addsitedir(" in (site / "zz_trainyard_image.pth").read_text()
    assert any("installing 1 package" in report.get("message", "") for _, report in build.yard.gateway.reports)


def test_an_image_that_has_everything_leaves_a_manifest_without_a_pack(build):
    assert ask(build, "present") == 0
    assert build.start("pack").wait() == 0
    manifest = json.loads(objects(build)["manifest.json"])
    assert (manifest["pack"], manifest["packages"]) == (None, [])
    assert not build.layout.environment.exists()


def test_what_cannot_be_resolved_is_said_in_the_resolvers_words(build):
    assert ask(build, "impossible") == 1
    said = build.termination()
    assert said["reason"] == "EnvironmentBuildFailed"
    assert said["container"] == "build"
    assert said["message"].startswith("error: No solution found when resolving dependencies cause: Because impossible")
    assert "Because impossible was not found" in said["logTail"]
    assert "manifest.json" not in objects(build)


def test_the_log_is_kept_and_holds_no_password(build):
    assert ask(build, "impossible") == 1
    (log,) = [body.decode() for key, body in objects(build).items() if key.startswith("logs/")]
    assert "uv pip install from https://****:****@index/simple" in log
    assert "No solution found" in log
    for text in (log, build.container_log("build"), json.dumps(build.termination())):
        assert "hush" not in text


def test_an_environment_that_an_earlier_pod_built_is_left_alone(build):
    assert ask(build, "wished", built=True) == 0
    assert build.start("pack").wait() == 0
    assert objects(build) == {}


def test_an_image_without_python_says_so(build):
    build.env["PATH"] = "/nowhere"
    assert ask(build, "wished") == 1
    assert "has no python3 on its PATH" in build.termination()["message"]


def test_a_run_gets_the_packages_and_its_script_finds_them(build):
    ask(build, "wished")
    build.start("pack").wait()
    pack = json.loads(objects(build)["manifest.json"])["pack"]
    shutil.rmtree(build.layout.environment)
    environment = {"key": pack["path"], "sha256": pack["sha256"], "bytes": pack["bytes"]}
    script = "import os, sys; print(sys.executable); print(os.environ['VIRTUAL_ENV'])"
    build.serve_source({"train.py": script}, environment=environment)
    assert build.prepare() == 0
    assert (build.layout.environment / "lib/python3.11/site-packages/wished.py").is_file()
    assert not (build.layout.home / "environment.tar.zst").exists()
    assert "environment" not in json.loads(build.layout.run_file.read_text())
    assert build.execute() == 0
    assert str(build.layout.environment) in build.container_log()


@pytest.mark.parametrize(
    ("content", "over", "words"),
    [
        pytest.param(b"others", {}, "have the digest", id="another pack"),
        pytest.param(b"no archive", {"sha256": hashlib.sha256(b"no archive").hexdigest()}, "unpacked", id="no pack"),
    ],
)
def test_packages_that_are_not_what_was_written_down_are_not_used(pod, content, over, words):
    objects(pod)["p"] = content
    environment = {"key": "p", "sha256": "b" * 64, "bytes": len(content), **over}
    pod.serve_source({"train.py": "print(1)"}, environment=environment)
    assert pod.prepare() == 1
    assert pod.termination()["reason"] == "EnvironmentNotRestored"
    assert words in pod.termination()["message"]
    assert not pod.layout.environment.exists()


def test_expired_addresses_of_a_pack_are_replaced_by_fresh_ones(build):
    ask(build, "wished")
    build.start("pack").wait()
    pack = json.loads(objects(build)["manifest.json"])["pack"]
    shutil.rmtree(build.layout.environment)
    build.yard.gateway.expire_first = True
    environment = {"key": pack["path"], "sha256": pack["sha256"], "bytes": pack["bytes"]}
    build.serve_source({"train.py": "print(1)"}, environment=environment)
    assert build.prepare() == 0
    assert build.layout.environment.is_dir()


def test_a_run_without_packages_keeps_the_images_python(pod):
    pod.prepared("import os; print('VIRTUAL_ENV' in os.environ)")
    assert pod.execute() == 0
    assert "False" in pod.container_log()
