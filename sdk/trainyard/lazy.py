"""Names of a package that are imported when they are first asked for, so that a script pays for what it uses."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROOT = "trainyard"


def find(package: str, name: str, modules: Mapping[str, str], absent: Mapping[str, str] | None = None) -> Any:
    """Return what a package's ``__getattr__`` was asked for, and keep it there for the next time.

    Parameters
    ----------
    package
        The name of the package.
    name
        What is asked for.
    modules
        The module below ``trainyard`` that has it, by name; a module itself is found under its own path.
    absent
        What to do instead, for names of Azure ML that there are not.

    Raises
    ------
    ImportError
        If it is `absent`, or needs what is not installed.
    AttributeError
        If nobody knows it.
    """
    if absent and name in absent:
        raise ImportError(f"{package} has no {name}: {absent[name]}")
    module = modules.get(name)
    if module is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    try:
        imported = import_module(f"{_ROOT}.{module}")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"trainyard.remote is for people who start runs; not installed here: {error.name}. "
            "pip install 'trainyard[sdk]'"
        ) from error
    found = imported if module.rpartition(".")[2] == name else getattr(imported, name)
    setattr(sys.modules[package], name, found)
    return found
