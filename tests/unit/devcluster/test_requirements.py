from __future__ import annotations

import io
from pathlib import Path

import pytest

from devcluster import fetching, requirements
from devcluster.errors import DevclusterError
from devcluster.progress import Progress
from devcluster.requirements import Requirement


@pytest.mark.parametrize(
    ("packages", "root", "debian", "said", "unsaid"),
    [
        pytest.param(
            ["buildah", "runc"],
            True,
            True,
            ["missing: buildah, runc", "sudo apt-get install -y buildah runc"],
            ["needs root"],
            id="packages on Debian",
        ),
        pytest.param([], False, True, ["needs root", "sudo"], ["missing", "apt-get"], id="only root"),
        pytest.param(
            ["runc"],
            False,
            False,
            ["needs root", "missing: runc", "this distribution"],
            ["apt-get"],
            id="elsewhere, all",
        ),
    ],
)
def test_one_message_says_what_is_missing_and_how_to_get_it(packages, root, debian, said, unsaid):
    text = requirements.explain(packages=packages, root=root, debian=debian)
    assert all(part in text for part in said)
    assert not any(part in text for part in unsaid)
    assert "make deploy" in text


def test_only_absent_packages_are_missing():
    there = Requirement(package="there", present=lambda: True)
    absent = Requirement(package="absent", present=lambda: False)
    assert requirements.missing((there, absent)) == ["absent"]


def test_every_package_is_asked_for_once():
    packages = [requirement.package for requirement in requirements.REQUIREMENTS]
    assert len(packages) == len(set(packages))


@pytest.mark.parametrize("name", requirements.BROWSERS)
def test_a_browser_that_is_there_is_taken(name, monkeypatch):
    monkeypatch.setattr(requirements.shutil, "which", {name: f"/usr/bin/{name}"}.get)
    assert requirements.browser(progress=Progress()) == Path(f"/usr/bin/{name}")


def test_without_a_browser_and_without_root_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(requirements.shutil, "which", lambda _: None)
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 1000)
    with pytest.raises(DevclusterError, match="sudo apt-get install -y chromium"):
        requirements.browser(progress=Progress())


def test_packages_are_asked_for_again_when_a_mirror_was_busy(monkeypatch, tmp_path):
    asked = tmp_path / "asked"
    apt = tmp_path / "apt-get"
    apt.write_text(
        f"""#!/bin/sh
case "$*" in *update) exit ;; esac
echo x >> {asked}
[ $(wc -l < {asked}) = 2 ] || {{ echo '503 Service Unavailable' >&2; exit 100; }}
"""
    )
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(requirements, "BROWSERS", ())
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 0)
    monkeypatch.setattr(requirements.Path, "exists", lambda _: True)
    monkeypatch.setattr(requirements.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(fetching, "PAUSES", (0.0,))
    said = io.StringIO()
    assert requirements.browser(progress=Progress(stream=said)) == Path("/usr/bin/chromium")
    assert said.getvalue().count("503 Service Unavailable") == 1
