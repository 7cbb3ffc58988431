from __future__ import annotations

import pytest

from devcluster import requirements
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
