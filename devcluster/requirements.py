"""What the machine has to have: told in one message, or installed where we may."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devcluster import node
from devcluster.errors import DevclusterError
from devcluster.fetching import patiently
from devcluster.waiting import last_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from devcluster.progress import Progress


@dataclass(frozen=True)
class Requirement:
    """One Debian package and how to see that what it brings is there."""

    package: str
    present: Callable[[], bool]


def _commands(*names: str) -> Callable[[], bool]:
    # Not every user's PATH has the administrator's programs.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return lambda: all(shutil.which(name, path=path) for name in names)


def _plugins() -> bool:
    try:
        node.find_plugins()
    except DevclusterError:
        return False
    return True


def _static_libc() -> bool:
    compiler = shutil.which("gcc")
    if not compiler:
        return False
    answer = subprocess.run([compiler, "-print-file-name=libc.a"], capture_output=True, text=True, check=False)
    return Path(answer.stdout.strip()).is_file()


def _image_builder() -> bool:
    return bool(shutil.which("buildah")) or docker_answers()


def docker_answers() -> bool:
    """Whether there is a Docker daemon that talks to us."""
    docker = shutil.which("docker")
    return bool(docker) and subprocess.run([str(docker), "info"], capture_output=True, check=False).returncode == 0


REQUIREMENTS = (
    Requirement(package="containerd", present=_commands("containerd", "ctr")),
    Requirement(package="runc", present=_commands("runc")),
    Requirement(package="containernetworking-plugins", present=_plugins),
    Requirement(package="buildah", present=_image_builder),
    Requirement(package="debootstrap", present=_commands("debootstrap")),
    Requirement(
        package="debian-archive-keyring",
        present=lambda: Path("/usr/share/keyrings/debian-archive-keyring.gpg").is_file(),
    ),
    Requirement(package="nftables", present=_commands("nft")),
    Requirement(package="conntrack", present=_commands("conntrack")),
    Requirement(package="socat", present=_commands("socat")),
    Requirement(package="iproute2", present=_commands("ip")),
    Requirement(package="util-linux", present=_commands("unshare", "nsenter", "mount")),
    Requirement(package="gcc", present=_commands("gcc")),
    Requirement(package="libc6-dev", present=_static_libc),
)

# A new machine may be at its own updates.
APT_GET = ("apt-get", "-o", "DPkg::Lock::Timeout=600", "-o", "Acquire::Retries=5")

# What tests look at pages with; the cluster itself needs none.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def missing(requirements: tuple[Requirement, ...] = REQUIREMENTS) -> list[str]:
    """Name the packages whose content is absent."""
    return [requirement.package for requirement in requirements if not requirement.present()]


def explain(*, packages: list[str], root: bool, debian: bool) -> str:
    """Say in one message what is missing and how to get it."""
    lines = ["the embedded cluster cannot run here yet:"]
    if not root:
        lines.append("- it needs root, for namespaces and cgroups: run the same command with sudo")
    if packages:
        lines.append(f"- missing: {', '.join(packages)} (names of Debian's packages)")
        if debian:
            lines.append(f"  get them with: sudo apt-get install -y {' '.join(packages)}")
        else:
            lines.append("  install what brings the same programs on this distribution")
    lines.append("To use another cluster instead, point KUBECONFIG at it and run `make deploy`.")
    return "\n".join(lines)


def ensure(*, progress: Progress) -> None:
    """Install what is missing on Debian and Ubuntu as root; else say what to do."""
    root, debian = os.geteuid() == 0, Path("/etc/debian_version").exists()
    packages = missing()
    if root and debian and packages:
        with progress.step(f"installing {' '.join(packages)} with apt-get", "packages installed", slow=True):
            patiently(lambda: _install(packages), progress=progress)
        packages = missing()
    if packages or not root:
        raise DevclusterError(explain(packages=packages, root=root, debian=debian))


def browser(*, progress: Progress) -> Path:
    """Return a Chromium, which is installed on Debian as root where there is none.

    Raises
    ------
    DevclusterError
        If there is none, and it may not be installed here.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and os.geteuid() == 0 and Path("/etc/debian_version").exists():
        with progress.step("installing chromium with apt-get", "chromium installed", slow=True):
            patiently(lambda: _install(["chromium"]), progress=progress)
        found = shutil.which("chromium")
    if found is None:
        raise DevclusterError("there is no browser: install Chromium, on Debian with sudo apt-get install -y chromium")
    return Path(found)


def _install(packages: list[str]) -> None:
    # RUNLEVEL=1 keeps packages from starting services of their own, such as a containerd that nobody asked for.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for argv in ([*APT_GET, "update"], [*APT_GET, "install", "-y", "--no-install-recommends", *packages]):
        result = subprocess.run(
            argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise DevclusterError(f"`{' '.join(argv)}` failed:\n{last_lines(result.stderr)}")
