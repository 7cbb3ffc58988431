"""One event handler per watched kind: ten lines that all do the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import kopf

from trainyard_operator.api.names import Kind
from trainyard_operator.handlers.storage import NoDiffBase, NoProgress
from trainyard_operator.runtime.informer import Informer
from trainyard_operator.runtime.watched import Watched

LISTED = "LISTED"
Heard = Callable[[Kind, str], None]


def register_watches(
    registry: kopf.OperatorRegistry, *, watched: Iterable[Watched], informer: Informer, heard: Heard
) -> None:
    """Watch each kind of `watched`; `heard` is told the kind and the type of every event."""
    for entry in watched:
        _register(registry, entry, informer, heard)


def _register(registry: kopf.OperatorRegistry, entry: Watched, informer: Informer, heard: Heard) -> None:
    kind = entry.kind

    # Group, version and plural: a bare name such as "jobs" may mean several kinds of a cluster.
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=f"watch-{kind.plural}")
    async def observe(event: kopf.RawEvent, **_: object) -> None:
        heard(kind, event["type"] or LISTED)
        if event["type"] == "DELETED":
            informer.drop(kind, dict(event["object"]))
        else:
            informer.take(kind, dict(event["object"]))


def configure(settings: kopf.OperatorSettings, *, watched: Iterable[Watched]) -> None:
    """Set kopf to watching and nothing else."""
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.watching.server_timeout = 300
    # In one piece, a listing of ten thousand objects is held as text, as bodies and as tasks at the same time.
    settings.watching.chunk_size = 100
    # A worker task is kept per object for so long after its last event; ten thousand idle ones are not free.
    settings.queueing.idle_timeout = 0.05
    settings.process.ultimate_exiting_timeout = 20
    for entry in watched:
        if entry.label_selector:
            kind = entry.kind
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = entry.label_selector
