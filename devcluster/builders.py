"""Programs that build container images: buildah, which needs no daemon, or Docker where its daemon answers."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from devcluster.errors import DevclusterError
from devcluster.layout import write_atomically
from devcluster.waiting import last_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devcluster.layout import Cache

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'
PIP_FILES = ("/etc/pip.conf", "~/.config/pip/pip.conf", "~/.pip/pip.conf")
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "timeout", "proxy")


class Builder(Protocol):
    """Builds an image from a folder and saves it as an archive."""

    def build(self, *, context: Path, dockerfile: Path, reference: str, arguments: Mapping[str, str]) -> None:
        """Build `reference`."""

    def save(self, *, reference: str, archive: Path) -> None:
        """Write `reference` to an archive that containerd imports."""

    def has(self, reference: str) -> bool:
        """Whether the builder's own storage has an image."""


@dataclass(frozen=True)
class Buildah:
    """Buildah with a storage of our own, in a mount namespace that leaves nothing mounted."""

    cache: Cache

    def build(self, *, context: Path, dockerfile: Path, reference: str, arguments: Mapping[str, str]) -> None:
        """Build with cached layers, and with this machine's way to the package index."""
        # What a killed build left would fill the disk.
        self._run("rm", "--all")
        values = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        policy = f"--signature-policy={self._policy()}"
        self._run(
            *("build-using-dockerfile", "--layers", "--quiet", policy, *values, *self._volumes()),
            *(f"--tag={reference}", f"--file={dockerfile}", str(context)),
        )

    def save(self, *, reference: str, archive: Path) -> None:
        """Write a docker-archive."""
        policy = f"--signature-policy={self._policy()}"
        self._run("push", "--quiet", policy, reference, f"docker-archive:{archive}:{reference}")

    def has(self, reference: str) -> bool:
        """Ask the storage."""
        result = subprocess.run(
            self._argv("inspect", "--type=image", reference), env=self._environment(), capture_output=True, check=False
        )
        return result.returncode == 0

    def _policy(self) -> Path:
        path = self.cache.layers / "policy.json"
        if not path.exists():
            write_atomically(path, POLICY)
        return path

    def _volumes(self) -> list[str]:
        settings = self.cache.layers / "pip.conf"
        bundle = certificates()
        text = pip_configuration(files=[Path(name).expanduser() for name in PIP_FILES], bundle=bool(bundle))
        write_atomically(settings, text)
        volumes = [f"--volume={settings}:/etc/pip.conf:ro"]
        return [*volumes, f"--volume={bundle}:{BUNDLE}:ro"] if bundle else volumes

    def _argv(self, *arguments: str) -> list[str]:
        storage = [f"--root={self.cache.layers / 'root'}", f"--runroot={self.cache.layers / 'run'}"]
        return ["unshare", "--mount", "--", "buildah", *storage, *arguments]

    def _run(self, *arguments: str) -> None:
        run(self._argv(*arguments), environment=self._environment())

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "BUILDAH_ISOLATION": "chroot",
            "STORAGE_DRIVER": os.environ.get("STORAGE_DRIVER", "overlay"),
        }


@dataclass(frozen=True)
class Docker:
    """Docker, which has its own way to the network."""

    def build(self, *, context: Path, dockerfile: Path, reference: str, arguments: Mapping[str, str]) -> None:
        """Build with Docker's own cache."""
        values = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        run(["docker", "build", "--quiet", *values, f"--tag={reference}", f"--file={dockerfile}", str(context)])

    def save(self, *, reference: str, archive: Path) -> None:
        """Write a docker-archive."""
        run(["docker", "save", f"--output={archive}", reference])

    def has(self, reference: str) -> bool:
        """Ask the daemon."""
        command = ["docker", "image", "inspect", reference]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def choose(*, cache: Cache) -> Builder:
    """Prefer what needs no daemon."""
    return Buildah(cache=cache) if shutil.which("buildah") else Docker()


def run(argv: list[str], *, environment: Mapping[str, str] | None = None) -> None:
    """Run a command that must succeed."""
    result = subprocess.run(
        argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if result.returncode:
        name = " ".join(argv[:6])
        raise DevclusterError(f"`{name} …` failed:\n{last_lines(result.stdout + result.stderr, count=25)}")


def certificates() -> Path | None:
    """Find this machine's bundle of certificate authorities."""
    names = [os.environ.get(name, "") for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")]
    return next((Path(name) for name in [*names, BUNDLE] if name and Path(name).is_file()), None)


def pip_settings(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Read how this machine's pip reaches its index, from its files and its environment, which wins."""
    return _pip_settings(files=[Path(name).expanduser() for name in PIP_FILES], environment=environment)


def pip_configuration(*, files: list[Path], bundle: bool, environment: Mapping[str, str] = os.environ) -> str:
    """Write down how this machine's pip reaches its index, from its files and its environment.

    Parameters
    ----------
    files
        Configuration files of pip; later ones win.
    bundle
        Whether the machine's certificate authorities are mounted into the build.
    environment
        Environment variables, which win over files.
    """
    settings = _pip_settings(files=files, environment=environment)
    if bundle:
        settings["cert"] = BUNDLE
    # configparser's multi-line values need their continuation lines indented.
    lines = [f"{name} = {value.replace(chr(10), chr(10) + '    ')}" for name, value in sorted(settings.items())]
    return "\n".join(["[global]", *lines, ""])


def _pip_settings(*, files: list[Path], environment: Mapping[str, str]) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(files)
    found = dict(parser["global"]) if parser.has_section("global") else {}
    settings = {name: found[name] for name in PIP_SETTINGS if name in found}
    for name in PIP_SETTINGS:
        value = environment.get(f"PIP_{name.upper().replace('-', '_')}")
        if value:
            settings[name] = value
    return settings
