"""Names that the shell completes: asked of the cluster, for as long as somebody waits for a Tab."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from trainyard.cli import quick
from trainyard.cli.session import Session

SECONDS: Final = 2.0
ENV_SECONDS: Final = "TRAINYARD_COMPLETION_SECONDS"


def soon(ask: Callable[[], list[str]], *, seconds: float | None = None) -> list[str]:
    """Return what `ask` returns; nothing where that takes too long or fails."""
    limit = patience(os.environ) if seconds is None else seconds
    found: list[str] = []

    def work() -> None:
        try:
            found.extend(ask())
        # A Tab is no place for an error.
        except Exception:  # noqa: BLE001
            return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(limit)
    return list(found)


def patience(environ: Mapping[str, str]) -> float:
    """Return how many seconds a question may take."""
    try:
        return float(environ.get(ENV_SECONDS, SECONDS))
    except ValueError:
        return SECONDS


def contexts(incomplete: str) -> list[str]:
    """Return the contexts of the kubeconfig."""

    def ask() -> list[str]:
        quick.install()
        from kubernetes import config

        return [str(context["name"]) for context in config.list_kube_config_contexts()[0]]

    return [name for name in soon(ask) if name.startswith(incomplete)]


class ObjectName(click.ParamType[str]):
    """The name of an object, with or without the kind before it that ``-o name`` prints.

    Parameters
    ----------
    plural
        The kind, as the API server knows it.
    what
        What people call it.
    """

    def __init__(self, plural: str, what: str) -> None:
        self._plural = plural
        self.name = what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        """Return the name alone."""
        return str(value).rsplit("/", 1)[-1]

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Return the names of the namespace that begin so."""

        def ask() -> list[str]:
            api, _, settings = ctx.ensure_object(Session).connect()
            from trainyard.remote.objects import Objects

            return list(Objects(api, namespace=settings.workspace_name).names(self._plural))

        return [CompletionItem(name) for name in soon(ask) if name.startswith(incomplete)]


class ModelName(click.ParamType[str]):
    """A model by the name that people gave it, with a version or an alias where one is meant."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Return the models, and the versions of the one that is named already."""

        def ask() -> list[str]:
            api, _, settings = ctx.ensure_object(Session).connect()
            from trainyard.remote.objects import REGISTERED_MODELS, Objects

            models = Objects(api, namespace=settings.workspace_name).list(REGISTERED_MODELS)
            return [name for model in models for name in _names(model, versions=":" in incomplete)]

        return [CompletionItem(name) for name in soon(ask) if name.startswith(incomplete)]


def _names(model: dict[str, Any], *, versions: bool) -> list[str]:
    if not versions:
        return [str(model["spec"]["modelName"])]
    return [str(entry["id"]) for entry in (model.get("status") or {}).get("versions") or ()]


RUN: Final = ObjectName("trainingjobs", "run")
CLUSTER: Final = ObjectName("computeclusters", "cluster")
MODEL: Final = ModelName()
