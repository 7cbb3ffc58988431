"""What all tests share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from devcluster import programs
from tests.support.loops import connections_are_closed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

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
        if folder == "e2e":
            # The first of them waits for a cluster whose programs may have to be built, on a computer that may be slow.
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture
async def _closed_connections() -> AsyncIterator[None]:
    yield
    await connections_are_closed()


@pytest.fixture(autouse=True)
def _nothing_left_in_the_loop(request: pytest.FixtureRequest) -> None:
    """Let no loop of a test end before its connections; it is the last thing that is asked of the loop."""
    if request.node.get_closest_marker("asyncio"):
        request.getfixturevalue("_closed_connections")


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
