"""What all tests share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from devcluster import programs

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).resolve().parent

# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile(
    "patient",
    settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the folder that they are in, so that nobody has to remember to."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        if folder in {"integration", "e2e"}:
            item.add_marker(folder)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return TESTS.parent


@pytest.fixture(scope="session")
def program() -> Callable[[str], Path]:
    """Give the path of a program such as helm or kubeconform, built once on this machine."""

    def find(name: str) -> Path:
        return programs.ensure([name])[name]

    return find
