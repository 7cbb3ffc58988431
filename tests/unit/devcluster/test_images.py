from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from devcluster import fetching
from devcluster.errors import DevclusterError
from devcluster.images import Workshop
from devcluster.layout import Cache
from devcluster.progress import Progress


class Builder:
    """Builds at the second try only, as where a package index is busy."""

    def __init__(self, *, failures: int) -> None:
        self.left = failures

    def build(self, **_: Any) -> None:
        self.left -= 1
        if self.left >= 0:
            raise DevclusterError("503 Service Unavailable")

    def save(self, *, reference: str, archive: Path) -> None:
        archive.write_text(reference)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "versitygw-0" / "versitygw"
    path.parent.mkdir()
    path.touch()
    return path


@pytest.mark.parametrize("failures", [1, 2])
def test_an_image_whose_packages_could_not_be_had_is_built_again(tmp_path, program, monkeypatch, failures):
    monkeypatch.setattr(fetching, "PAUSES", (0.0,))
    said = io.StringIO()
    cache = Cache(root=tmp_path / "cache")
    workshop = Workshop(cache=cache, builder=Builder(failures=failures), progress=Progress(stream=said))
    if failures == 1:
        assert workshop.store(program).archive.exists()
    else:
        with pytest.raises(DevclusterError, match="503"):
            workshop.store(program)
        assert list(cache.images.iterdir()) == []
    assert said.getvalue().count("503 Service Unavailable") == 1
