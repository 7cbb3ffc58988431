from __future__ import annotations

import tomllib

import pytest


@pytest.fixture
def pinned(repository):
    lines = (repository / "operator" / "requirements.txt").read_text().splitlines()
    pins = [line.split(";")[0].split(" ")[0] for line in lines if line and not line.startswith(("#", " ", "-"))]
    return dict(pin.split("==") for pin in pins)


def test_the_image_installs_the_versions_of_the_lock_file(repository, pinned):
    lock = tomllib.loads((repository / "uv.lock").read_text())
    locked = {package["name"]: package["version"] for package in lock["package"]}
    assert pinned == {name: locked[name] for name in pinned}


def test_the_image_installs_all_that_the_operator_needs(repository, pinned):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    wanted = {line.split("=")[0].split(">")[0].strip() for line in project["optional-dependencies"]["operator"]}
    assert wanted <= pinned.keys()


def test_the_heavy_client_is_not_in_the_image(pinned):
    assert "kubernetes" not in pinned
