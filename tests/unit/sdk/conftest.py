"""Servers that fail on demand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_yard import FakeYard, fake_yard


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[FakeYard]:
    """A gateway and a store that fail on demand."""
    with fake_yard(tmp_path) as servers:
        yield servers
