"""Where packages come from, as files of a mounted Secret say.

They are read anew each time, so that a correction needs no restart.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from trainyard.contract import CondaWish, IndexSettings, canonical_json
from trainyard_operator.api.conda import CondaSpec

DEFAULT_URL = "https://pypi.org/simple"
DEFAULT_ALIAS = "https://conda.anaconda.org"


@dataclass(frozen=True, kw_only=True)
class Channels:
    """The address that conda channels are below, and who may read there."""

    alias: str = DEFAULT_ALIAS
    username: str = ""
    password: str = ""
    ca: str = ""

    @property
    def digest(self) -> str:
        """The digest of the address alone."""
        return hashlib.sha256(canonical_json(_without_credentials(self.alias))).hexdigest()

    def wish(self, conda: CondaSpec) -> CondaWish:
        """Return what a build is told."""
        return CondaWish(
            alias=_without_credentials(self.alias),
            channels=list(conda.channels),
            packages=list(conda.packages),
            username=self.username,
            password=self.password,
            ca=self.ca,
        )


@dataclass(frozen=True, kw_only=True)
class Index:
    """Package indexes; the credentials are for all of them. Conda packages come from `channels`."""

    url: str = DEFAULT_URL
    extra_urls: tuple[str, ...] = ()
    username: str = ""
    password: str = ""
    ca: str = ""
    channels: Channels = Channels()

    @property
    def digest(self) -> str:
        """The digest of the addresses alone: a new password brings the same packages."""
        addresses = [_without_credentials(url) for url in (self.url, *self.extra_urls)]
        return hashlib.sha256(canonical_json(addresses)).hexdigest()

    def settings(self) -> IndexSettings:
        """Return what a build is told."""
        return IndexSettings(
            url=self._with_credentials(self.url),
            extraUrls=[self._with_credentials(url) for url in self.extra_urls],
            ca=self.ca,
        )

    def _with_credentials(self, url: str) -> str:
        parts = urlsplit(url)
        if not self.username or parts.username is not None:
            return url
        password = f":{quote(self.password, safe='')}" if self.password else ""
        return urlunsplit(parts._replace(netloc=f"{quote(self.username, safe='')}{password}@{parts.netloc}"))


def read_index(folder: Path) -> Index:
    """Return the index that the files in `folder` describe; those that are not there have their defaults."""
    return Index(
        url=_read(folder, "index-url") or DEFAULT_URL,
        extra_urls=tuple(_read(folder, "extra-index-urls").split()),
        username=_read(folder, "username"),
        password=_read(folder, "password"),
        ca=_read(folder, "ca.crt"),
        channels=Channels(
            alias=_read(folder, "conda-channel-alias").rstrip("/") or DEFAULT_ALIAS,
            username=_read(folder, "conda-username"),
            password=_read(folder, "conda-password"),
            ca=_read(folder, "conda-ca.crt"),
        ),
    )


def _read(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
