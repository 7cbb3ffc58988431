"""The Kubernetes client without its seven hundred models, which this process never uses.

``import kubernetes`` takes a second and a half, most of it for classes of API objects; objects are dictionaries here.
So ``kubernetes.client`` gets the three names that reading a kubeconfig and sending a request need, and loads itself in
full should anything ask for another one. Only for a process of one's own: the command line.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_NAMES = {"kubernetes", "kubernetes.client", "kubernetes.client.models"}


def install() -> None:
    """Have ``import kubernetes`` be quick from now on; nothing where it was imported already."""
    if "kubernetes" in sys.modules:
        return
    try:
        _install()
    # Another release of the client, of another shape: the slow way works with it.
    except Exception:  # noqa: BLE001
        for name in [name for name in sys.modules if name == "kubernetes" or name.startswith("kubernetes.")]:
            del sys.modules[name]


def _install() -> None:
    package, client = _empty("kubernetes"), _empty("kubernetes.client")
    models = ModuleType("kubernetes.client.models")
    sys.modules[models.__name__] = models
    vars(package)["client"] = client
    vars(client)["models"] = models
    from kubernetes.client.configuration import Configuration
    from kubernetes.client.exceptions import ApiException

    vars(client).update(Configuration=Configuration, ApiException=ApiException)
    from kubernetes.client.api_client import ApiClient

    vars(client)["ApiClient"] = ApiClient

    def missing(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        del vars(client)["__getattr__"]
        del sys.modules[models.__name__], vars(client)["models"]
        assert client.__spec__ is not None
        assert client.__spec__.loader is not None
        client.__spec__.loader.exec_module(client)
        return getattr(client, name)

    vars(client)["__getattr__"] = missing


def _empty(name: str) -> ModuleType:
    spec = find_spec(name)
    if spec is None:
        raise ImportError(name)
    module = module_from_spec(spec)
    sys.modules[name] = module
    return module
