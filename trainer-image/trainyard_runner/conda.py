"""Installing conda packages: solved, fetched and linked into the prefix that scripts find them at.

The solver comes as the wheel that it is published as, and only builds that need it unpack it: no run has it, and no
other build pays for it. It runs in the run's own image, since what may be installed depends on its libc.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import zipfile
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    from rattler import Config, RepoDataRecord, VirtualPackage

    from trainyard.contract import CondaWish
    from trainyard_runner.layout import Layout

# Packages run on other nodes than the one that they are installed on: none may need more than its kind has for sure.
_BASELINES = {"x86_64": "x86_64", "aarch64": "aarch64"}


class CondaError(Exception):
    """The packages cannot be had; the message has the solver's own words."""


def install_conda(wish: CondaWish, *, layout: Layout, say: Callable[[str], object]) -> list[str]:
    """Install what `wish` asks for, and return it by name, version and build.

    Parameters
    ----------
    say
        Told, in a line each, what is installed.

    Raises
    ------
    CondaError
        If there is no solution, or packages cannot be fetched.
    """
    _load_solver(layout)
    try:
        return asyncio.run(_install(wish, layout=layout, say=say))
    except Exception as error:  # the solver's errors have no kind in common
        raise CondaError(str(error).strip() or type(error).__name__) from error


def _load_solver(layout: Layout) -> None:
    library = layout.solver_library
    if not library.exists():
        with zipfile.ZipFile(layout.solver) as wheel:
            wheel.extractall(library)
    sys.path.insert(0, str(library))
    try:
        import rattler  # noqa: F401, PLC0415 - only now it can be found
    except ImportError as error:
        words = "the solver of conda packages needs glibc 2.17 and Python 3.10, or newer, in the image of the run"
        raise CondaError(f"{words}: {error}") from error


async def _install(wish: CondaWish, *, layout: Layout, say: Callable[[str], object]) -> list[str]:
    from rattler import Channel, ChannelConfig, Client, Gateway, install, solve  # noqa: PLC0415

    alias = ChannelConfig(wish["alias"])
    client = Client.from_config(_config(wish, layout))
    cache = layout.home / "cache" / "conda"
    records = await solve(
        sources=[Channel(name, alias) for name in wish["channels"]],
        specs=wish["packages"],
        gateway=Gateway(cache_dir=cache / "repodata", client=client),
        virtual_packages=_virtual_packages(),
    )
    found = sorted(_name(record) for record in records)
    for name in found:
        say(f"+ {name}")
    # Scripts that packages bring for their installation are not run: what they do depends on where they do it.
    await install(
        records,
        target_prefix=layout.environment,
        cache_dir=cache / "packages",
        execute_link_scripts=False,
        show_progress=False,
        client=client,
    )
    return found


def _config(wish: CondaWish, layout: Layout) -> Config:
    from rattler import Config  # noqa: PLC0415

    lines = []
    if wish["ca"]:
        bundle = layout.home / "conda-ca.crt"
        bundle.write_text(wish["ca"])
        os.environ["SSL_CERT_FILE"] = str(bundle)
    lines.append(f'tls-root-certs = "{"system" if wish["ca"] else "webpki"}"')
    if wish["username"]:
        # By the host, and not in addresses: those are written into the environment.
        login = {"username": wish["username"], "password": wish["password"]}
        file = layout.tools / "conda-login.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({urlsplit(wish["alias"]).hostname: {"BasicHTTP": login}}))
        lines.append(f'authentication-override-file = "{file}"')
    return Config.from_toml("\n".join(lines))


def _virtual_packages() -> list[VirtualPackage]:
    from rattler import Override, VirtualPackage, VirtualPackageOverrides  # noqa: PLC0415

    machine = platform.machine()
    return VirtualPackage.detect(VirtualPackageOverrides(archspec=Override.string(_BASELINES.get(machine, machine))))


def _name(record: RepoDataRecord) -> str:
    return f"{record.name.normalized}={record.version}={record.build}"
