from __future__ import annotations

from pathlib import Path

import pytest

from devcluster import builders
from devcluster.errors import DevclusterError


@pytest.mark.parametrize(
    ("text", "environment", "bundle", "expected"),
    [
        pytest.param("", {}, False, "[global]\n", id="nothing is set"),
        pytest.param(
            "[global]\nindex-url = https://a/simple\ncert = /host/only.pem\nfind-links = /opt/wheels\n",
            {},
            True,
            f"[global]\ncert = {builders.BUNDLE}\nindex-url = https://a/simple\n",
            id="the host's paths stay on the host",
        ),
        pytest.param(
            "[global]\nindex-url = https://a/simple\n",
            {"PIP_INDEX_URL": "https://b/simple", "PIP_CERT": "/host/only.pem"},
            False,
            "[global]\nindex-url = https://b/simple\n",
            id="the environment wins",
        ),
        pytest.param(
            "[global]\nextra-index-url =\n  https://a\n  https://b%40c\n",
            {},
            False,
            "[global]\nextra-index-url = \n    https://a\n    https://b%40c\n",
            id="lists and percent signs",
        ),
        pytest.param("[install]\nindex-url = https://a\n", {}, False, "[global]\n", id="no global section"),
    ],
)
def test_a_build_reaches_the_index_as_this_machine_does(
    tmp_path: Path, text: str, environment: dict, bundle, expected: str
):
    file = tmp_path / "pip.conf"
    file.write_text(text)
    found = builders.pip_configuration(files=[file, tmp_path / "none"], bundle=bundle, environment=environment)
    assert found == expected


def test_a_failed_build_shows_the_end_of_what_was_printed():
    with pytest.raises(DevclusterError, match=r"(?s)`sh -c .* failed:.*no such package"):
        builders.run(["sh", "-c", "echo step 1; echo no such package >&2; exit 2"])


def test_the_first_bundle_that_exists_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "gone.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert builders.certificates() == bundle
