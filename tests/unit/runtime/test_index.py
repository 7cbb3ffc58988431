from __future__ import annotations

import pytest

from trainyard_operator.api.conda import CondaSpec
from trainyard_operator.runtime.index import DEFAULT_URL, Channels, Index, read_index


def test_without_files_the_index_is_the_public_one(tmp_path):
    assert read_index(tmp_path) == read_index(tmp_path / "missing") == Index(url=DEFAULT_URL)


def test_every_file_is_read(tmp_path):
    files = {
        "index-url": "https://index/simple\n",
        "extra-index-urls": "https://a/simple https://b/simple",
        "username": "me",
        "password": "p@ss",
        "ca.crt": "PEM",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert read_index(tmp_path).settings() == {
        "url": "https://me:p%40ss@index/simple",
        "extraUrls": ["https://me:p%40ss@a/simple", "https://me:p%40ss@b/simple"],
        "ca": "PEM",
    }


def test_channels_are_read_and_their_address_carries_no_password(tmp_path):
    files = {
        "conda-channel-alias": "https://me:x@mirror/conda/\n",
        "conda-username": "me",
        "conda-password": "p@ss",
        "conda-ca.crt": "PEM",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    channels = read_index(tmp_path).channels
    assert channels.wish(CondaSpec(channels=("a",), packages=("b=1",))) == {
        "alias": "https://mirror/conda",
        "channels": ["a"],
        "packages": ["b=1"],
        "username": "me",
        "password": "p@ss",
        "ca": "PEM",
    }
    assert channels.digest == Channels(alias="https://mirror/conda").digest != Channels().digest


def test_an_address_with_a_user_of_its_own_keeps_it():
    index = Index(url="https://token@index/simple", username="me", password="x")
    assert index.settings()["url"] == "https://token@index/simple"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        pytest.param(Index(url="https://a/simple", username="me", password="x", ca="PEM"), True, id="credentials"),
        pytest.param(Index(url="https://me:x@a/simple"), True, id="credentials in the address"),
        pytest.param(Index(url="https://b/simple"), False, id="address"),
        pytest.param(Index(url="https://a/simple", extra_urls=("https://b/simple",)), False, id="another index"),
    ],
)
def test_packages_are_others_where_addresses_are_and_not_where_passwords_are(other, same):
    assert (Index(url="https://a/simple").digest == other.digest) is same
